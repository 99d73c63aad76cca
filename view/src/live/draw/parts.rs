//! Lines that consist of parts. If the line is too short, the least important parts are left out.

use ratatui::{buffer::Buffer, layout::Rect, style::Style};

use super::put;
use crate::live::text::{fit, width};

/// A part of a line.
#[derive(Clone, Debug)]
pub(super) struct Part {
    text: String,
    style: Style,
    is_right: bool,
    /// Parts with a lower importance are left out first. Parts with [`KEPT`] are never left out.
    importance: u8,
    /// Minimum width in columns to which the part may be cut; `usize::MAX` if it must not be cut.
    minimum: usize,
}

/// Importance of a part that is always shown.
pub(super) const KEPT: u8 = u8::MAX;
/// Width in columns of the blanks between two parts.
const GAP: usize = 2;

impl Part {
    pub(super) fn left(text: impl Into<String>, style: Style, importance: u8) -> Self {
        Self { text: text.into(), style, is_right: false, importance, minimum: usize::MAX }
    }

    pub(super) fn right(text: impl Into<String>, style: Style, importance: u8) -> Self {
        Self { is_right: true, ..Self::left(text, style, importance) }
    }

    /// Lets the part be cut to `columns` before any part is left out.
    pub(super) fn or_cut_to(self, columns: usize) -> Self {
        Self { minimum: columns, ..self }
    }

    fn needed(&self) -> usize {
        width(&self.text).min(self.minimum)
    }
}

/// Draws parts at both ends of a line, with a blank column at each end.
pub(super) fn draw(buffer: &mut Buffer, area: Rect, mut parts: Vec<Part>, ellipsis: &str) {
    parts.retain(|part| !part.text.is_empty());
    let room = usize::from(area.width).saturating_sub(2);
    let used = |parts: &[Part], of: fn(&Part) -> usize| {
        parts.iter().map(of).sum::<usize>() + parts.len().saturating_sub(1) * GAP
    };
    while used(&parts, Part::needed) > room {
        let least = parts.iter().enumerate().min_by_key(|(_, part)| part.importance);
        match least {
            Some((place, part)) if part.importance < KEPT => parts.remove(place),
            _ => break,
        };
    }
    // The rest that does not fit is cut from the parts that can be cut.
    for place in 0..parts.len() {
        let excess = used(&parts, |part| width(&part.text)).saturating_sub(room);
        let part = &mut parts[place];
        if excess > 0 && part.minimum < usize::MAX {
            let columns = width(&part.text).saturating_sub(excess).max(part.minimum);
            part.text = fit(&part.text, columns, ellipsis);
        }
    }
    let (right, left): (Vec<Part>, Vec<Part>) = parts.into_iter().partition(|part| part.is_right);
    let mut end = area.right().saturating_sub(1);
    for part in right.iter().rev() {
        let start = end.saturating_sub(width(&part.text) as u16).max(area.x);
        put(buffer, Rect { x: start, width: end - start, ..area }, &part.text, part.style);
        end = start.saturating_sub(GAP as u16).max(area.x);
    }
    let mut start = area.x + 1;
    for part in &left {
        if start >= end {
            break;
        }
        put(buffer, Rect { x: start, width: end - start, ..area }, &part.text, part.style);
        start = start.saturating_add((width(&part.text) + GAP) as u16);
    }
}
