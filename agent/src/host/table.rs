//! Tables for people.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

/// Number of blanks between two columns.
pub(crate) const GAP: u16 = 2;

/// Formats a table without lines, with each row on one line. Columns that `texts` does not name are numbers, aligned at
/// the right.
pub(crate) fn table(
    names: Vec<String>,
    rows: impl IntoIterator<Item = Vec<String>>,
    texts: &[&str],
) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(names.clone());
    for row in rows {
        table.add_row(row);
    }
    for (name, column) in names.iter().zip(table.column_iter_mut()) {
        column.set_padding((0, GAP));
        if !texts.contains(&name.as_str()) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt() + "\n"
}
