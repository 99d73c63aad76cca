"use strict";
// Sorts and filters the tables. Without JavaScript the page has all rows, in descending order of bytes.
for (const section of document.querySelectorAll("section.data")) {
  const body = section.querySelector("tbody");
  const rows = Array.from(body.rows);
  const heads = Array.from(section.querySelectorAll("thead th"));
  const value = (row, place, isNumber) => {
    const cell = row.cells[place];
    return isNumber ? Number(cell.dataset.v ?? -1) : cell.textContent.toLowerCase();
  };
  const sort = (place) => {
    const head = heads[place];
    const isNumber = head.classList.contains("n");
    const now = head.getAttribute("aria-sort");
    // The first click sorts numbers in descending order and texts in ascending order.
    const descends = now ? now === "ascending" : isNumber;
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", descends ? "descending" : "ascending");
    const order = (a, b) => (isNumber ? a.key - b.key : a.key.localeCompare(b.key));
    rows
      .map((row, at) => ({ row, at, key: value(row, place, isNumber) }))
      .sort((a, b) => (descends ? order(b, a) : order(a, b)) || a.at - b.at)
      .forEach(({ row }) => body.append(row));
  };
  heads.forEach((head, place) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    button.addEventListener("click", () => sort(place));
    // For printing, the heading is plain text: browsers leave out buttons where they repeat a table's head on later pages.
    const plain = document.createElement("span");
    plain.textContent = head.textContent;
    head.replaceChildren(button, plain);
  });
  const label = section.querySelector(".filter");
  const input = label.querySelector("input");
  const output = section.querySelector("output");
  const texts = rows.map((row) => row.textContent.toLowerCase());
  const filter = () => {
    const words = input.value.toLowerCase().split(/\s+/).filter((word) => word && word !== "-");
    let shown = 0;
    rows.forEach((row, at) => {
      const takes = words.every((word) =>
        word.startsWith("-") ? !texts[at].includes(word.slice(1)) : texts[at].includes(word));
      row.hidden = !takes;
      shown += takes ? 1 : 0;
    });
    const all = `${rows.length} ${section.dataset.things}`;
    output.textContent = words.length ? `${shown} of ${all}` : all;
  };
  input.addEventListener("input", filter);
  label.hidden = rows.length < 2;
  filter();
}
const frame = document.querySelector("#flame iframe");
if (frame) {
  const save = document.querySelector("#flame .save");
  save.href = frame.src;
  save.hidden = false;
  // For printing, a picture that fits the paper replaces the frame, which keeps the width of the screen.
  const still = document.createElement("img");
  still.className = "paper";
  still.alt = "Flame graph";
  still.src = frame.src;
  frame.after(still);
}
