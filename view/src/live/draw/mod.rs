//! Drawing: converts the state of the screen into cells, without changing the state.

mod bottom;
mod details;
mod flows;
mod header;
mod information;
mod labels;
pub(super) mod layout;
mod lists;
mod parts;

use ratatui::{
    Frame,
    buffer::Buffer,
    layout::{Position, Rect},
    style::Style,
};
use unicode_width::UnicodeWidthStr as _;

use self::layout::{Layout, MINIMUM};
use super::{
    app::{App, OverlayKind},
    keys::HELP,
    lists::Tab,
    text::{fit, width, wrap},
};
use crate::snapshot::State;

/// A line of a page that covers the screen.
#[derive(Debug)]
struct PageLine {
    text: String,
    style: Style,
}

impl App {
    /// Draws the screen into a frame of any size.
    pub fn draw(&self, frame: &mut Frame<'_>) {
        let area = frame.area();
        self.render(area, frame.buffer_mut());
    }

    /// Returns the screen in the given size as plain text without the list of keys, to be printed when the screen has
    /// ended.
    #[must_use]
    pub fn text(&self, columns: u16, rows: u16) -> String {
        let area = Rect { x: 0, y: 0, width: columns, height: rows };
        let mut buffer = Buffer::empty(area);
        self.render(area, &mut buffer);
        if let Some(hints) = Layout::of(self, columns, rows).and_then(|layout| layout.hints) {
            buffer.set_string(hints.x, hints.y, " ".repeat(hints.width.into()), Style::reset());
        }
        let mut lines = lines_of(&buffer);
        // Lines below the last row of the table have only the edge of the details, if anything.
        while lines.pop_if(|line| line.trim_matches([' ', '│', '|']).is_empty()).is_some() {}
        lines.join("\n")
    }

    fn render(&self, area: Rect, buffer: &mut Buffer) {
        let Some(layout) = Layout::of(self, area.width, area.height) else {
            let needed = format!("need {}x{}, have {}x{}", MINIMUM.0, MINIMUM.1, area.width, area.height);
            put(buffer, area, &needed, self.theme.plain());
            return;
        };
        if let Some(overlay) = self.overlay {
            let lines = self.page(overlay.kind, area.width.into());
            let title = match overlay.kind {
                OverlayKind::Help => "Keys",
                OverlayKind::Information => "The trace",
                OverlayKind::Details => "Details",
            };
            let title = format!(" {title}");
            put(buffer, Rect { height: 1, ..area }, &title, self.theme.strong());
            let room = usize::from(area.height.saturating_sub(2));
            for (line, y) in lines.iter().skip(overlay.scroll).take(room).zip(1..) {
                put(
                    buffer,
                    Rect { x: 1, y, width: area.width.saturating_sub(2), height: 1 },
                    &line.text,
                    line.style,
                );
            }
            let more = lines.len().saturating_sub(overlay.scroll + room);
            let keys = if more > 0 {
                format!(" {more} more: arrows.  Other keys close.")
            } else {
                " Any key closes.".to_owned()
            };
            put(buffer, Rect { y: area.height - 1, height: 1, ..area }, &keys, self.theme.faint());
            return;
        }
        self.draw_header(&layout, buffer);
        match self.tab {
            Tab::Flows => self.draw_flows(&layout, buffer),
            Tab::Http => self.draw_endpoints(&layout, buffer),
            Tab::Functions => self.draw_functions(&layout, buffer),
        }
        if self.number_of_lines(self.tab) == 0 {
            self.draw_emptiness(&layout, buffer);
        }
        self.draw_side(&layout, buffer);
        self.draw_bottom(&layout, buffer);
        if matches!(self.state(), State::Deleted | State::Unreachable) {
            buffer.set_style(layout.body, self.theme.faint());
        }
    }

    /// Number of lines of a page that covers the screen.
    pub(super) fn overlay_lines(&self, kind: OverlayKind) -> usize {
        self.page(kind, self.size.0.into()).len()
    }

    fn page(&self, kind: OverlayKind, columns: usize) -> Vec<PageLine> {
        let room = columns.saturating_sub(2).max(1);
        match kind {
            OverlayKind::Help => self.help(room),
            OverlayKind::Information => self.information(room),
            OverlayKind::Details => self.details(room),
        }
    }

    fn help(&self, room: usize) -> Vec<PageLine> {
        let entry = |(key, meaning): &(&str, &str)| format!("{key:<11} {meaning}");
        let mut texts: Vec<String> = if room >= 74 {
            let (left, right) = HELP.split_at(HELP.len().div_ceil(2));
            let pair = |place: usize| {
                let left = entry(&left[place]);
                let right = right.get(place).map(entry).unwrap_or_default();
                format!("{left:<38} {right}")
            };
            (0..left.len()).map(pair).collect()
        } else {
            HELP.iter().map(entry).collect()
        };
        let about = "Rates are means over the interval. A filter is words that must all match: part of any name or \
            address, or process: pid: pod: container: namespace: peer: port: protocol: direction: state: with a value, \
            which is a part of the name, or with = before it the whole, as in pod:=db-1; a minus before a word leaves out what matches.";
        texts.push(String::new());
        texts.extend(wrap(about, room));
        texts.into_iter().map(|text| PageLine { text, style: self.theme.plain() }).collect()
    }

    fn draw_side(&self, layout: &Layout, buffer: &mut Buffer) {
        let Some(side) = layout.side else { return };
        for y in side.top()..side.bottom() {
            put(buffer, Rect { y, height: 1, ..side }, self.symbols.separator, self.theme.faint());
        }
        let inner = Rect { x: side.x + 2, width: side.width - 3, ..side };
        put(buffer, Rect { height: 1, ..inner }, "SELECTED", self.theme.strong());
        for (line, y) in self.details(inner.width.into()).iter().zip(inner.y + 1..inner.bottom()) {
            put(buffer, Rect { y, height: 1, ..inner }, &line.text, line.style);
        }
    }
}

/// Returns the lines of a buffer as plain text, without trailing spaces.
pub(super) fn lines_of(buffer: &Buffer) -> Vec<String> {
    let area = buffer.area;
    let line = |y| {
        let (mut line, mut covered) = (String::new(), 0);
        for x in area.left()..area.right() {
            // The cell after a wide character is its second half, which has no text.
            if covered > 0 {
                covered -= 1;
                continue;
            }
            let symbol = buffer.cell(Position { x, y }).map_or(" ", |cell| cell.symbol());
            covered = symbol.width().saturating_sub(1);
            line.push_str(symbol);
        }
        line.trim_end().to_owned()
    };
    (area.top()..area.bottom()).map(line).collect()
}

/// Writes a text on the first line of an area, cut at the end of the area.
fn put(buffer: &mut Buffer, area: Rect, text: &str, style: Style) {
    let area = area.intersection(buffer.area);
    if !area.is_empty() {
        buffer.set_stringn(area.x, area.y, text, area.width.into(), style);
    }
}

/// Writes a text right-aligned on an area's first line, cut if it is longer.
fn put_right(buffer: &mut Buffer, area: Rect, text: &str, style: Style, ellipsis: &str) {
    let text = fit(text, area.width.into(), ellipsis);
    let used = width(&text).min(area.width.into()) as u16;
    put(buffer, Rect { x: area.right() - used, width: used, ..area }, &text, style);
}
