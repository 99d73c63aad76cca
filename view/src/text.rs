//! The table for a pipe, and for a terminal without the live screen: no colours and no control sequences.
//!
//! Each snapshot is one block: a heading that begins with `#`, the names of the columns, the rows, the sums that are in no row,
//! and the totals. The rows and those sums add up to the totals.

mod columns;
mod endpoints;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use traffictrace_crd::human;
use unicode_width::UnicodeWidthStr as _;

use self::columns::{Column, chosen};
pub use self::endpoints::endpoints;
use crate::{
    Snapshot, losses, names,
    rows::{self, Choice, Row, Sums},
    sort::{self, Order},
    units::Units,
};

/// Width in terminal columns of the blanks between two cells.
const GAP: usize = 2;
/// Minimum width in terminal columns to which long names are cut before columns are left out.
const NAME: usize = 16;

/// Options of a table.
#[derive(Clone, Debug)]
pub struct Options {
    /// Choice of the rows.
    pub choice: Choice,
    /// Order of the rows.
    pub order: Order,
    /// Units of amounts and rates.
    pub units: Units,
    /// Maximum number of rows; the others are in the row `(other, N flows)`.
    pub rows: usize,
    /// Maximum width in terminal columns: less important columns are left out and long names are cut. `None`: unlimited,
    /// for a pipe.
    pub width: Option<usize>,
    /// True if the table has all columns that have values.
    pub wide: bool,
    /// True if there is a heading and a line with the names of the columns. Losses and notices are printed in either
    /// case.
    pub headers: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            choice: Choice::default(),
            order: Order::default(),
            units: Units::default(),
            rows: usize::MAX,
            width: None,
            wide: false,
            headers: true,
        }
    }
}

/// Returns the heading and the table of a snapshot, with a line feed at the end of each line.
#[must_use]
pub fn table(snapshot: &Snapshot, options: &Options) -> String {
    let mut text = heading(snapshot, options.headers);
    text.push_str(&flows(snapshot, options));
    match options.width {
        None => text,
        Some(width) => text.lines().map(|line| names::cut(line, width) + "\n").collect(),
    }
}

/// Returns the table of a snapshot's flows without the heading.
#[must_use]
pub fn flows(snapshot: &Snapshot, options: &Options) -> String {
    let mut shown = rows::rows(snapshot, &options.choice);
    sort::sort(&mut shown.rows, options.order);
    let mut other = shown.unlisted;
    let cut = shown.rows.drain(options.rows.min(shown.rows.len())..);
    cut.for_each(|row| other.add(&row.sums));
    let mut columns = chosen(options.choice.view, options.wide, &shown.rows);

    let mut cells: Vec<Vec<String>> =
        shown.rows.iter().map(|row| row_of(row, &columns, options.units)).collect();
    for (name, sums, is_always) in [
        (names::other(other.flows), other, false),
        (
            format!("(filtered out, {})", human::number_of(shown.filtered.flows, "flow")),
            shown.filtered,
            false,
        ),
        (
            format!("(other ends, {})", human::number_of(shown.other_ends.flows, "flow")),
            shown.other_ends,
            false,
        ),
        ("TOTAL".to_owned(), Sums::from(snapshot), true),
    ] {
        if is_always || sums != Sums::default() {
            cells.push(sums_of(&name, &sums, &columns, options.units));
        }
    }
    if let Some(width) = options.width {
        fit(&mut columns, &mut cells, width);
    }
    grid(
        &columns.iter().map(|column| (column.name(), column.is_text())).collect::<Vec<_>>(),
        cells,
        options.headers,
    )
}

