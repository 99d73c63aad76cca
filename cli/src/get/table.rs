//! The rows that the API server makes from objects, and their text.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use serde_json::Value;
use traffictrace_crd::{GROUP, human::printable};
use unicode_width::UnicodeWidthStr as _;

/// Width in columns of the blanks between two cells, and minimum width of a cell with those blanks, both as in kubectl.
const GAP: usize = 3;
const SMALLEST: usize = 6;

/// Rows of objects, as the API server sends them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Table {
    pub(super) metadata: Metadata,
    /// The columns. In a watch, only the first event has them.
    #[serde(deserialize_with = "null_is_empty")]
    column_definitions: Vec<Column>,
    #[serde(deserialize_with = "null_is_empty")]
    pub(super) rows: Vec<Row>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Metadata {
    pub(super) resource_version: String,
}

#[derive(Clone, Debug, Deserialize)]
struct Column {
    name: String,
    /// 0 if the column is always shown; higher for columns of `-o wide`.
    #[serde(default)]
    priority: i32,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Row {
    cells: Vec<Value>,
    object: Object,
}

/// The object of a row. The API server sends only its metadata.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Object {
    metadata: ObjectMeta,
}

fn null_is_empty<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl Table {
    /// Adds the rows of another response.
    pub(super) fn extend(&mut self, other: Self) {
        if self.column_definitions.is_empty() {
            self.column_definitions = other.column_definitions;
        }
        self.metadata = other.metadata;
        self.rows.extend(other.rows);
    }

    /// Returns the resource version of the last row's object, which is the newest one in an event of a watch.
    pub(super) fn version(&self) -> Option<String> {
        self.rows.last()?.object.metadata.resource_version.clone()
    }
}

impl Row {
    /// Returns the name of the row's object as kubectl prints it, with a line feed at its end.
    pub(super) fn full_name(&self) -> String {
        format!("traffictrace.{GROUP}/{}\n", self.object.metadata.name.as_deref().unwrap_or_default())
    }
}

/// The columns of a table that is printed piece by piece: later rows use the widths of the printed ones.
#[derive(Debug)]
pub(super) struct Columns {
    with_namespace: bool,
    is_wide: bool,
    /// True if the header has not been printed yet.
    wants_header: bool,
    shown: Vec<usize>,
    widths: Vec<usize>,
}

impl Columns {
    pub(super) fn new(with_namespace: bool, is_wide: bool, wants_header: bool) -> Self {
        Self { with_namespace, is_wide, wants_header, shown: Vec::new(), widths: Vec::new() }
    }

    /// Returns the lines of some rows, with the header first if it has not been printed yet.
    pub(super) fn text(&mut self, table: &Table) -> String {
        if table.rows.is_empty() {
            return String::new();
        }
        let mut lines = Vec::new();
        if self.shown.is_empty() {
            let columns = table.column_definitions.iter().enumerate();
            let shown = columns.filter(|(_, column)| self.is_wide || column.priority == 0);
            let (shown, names): (Vec<usize>, Vec<String>) =
                shown.map(|(at, column)| (at, printable(&column.name).to_uppercase())).unzip();
            self.shown = shown;
            if std::mem::take(&mut self.wants_header) {
                lines.push(self.line("NAMESPACE", names));
            }
        }
        for row in &table.rows {
            let cells = self.shown.iter().map(|&at| row.cells.get(at).map(cell).unwrap_or_default());
            let namespace = row.object.metadata.namespace.as_deref().unwrap_or_default();
            lines.push(self.line(namespace, cells.collect()));
        }
        for line in &lines {
            self.widths.resize(self.widths.len().max(line.len()), SMALLEST);
            for (known, cell) in self.widths.iter_mut().zip(line) {
                *known = (*known).max(cell.width() + GAP);
            }
        }
        lines.iter().map(|line| self.drawn(line)).collect()
    }

    fn line(&self, namespace: &str, cells: Vec<String>) -> Vec<String> {
        let namespace = self.with_namespace.then(|| printable(namespace).into_owned());
        namespace.into_iter().chain(cells).collect()
    }

    fn drawn(&self, cells: &[String]) -> String {
        let mut text = String::new();
        for (cell, wanted) in cells.iter().zip(&self.widths) {
            text.push_str(cell);
            text.extend(std::iter::repeat_n(' ', wanted.saturating_sub(cell.width())));
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
        text
    }
}

/// Formats a cell as kubectl does: on one line, and empty for null.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => match text.split_once('\n') {
            None => printable(text).into_owned(),
            Some((line, _)) => format!("{}...", printable(line)),
        },
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn table(rows: &[Value]) -> Table {
        serde_json::from_value(json!({
            "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {"resourceVersion": "7"},
            "columnDefinitions": [
                {"name": "Name", "type": "string", "priority": 0},
                {"name": "Pods", "type": "integer", "priority": 0},
                {"name": "Message", "type": "string", "priority": 1},
            ],
            "rows": rows,
        }))
        .unwrap()
    }

    fn row(name: &str, pods: Value, message: &str) -> Value {
        json!({"cells": [name, pods, message], "object": {"metadata": {"name": name, "namespace": "shop"}}})
    }

    #[test]
    fn columns_are_those_of_the_server_and_look_as_those_of_kubectl() {
        let two = table(&[row("web", json!(3), "fine"), row("checkout", Value::Null, "a\nb\u{1b}")]);
        assert_eq!(Columns::new(false, false, true).text(&two), "NAME       PODS\nweb        3\ncheckout\n");
        assert_eq!(
            Columns::new(true, true, true).text(&two),
            "NAMESPACE   NAME       PODS   MESSAGE\nshop        web        3      fine\nshop        checkout          a...\n"
        );
        assert_eq!(Columns::new(false, false, false).text(&two), "web        3\ncheckout\n");
    }

    #[test]
    fn changes_follow_in_the_same_columns() {
        let mut columns = Columns::new(false, false, true);
        assert_eq!(columns.text(&table(&[])), "");
        columns.text(&table(&[row("checkout", json!(3), "")]));
        let mut change = table(&[row("web", json!(4), "")]);
        change.column_definitions.clear();
        assert_eq!(columns.text(&change), "web        4\n");
    }

    #[test]
    fn what_is_null_is_nothing() {
        let table: Table = serde_json::from_value(json!({"columnDefinitions": null, "rows": null})).unwrap();
        assert!(table.rows.is_empty() && table.column_definitions.is_empty());
    }
}
