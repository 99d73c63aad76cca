//! The lines below the table: the filter prompt, messages and keys; and the sentences shown in an empty table.

use ratatui::{buffer::Buffer, layout::Rect};
use traffictrace_crd::human::{count, printable};

use super::{
    layout::Layout,
    parts::{self, KEPT, Part},
    put,
};
use crate::{
    Snapshot,
    live::{
        app::App,
        lists::Tab,
        text::{width, wrap},
    },
    snapshot::State,
};

impl App {
    pub(super) fn draw_bottom(&self, layout: &Layout, buffer: &mut Buffer) {
        let is_said = self.draw_message(layout.message, buffer);
        match layout.hints {
            Some(area) => self.draw_hints(area, buffer),
            None if !is_said => self.draw_hints(layout.message, buffer),
            None => {}
        }
    }

    /// Draws the filter prompt, or else the most important sentence. Returns true if there was anything to draw.
    fn draw_message(&self, area: Rect, buffer: &mut Buffer) -> bool {
        let theme = self.theme;
        if let Some(prompt) = &self.prompt {
            let room = usize::from(area.width).saturating_sub(4);
            let mut text = prompt.text.as_str();
            // The end of the text is where typing goes on, so the beginning is cut.
            while width(text) > room {
                let mut rest = text.chars();
                rest.next();
                text = rest.as_str();
            }
            let shown = format!(" /{}", printable(text));
            put(buffer, area, &shown, theme.strong());
            let cursor = area.x + (width(&shown) as u16).min(area.width - 1);
            put(buffer, Rect { x: cursor, width: 1, ..area }, " ", theme.selected());
            if let Some(error) = &prompt.error {
                let start = cursor.saturating_add(3);
                let text = printable(&error.to_string()).into_owned();
                let room = area.right().saturating_sub(start);
                if usize::from(room) >= width(&text).min(24) {
                    put(buffer, Rect { x: start, width: room, ..area }, &text, theme.alarm());
                }
            }
            return true;
        }
        let (text, style) = match (&self.message, self.sentences().first(), self.losses_in_words().first()) {
            (Some((message, _)), ..) => (message.clone(), theme.strong()),
            // While the trace waits, the empty table shows the sentences, so none is drawn here.
            (None, ..) if self.number_of_lines(self.tab) == 0 && self.state() == State::Waiting => {
                return false;
            }
            (None, Some(sentence), _) => (sentence.clone(), theme.strong()),
            (None, None, Some(loss)) => {
                (format!("Lost: {loss}. The totals or rows may be low."), theme.alarm())
            }
            (None, None, None) => return false,
        };
        let number = self.sentences().len() + self.losses_in_words().len();
        let more = if self.message.is_none() && number > 1 {
            format!("{} more: i", number - 1)
        } else {
            String::new()
        };
        let room = usize::from(area.width).saturating_sub(2);
        let is_cut = width(&text) > room;
        let more = if is_cut && more.is_empty() { "all: i".to_owned() } else { more };
        let parts = vec![Part::left(text, style, KEPT).or_cut_to(10), Part::right(more, theme.faint(), KEPT)];
        parts::draw(buffer, area, parts, self.symbols.ellipsis);
        true
    }

    /// Returns sentences about the trace, the most important first.
    pub(super) fn sentences(&self) -> Vec<String> {
        let mut sentences = Vec::new();
        if let Some(reason) = self.end.as_ref().filter(|reason| !reason.is_empty()) {
            sentences.push(self.names.sentence(reason));
        }
        if let Some(snapshot) = &self.latest {
            sentences.extend(snapshot.notices.iter().map(|notice| self.names.sentence(notice)));
        }
        sentences
    }

