//! A flame graph in a browser without a screen.

use std::{fs, path::Path};

use serde::Deserialize;
use traffictrace_e2e::support::{Result, TestError, browser::Browser};

/// The results of the picture's own functions.
#[derive(Debug, Deserialize)]
pub(super) struct Seen {
    /// Error of the script, if any.
    pub(super) error: Option<String>,
    /// Width of the whole picture in bytes.
    pub(super) total: u64,
    /// Percentage of bytes that a search for the name matched.
    pub(super) matched: f64,
    /// Frames that the search highlights.
    pub(super) marked: Vec<String>,
    /// Number of visible frames at first.
    pub(super) before: usize,
    /// Number of visible frames after a zoom to the name.
    pub(super) zoomed: usize,
    /// Number of visible frames after zooming out again.
    pub(super) after: usize,
    /// Width of the frame with the name after the zoom to it, in percent of the picture.
    pub(super) width: String,
}

/// Script that runs after the picture has set itself up, and leaves its results in an attribute of the document.
const SCRIPT: &str = r#"<script><![CDATA[
window.addEventListener("load", function () { setTimeout(function () {
    var seen = {total: 0, matched: 0, marked: [], before: 0, zoomed: 0, after: 0, width: ""};
    try {
        var name = NAME, groups = Array.from(frames.children);
        var shown = function () {
            return groups.filter(function (group) { return !group.classList.contains("hide"); }).length;
        };
        var group = groups.find(function (group) { return g_to_text(group).indexOf(name) === 0; });
        seen.total = total_samples;
        seen.before = shown();
        search(name.replace(/[()]/g, "\\$&"));
        seen.matched = parseFloat(matchedtxt.textContent.replace("Matched: ", ""));
        seen.marked = groups.filter(function (group) {
            return find_child(group, "rect").getAttribute("fill") === searchcolor;
        }).map(g_to_text);
        zoom(group);
        seen.zoomed = shown();
        seen.width = find_child(group, "rect").getAttribute("width");
        unzoom();
        seen.after = shown();
    } catch (error) {
        seen.error = String(error);
    }
    document.documentElement.setAttribute("data-seen", encodeURIComponent(JSON.stringify(seen)));
}, 0); });
]]></script>"#;

/// Opens the picture, searches for the name, zooms to the first frame that begins with it, and zooms out again.
pub(super) fn look(browser: &Browser, picture: &Path, name: &str) -> Result<Seen> {
    let folder = tempfile::tempdir().map_err(TestError::io("make a folder"))?;
    let svg = fs::read_to_string(picture).map_err(TestError::io("read the picture"))?;
    let end = svg.rfind("</svg>").ok_or_else(|| TestError::unexpected("the picture", "it has no end"))?;
    let script = SCRIPT.replace("NAME", &format!("{name:?}"));
    let page = folder.path().join("page.svg");
    let text_of_page = format!("{}{script}{}", &svg[..end], &svg[end..]);
    fs::write(&page, text_of_page).map_err(TestError::io("write the page"))?;
    Ok(browser.open(&page)?.seen)
}