/// Returns the lines above the table.
fn heading(snapshot: &Snapshot, is_whole: bool) -> String {
    let mut lines = Vec::new();
    if is_whole {
        let mut first = format!(
            "# {} {} state={} interval={}s",
            names::second(snapshot.time),
            names::shown(Some(&snapshot.subject)),
            names::state(snapshot.state),
            snapshot.interval_seconds.0,
        );
        if let Some(pods) = snapshot.pods {
            first.push_str(&format!(" pods={pods}"));
        }
        if let Some((reporting, matched)) = snapshot.number_of_nodes() {
            first.push_str(&format!(" nodes={reporting}/{matched}"));
        }
        let listed = snapshot.flows.len();
        first.push_str(&format!(" flows={listed}/{} lost={}", snapshot.flows_total, losses::kinds(snapshot)));
        lines.push(first);
    }
    lines.extend(losses::in_words(snapshot).into_iter().map(|loss| format!("# LOST: {loss}")));
    lines.extend(snapshot.notices.iter().map(|notice| format!("# {}", human::printable(notice))));
    for node in &snapshot.nodes {
        let name = names::shown(Some(&node.name));
        match (&node.notice, node.update_time) {
            (Some(notice), _) => lines.push(format!("# {name}: {}", human::printable(notice))),
            (None, None) => lines.push(format!("# {name}: no report yet")),
            (None, Some(_)) => {}
        }
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn row_of(row: &Row, columns: &[Column], units: Units) -> Vec<String> {
    columns.iter().map(|column| column.text(row).unwrap_or_else(|| column.number(&row.sums, units))).collect()
}

/// Makes a row of sums, with its name in the first column.
fn sums_of(name: &str, sums: &Sums, columns: &[Column], units: Units) -> Vec<String> {
    let cells = columns.iter().map(|column| column.number(sums, units));
    cells.enumerate().map(|(place, cell)| if place == 0 { name.to_owned() } else { cell }).collect()
}

/// Fits a table into `width`: names are cut to a readable length, then columns are left out, then names are cut further.
fn fit(columns: &mut Vec<Column>, cells: &mut [Vec<String>], width: usize) {
    let width_of = |at: usize| {
        let cells = cells.iter().map(|row| row[at].width());
        cells.chain([columns[at].name().width()]).max().unwrap_or(0)
    };
    let mut widths: Vec<usize> = (0..columns.len()).map(width_of).collect();
    shorten(columns, &mut widths, width, NAME);
    for spare in Column::SPARE {
        if surplus(&widths, width) == 0 {
            break;
        }
        let Some(at) = columns.iter().skip(1).position(|column| column == spare) else { continue };
        columns.remove(at + 1);
        widths.remove(at + 1);
        cells.iter_mut().for_each(|row| {
            row.remove(at + 1);
        });
    }
    shorten(columns, &mut widths, width, 1);
    for row in cells {
        for ((cell, column), width) in row.iter_mut().zip(columns.iter()).zip(&widths) {
            if column.is_text() {
                *cell = names::cut(cell, *width);
            }
        }
    }
}

/// Number of terminal columns by which a table exceeds `width`.
fn surplus(widths: &[usize], width: usize) -> usize {
    let sum: usize = widths.iter().map(|width| width + GAP).sum();
    sum.saturating_sub(GAP).saturating_sub(width)
}

/// Narrows the widest columns of texts until the table fits into `width` or each has the width `smallest`.
fn shorten(columns: &[Column], widths: &mut [usize], width: usize, smallest: usize) {
    for _ in 0..surplus(widths, width) {
        let texts = columns.iter().zip(widths.iter_mut()).filter(|(column, _)| column.is_text());
        match texts.map(|(_, width)| width).max() {
            Some(widest) if *widest > smallest => *widest -= 1,
            _ => break,
        }
    }
}

/// Aligns cells into a table. Each column has a name and a flag that is true for texts, which are aligned at the left.
/// Cells must be [printable](human::printable).
#[must_use]
pub fn grid(columns: &[(&str, bool)], cells: Vec<Vec<String>>, has_header: bool) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    if has_header {
        table.set_header(columns.iter().map(|(name, _)| *name));
    }
    table.add_rows(cells);
    for ((_, is_text), drawn) in columns.iter().zip(table.column_iter_mut()) {
        drawn.set_padding((0, GAP as u16));
        if !is_text {
            drawn.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt() + "\n"
}

#[cfg(test)]
mod tests;
