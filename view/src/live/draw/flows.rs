//! The table of flows.

use ratatui::{buffer::Buffer, layout::Rect, style::Style};
use traffictrace_crd::{
    flow::FlowState,
    human::{count, number_of},
};

use super::{header::pinned_lines, layout::Layout, put, put_right};
use crate::{
    live::{
        app::{App, first_visible},
        columns::{Column, MARKS},
        table::{Line, Table, view_below},
        text::{fit, width},
    },
    rows::{Sums, View},
};

/// Minimum width in terminal columns of a name, however long the numbers beside it are.
const LEAST_NAME: usize = 6;
/// Width in terminal columns of a connection's name below which its two ends are shown without their pods.
const SHORT_NAME: u16 = 30;

/// A column with its position and width, in terminal columns.
struct Placed {
    column: Column,
    x: u16,
    width: u16,
}

impl App {
    pub(super) fn draw_flows(&self, layout: &Layout, buffer: &mut Buffer) {
        let Some(table) = &self.table else { return };
        let body = layout.body;
        let list = &self.lists[0];
        let first = first_visible(list.first, list.at, body.height.into(), table.lines.len());
        let lines: Vec<Line> = table.lines.iter().copied().skip(first).take(body.height.into()).collect();
        let pinned = merged(pinned_lines(self), layout.pinned.height.into());
        let placed = self.placed(layout, table, &lines, &pinned);
        self.draw_headings(layout.headings, &placed, buffer);
        for ((line, y), at) in lines.iter().zip(body.y..).zip(first..) {
            let area = Rect { y, height: 1, ..body };
            self.draw_line(table, *line, area, &placed, buffer);
            if at == list.at {
                buffer
                    .set_style(Rect { x: area.x + 1, width: area.width - 1, ..area }, self.theme.selected());
                put(buffer, area, self.symbols.selected, self.theme.plain());
            }
        }
        // The sums come directly below the rows if these do not fill the table.
        for ((name, sums), y) in pinned.iter().zip(body.y + lines.len() as u16..) {
            let area = Rect { y, height: 1, ..layout.pinned };
            self.draw_sums(name, sums, area, &placed, buffer);
        }
    }

    /// Returns the columns with their positions. Remaining room goes to texts that need it, then to bars.
    fn placed(
        &self,
        layout: &Layout,
        table: &Table,
        lines: &[Line],
        pinned: &[(String, Sums)],
    ) -> Vec<Placed> {
        let columns = &layout.columns;
        let mut widths: Vec<usize> = columns.iter().map(|column| column.minimum(self.units)).collect();
        let room = usize::from(layout.body.width).saturating_sub(MARKS);
        let name = columns.iter().position(|column| *column == Column::Name);
        let used = |widths: &[usize]| widths.iter().sum::<usize>() + widths.len().saturating_sub(1);
        let excess = used(&widths).saturating_sub(room);
        let mut left = room.saturating_sub(used(&widths));
        if let Some(name) = name {
            // A name can be cut further, but a number cannot.
            widths[name] = widths[name].saturating_sub(excess).max(LEAST_NAME);
        }
        let needs = |column: Column| {
            let of_lines = lines.iter().map(|line| match column {
                Column::Name => self.label(table, *line, false).width() + indent(*line),
                _ => width(&self.cell(table, *line, column)),
            });
            let of_sums = pinned.iter().map(|(name, sums)| match column {
                Column::Name => width(name),
                _ => width(&self.number(column, sums).unwrap_or_default()),
            });
            let heading = width(self.heading(column)) + 1;
            of_lines.chain(of_sums).chain([heading]).max().unwrap_or(0)
        };
        for pass in [false, true] {
            // Numbers come first because they cannot be cut.
            for (column, width) in columns.iter().zip(&mut widths) {
                if matches!(column, Column::Bar | Column::Sparkline) || column.is_text() != pass {
                    continue;
                }
                let wanted = needs(*column).min(column.maximum());
                let more = wanted.saturating_sub(*width).min(left);
                *width += more;
                left -= more;
            }
        }
        for (column, width) in columns.iter().zip(&mut widths) {
            if matches!(column, Column::Bar | Column::Sparkline) {
                let more = column.maximum().saturating_sub(*width).min(left);
                *width += more;
                left -= more;
            }
        }
        let mut x = layout.body.x as usize + MARKS;
        let place = |(column, width): (&Column, usize)| {
            let placed = Placed { column: *column, x: x as u16, width: width as u16 };
            x += width + 1;
            placed
        };
        columns.iter().zip(widths).map(place).collect()
    }

