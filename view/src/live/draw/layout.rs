//! The positions of everything on the screen. The code for keys needs them too: Page Down moves by the height of the
//! table.

use ratatui::layout::Rect;

use super::{super::columns, header::pinned_lines};
use crate::live::{app::App, columns::Column, lists::Tab};

/// Minimum width in columns and height in lines of a useful screen.
pub(in crate::live) const MINIMUM: (u16, u16) = (40, 8);
/// Minimum height in lines for separate lines of the history and of messages.
const TALL: u16 = 14;
/// Minimum width in columns for showing the selected row's details beside the table.
const ROOMY: u16 = 150;
/// Width in columns of the details beside the table.
const SIDE: u16 = 50;

/// The positions of everything on the screen.
#[derive(Clone, Debug)]
pub(in crate::live) struct Layout {
    pub(in crate::live) title: Rect,
    pub(in crate::live) totals: Rect,
    /// History of the whole trace. Absent on a low screen.
    pub(in crate::live) history: Option<Rect>,
    pub(in crate::live) headings: Rect,
    pub(in crate::live) body: Rect,
    /// Sums of the flows that no row of the table shows.
    pub(in crate::live) pinned: Rect,
    pub(in crate::live) message: Rect,
    /// List of keys. Absent on a low screen, where messages take its line.
    pub(in crate::live) hints: Option<Rect>,
    /// Details of the selected row. Absent if the screen is too narrow.
    pub(in crate::live) side: Option<Rect>,
    /// Columns of the table of flows.
    pub(in crate::live) columns: Vec<Column>,
}

impl Layout {
    /// Returns the layout of a screen of this size; `None` if the screen is too small.
    pub(in crate::live) fn of(app: &App, width: u16, height: u16) -> Option<Self> {
        if width < MINIMUM.0 || height < MINIMUM.1 {
            return None;
        }
        let is_tall = height >= TALL;
        let row = |y| Rect { x: 0, y, width, height: 1 };
        let has_side = width >= ROOMY && is_tall && !app.is_wide;
        let table_width = if has_side { width - SIDE } else { width };
        let top = if is_tall { 3 } else { 2 };
        let bottom = height - if is_tall { 2 } else { 1 };
        let room = bottom - top - 1;
        let pinned = pinned_lines(app).len().min(if is_tall { 3 } else { 1 }) as u16;
        let pinned = if app.tab == Tab::Flows { pinned.min(room.saturating_sub(1)) } else { 0 };
        let part = |y, height| Rect { x: 0, y, width: table_width, height };
        let choice = columns::Choice {
            view: app.choice.view,
            units: app.units,
            is_of_totals: app.is_of_totals,
            is_wide: app.is_wide,
            has_pods: app.table.as_ref().is_some_and(|table| table.has_pods),
            has_containers: app.table.as_ref().is_some_and(|table| table.has_containers),
            has_nodes: app.table.as_ref().is_some_and(|table| table.has_nodes),
        };
        Some(Self {
            title: row(0),
            totals: row(1),
            history: is_tall.then(|| row(2)),
            headings: part(top, 1),
            body: part(top + 1, room - pinned),
            pinned: part(bottom - pinned, pinned),
            message: row(bottom),
            hints: is_tall.then(|| row(height - 1)),
            side: has_side.then(|| Rect { x: table_width, y: top, width: SIDE, height: bottom - top }),
            columns: choice.columns(table_width.into()),
        })
    }
}