    fn draw_hints(&self, area: Rect, buffer: &mut Buffer) {
        let theme = self.theme;
        if self.prompt.is_some() {
            let keys = [("Enter keep", 3), ("Esc as before", 2), ("Ctrl-U clear", 1)];
            let parts = keys.map(|(key, importance)| Part::left(key, theme.plain(), importance)).to_vec();
            parts::draw(buffer, area, parts, self.symbols.ellipsis);
            return;
        }
        let mut parts = vec![
            Part::left("?help", theme.plain(), 90),
            Part::left("/filter", theme.plain(), 80),
            Part::left("s,S sort", theme.plain(), 70),
        ];
        if self.tab == Tab::Flows {
            parts.push(Part::left("v view", theme.plain(), 60));
            parts.push(Part::left("Enter open", theme.plain(), 45));
        }
        let pause = if self.paused_at.is_some() { "Space resume" } else { "Space pause" };
        parts.push(Part::left(pause, theme.plain(), 50));
        if self
            .latest
            .as_ref()
            .is_some_and(|snapshot| snapshot.http.is_some() || snapshot.functions.is_some())
        {
            parts.push(Part::left("Tab tabs", theme.plain(), 75));
        }
        parts.push(Part::left("d details", theme.plain(), 40));
        parts.push(Part::left("i info", theme.plain(), 55));
        for (hint, importance) in [("t totals", 35), ("u units", 34), ("w wide", 33), ("n hide names", 32)] {
            parts.push(Part::left(hint, theme.plain(), importance));
        }
        parts.push(Part::left("q quit", theme.plain(), 95));
        let number = self.number_of_lines(self.tab);
        if number > 0 {
            let shown =
                usize::from(Layout::of(self, area.width, self.size.1).map_or(0, |layout| layout.body.height));
            let first = self.list().first;
            let last = (first + shown).min(number);
            if last - first.min(last) < number {
                let place = format!("{}-{} of {}", first + 1, last, count(number as u64));
                parts.push(Part::right(place, theme.faint(), 85));
            }
        }
        parts::draw(buffer, area, parts, self.symbols.ellipsis);
    }

    /// Draws the reason why the table is empty.
    pub(super) fn draw_emptiness(&self, layout: &Layout, buffer: &mut Buffer) {
        let area = layout.body;
        let mut sentences = Vec::new();
        let state = self.state();
        match (&self.latest, state) {
            (None, State::Completed) => {
                sentences.push("The trace ended before its first numbers.".to_owned());
            }
            (None, _) => sentences.push("Waiting for the first numbers.".to_owned()),
            (Some(_), State::Waiting) => {
                sentences.push("Nothing is traced yet.".to_owned());
                sentences.extend(self.sentences());
            }
            (Some(snapshot), _) if self.tab == Tab::Functions && has_no_function(snapshot) => {
                let notice = snapshot.functions.as_ref().and_then(|functions| functions.notice.as_deref());
                sentences.push(printable(notice.unwrap_or("No stack was taken yet.")).into_owned());
            }
            (Some(_), _) if !self.choice.filter.is_empty() => {
                let filter = if self.names.are_hidden { "the filter" } else { self.filter.as_str() };
                sentences.push(format!("Nothing matches {filter}. Esc clears the filter."));
            }
            (Some(_), _) if self.tab == Tab::Http => {
                sentences.push("No HTTP request was seen yet.".to_owned());
            }
            (Some(snapshot), state) => {
                sentences.push("No traffic was seen.".to_owned());
                if state == State::Live && snapshot.interval_seconds.0 > 0.0 {
                    sentences
                        .push(format!("The next numbers come within {} s.", snapshot.interval_seconds.0));
                }
            }
        }
        let room = usize::from(area.width).saturating_sub(5);
        let lines = sentences.iter().flat_map(|sentence| wrap(sentence, room));
        // The first lines of the table may be taken by the sums of rows that are not shown.
        let first = area.y + layout.pinned.height + u16::from(area.height > 3);
        for (line, y) in lines.zip(first..area.bottom()) {
            put(
                buffer,
                Rect { x: area.x + 3, width: area.width - 3, y, height: 1 },
                &line,
                self.theme.plain(),
            );
        }
    }
}

/// Returns true if the snapshot has no functions at all, with or without a filter.
fn has_no_function(snapshot: &Snapshot) -> bool {
    snapshot.functions.as_ref().is_some_and(|functions| functions.functions.is_empty())
}