    /// Returns the heading of a column. On a host without pods, the rows of the view by pod are containers.
    fn heading(&self, column: Column) -> &'static str {
        let has_no_pods = self.table.as_ref().is_some_and(|table| table.has_containers && !table.has_pods);
        if column == Column::Name && self.choice.view == View::Pod && has_no_pods {
            return Column::Container.heading(View::Pod);
        }
        column.heading(self.choice.view)
    }

    fn draw_headings(&self, area: Rect, placed: &[Placed], buffer: &mut Buffer) {
        for Placed { column, x, width } in placed {
            let area = Rect { x: *x, width: *width, ..area };
            let mut heading = self.heading(*column).to_owned();
            let is_sorted = column.sorted_by(self.choice.view) == Some(self.order.column);
            if is_sorted {
                heading.push_str(self.arrow(self.is_rising()));
            }
            let style = if is_sorted { self.theme.sorted() } else { self.theme.strong() };
            if column.is_text() || matches!(column, Column::Bar | Column::Sparkline) {
                put(buffer, area, &heading, style);
            } else {
                put_right(buffer, area, &heading, style, "");
            }
        }
    }

    fn draw_line(&self, table: &Table, line: Line, area: Rect, placed: &[Placed], buffer: &mut Buffer) {
        let Some(row) = table.row(line) else { return };
        if matches!(line, Line::Row(_)) && view_below(self.choice.view).is_some() {
            let mark = if table.is_open(line) { self.symbols.opened } else { self.symbols.closed };
            put(buffer, Rect { x: area.x + 1, width: 1, ..area }, mark, self.theme.plain());
        }
        let has_ended = row.state != FlowState::Open && row.sums.rate() == 0;
        let style = if has_ended { self.theme.faint() } else { self.theme.plain() };
        for Placed { column, x, width } in placed {
            let cell = Rect { x: *x, width: *width, ..area };
            match column {
                Column::Name => {
                    let indent = indent(line) as u16;
                    let cell = Rect {
                        x: cell.x + indent.min(cell.width),
                        width: cell.width.saturating_sub(indent),
                        ..cell
                    };
                    let is_short = *width < SHORT_NAME;
                    let text =
                        self.label(table, line, is_short).fit(cell.width.into(), self.symbols.ellipsis);
                    put(buffer, cell, &text, style);
                }
                Column::Bar => {
                    let (part, whole) = self.share(table, line);
                    put(buffer, cell, &self.symbols.bar(part, whole, cell.width.into()), self.theme.bar());
                }
                Column::Sparkline => {
                    if let Line::Row(_) = line {
                        let text = self.history.sparkline_of(&row.key, self.now, cell.width.into());
                        put(buffer, cell, &self.symbols.sparkline(text), self.theme.bar());
                    }
                }
                _ => self.draw_cell(cell, *column, &self.cell(table, line, *column), style, buffer),
            }
        }
    }

    fn draw_cell(&self, area: Rect, column: Column, text: &str, style: Style, buffer: &mut Buffer) {
        if column.is_text() {
            put(buffer, area, &fit(text, area.width.into(), self.symbols.ellipsis), style);
        } else {
            put_right(buffer, area, text, style, self.symbols.ellipsis);
        }
    }

    fn draw_sums(&self, name: &str, sums: &Sums, area: Rect, placed: &[Placed], buffer: &mut Buffer) {
        for Placed { column, x, width } in placed {
            let cell = Rect { x: *x, width: *width, ..area };
            if *column == Column::Name {
                put(buffer, cell, &fit(name, cell.width.into(), self.symbols.ellipsis), self.theme.plain());
            } else if let Some(number) = self.number(*column, sums) {
                self.draw_cell(cell, *column, &number, self.theme.plain(), buffer);
            }
        }
    }

    /// Returns the sum of a line and that of the whole trace: bytes if amounts are shown, else bytes per second.
    fn share(&self, table: &Table, line: Line) -> (u64, u64) {
        let sums = match line {
            Line::More(place) => table.more(place).0,
            line => table.row(line).map(|row| row.sums).unwrap_or_default(),
        };
        let all = Sums::from(&*table.snapshot);
        if self.is_of_totals { (sums.bytes(), all.bytes()) } else { (sums.rate(), all.rate()) }
    }

    /// Returns the text of a cell.
    fn cell(&self, table: &Table, line: Line, column: Column) -> String {
        let Some(row) = table.row(line) else { return String::new() };
        if let Line::More(place) = line {
            return self.number(column, &table.more(place).0).unwrap_or_default();
        }
        if let Some(number) = self.number(column, &row.sums) {
            return number;
        }
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let owner = &row.owner;
        // The open row above already shows its pod, container and node.
        let is_below = matches!(line, Line::Below(..));
        match column {
            Column::Pod if is_below && self.choice.view != View::Peer => String::new(),
            Column::Container | Column::Node if is_below && self.choice.view == View::Process => {
                String::new()
            }
            Column::Pod => or_none(self.names.place(owner)),
            Column::Container => {
                let name = |name: &String| self.names.shown(crate::live::names::Kind::Container, name);
                or_none(owner.container.as_ref().map(name))
            }
            Column::Node => {
                let name = |name: &String| self.names.shown(crate::live::names::Kind::Node, name);
                or_none(owner.node.as_ref().map(name))
            }
            Column::Owner => match (row.processes, is_below) {
                (_, true) => self.names.place(owner).unwrap_or_default(),
                (2.., _) => format!("{} processes", row.processes),
                _ => self.names.owner(owner),
            },
            Column::Peer if is_below => String::new(),
            Column::Peer => match (&row.peer, row.sums.flows) {
                (Some(peer), _) => self.names.end(peer),
                (None, 2..) => {
                    let busiest = table.snapshot.flows.get(row.busiest).and_then(crate::rows::peer_of);
                    or_none(
                        busiest.map(|peer| format!("{}, {}", self.names.end(&peer), self.symbols.ellipsis)),
                    )
                }
                (None, _) => "-".to_owned(),
            },
            Column::Protocol => or_none(row.protocol.map(|protocol| format!("{protocol:?}").to_uppercase())),
            Column::State => format!("{:?}", row.state).to_lowercase(),
            Column::Processes => count(row.processes as u64),
            Column::Rtt => or_none(row.rtt_microseconds.map(|rtt| self.symbols.duration(rtt.into()))),
            _ => String::new(),
        }
    }

    /// Returns the text of a cell that is made from sums; `None` if the column shows no sum.
    fn number(&self, column: Column, sums: &Sums) -> Option<String> {
        Some(match column {
            Column::Open => count(sums.connections_open),
            Column::RxRate => self.units.amount(sums.rx_rate),
            Column::TxRate => self.units.amount(sums.tx_rate),
            Column::Rate => self.units.amount(sums.rate()),
            Column::Rx => self.units.amount(sums.rx_bytes),
            Column::Tx => self.units.amount(sums.tx_bytes),
            Column::Bytes => self.units.amount(sums.bytes()),
            Column::Failures => count(sums.connect_failures),
            Column::Retransmits => count(sums.retransmits),
            _ => return None,
        })
    }
}

fn indent(line: Line) -> usize {
    if matches!(line, Line::Row(_)) { 0 } else { 2 }
}

/// Reduces the lines to at most `room`, by adding the last ones up.
fn merged(mut lines: Vec<(String, Sums)>, room: usize) -> Vec<(String, Sums)> {
    if lines.len() <= room || room == 0 {
        lines.truncate(room);
        return lines;
    }
    let mut sums = Sums::default();
    lines.drain(room - 1..).for_each(|(_, more)| sums.add(&more));
    lines.push((format!("(not shown, {})", number_of(i128::from(sums.flows), "flow")), sums));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_without_a_line_are_in_the_last_one() {
        let sums = |flows| Sums { flows, ..Sums::default() };
        let lines = vec![("a".to_owned(), sums(1)), ("b".to_owned(), sums(2)), ("c".to_owned(), sums(3))];
        assert_eq!(merged(lines.clone(), 3), lines);
        assert_eq!(merged(lines.clone(), 2)[1], ("(not shown, 5 flows)".to_owned(), sums(5)));
        assert_eq!(merged(lines, 0), []);
    }
}
