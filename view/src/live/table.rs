//! The lines of the table of flows: its rows in their order, and below each open row the rows that it consists of.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use crate::{
    Snapshot,
    rows::{Choice, Row, Rows, Sums, View, rows, rows_below},
    sort::{Order, sort},
};

/// Maximum number of rows listed below an open row. The others are summed up in one line.
const MAX_BELOW: usize = 50;

/// A line of the table. Numbers are indexes of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A row.
    Row(usize),
    /// A row below an open row: the index of the open row, and the index among the rows below it.
    Below(usize, usize),
    /// The sum of the rows below an open row that are not listed.
    More(usize),
}

/// The rows of one snapshot as they are shown.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) rows: Rows,
    below: HashMap<usize, Vec<Row>>,
    pub(super) lines: Vec<Line>,
    pub(super) has_pods: bool,
    pub(super) has_containers: bool,
    pub(super) has_nodes: bool,
}

impl Table {
    /// Makes the rows of a snapshot. Rows whose keys are in `held` keep that order and come first.
    pub(super) fn new(
        snapshot: Arc<Snapshot>,
        choice: &Choice,
        order: Order,
        opened: &BTreeSet<String>,
        held: Option<&HashMap<String, usize>>,
    ) -> Self {
        let mut rows = rows(&snapshot, choice);
        sort(&mut rows.rows, order);
        if let Some(held) = held {
            rows.rows.sort_by_key(|row| held.get(&row.key).copied().unwrap_or(usize::MAX));
        }
        // Taken from all flows, not only those that the filter accepts, so that the columns stay while a filter is
        // typed.
        let has_pods = snapshot.flows.iter().any(|flow| flow.pod.is_some());
        let has_containers = snapshot.flows.iter().any(|flow| flow.container.is_some());
        let has_nodes = snapshot.flows.iter().any(|flow| flow.node.is_some());
        let mut table = Self {
            snapshot,
            rows,
            below: HashMap::new(),
            lines: Vec::new(),
            has_pods,
            has_containers,
            has_nodes,
        };
        table.lines.reserve(table.rows.rows.len());
        for place in 0..table.rows.rows.len() {
            table.lines.push(Line::Row(place));
            let row = &table.rows.rows[place];
            if !opened.is_empty() && opened.contains(&row.key) {
                table.open(place, choice.view, order);
            }
        }
        table
    }

    fn open(&mut self, place: usize, view: View, order: Order) {
        let Some(view) = view_below(view) else { return };
        let mut below = rows_below(&self.snapshot, &self.rows.rows[place], view);
        sort(&mut below, order);
        let number = below.len();
        self.lines.extend((0..number.min(MAX_BELOW)).map(|below| Line::Below(place, below)));
        if number > MAX_BELOW {
            self.lines.push(Line::More(place));
        }
        self.below.insert(place, below);
    }

    /// Returns the row of a line. The line of the rows that are not listed belongs to the open row above it.
    pub(super) fn row(&self, line: Line) -> Option<&Row> {
        match line {
            Line::Row(place) | Line::More(place) => self.rows.rows.get(place),
            Line::Below(place, below) => self.below.get(&place)?.get(below),
        }
    }

    /// Returns true if the rows below a line's row are shown.
    pub(super) fn is_open(&self, line: Line) -> bool {
        matches!(line, Line::Row(place) if self.below.contains_key(&place))
    }

    /// Returns the sums and the number of the rows below an open row that are not listed.
    pub(super) fn more(&self, place: usize) -> (Sums, usize) {
        let below = self.below.get(&place).map_or(&[][..], Vec::as_slice);
        let more = below.get(MAX_BELOW..).unwrap_or_default();
        let mut sums = Sums::default();
        more.iter().for_each(|row| sums.add(&row.sums));
        (sums, more.len())
    }

    /// Returns the key that identifies a line in this table and in later ones.
    pub(super) fn key(&self, at: usize) -> Option<String> {
        let line = *self.lines.get(at)?;
        let row = self.row(line)?;
        Some(match line {
            Line::Row(_) => row.key.clone(),
            Line::Below(place, _) => format!("{}\u{1}{}", self.rows.rows.get(place)?.key, row.key),
            Line::More(_) => format!("{}\u{1}", row.key),
        })
    }

    /// Returns the index of the line with this key.
    pub(super) fn find(&self, key: &str) -> Option<usize> {
        let (row, below) = key.split_once('\u{1}').map_or((key, None), |(row, below)| (row, Some(below)));
        self.lines.iter().position(|line| match (line, below) {
            (Line::Row(place), None) => self.rows.rows[*place].key == row,
            (Line::More(place), Some("")) => self.rows.rows[*place].key == row,
            (Line::Below(place, _), Some(below)) => {
                self.rows.rows[*place].key == row && self.row(*line).is_some_and(|row| row.key == below)
            }
            _ => false,
        })
    }

    /// Returns the indexes of all rows by their keys.
    pub(super) fn places(&self) -> HashMap<String, usize> {
        self.rows.rows.iter().enumerate().map(|(place, row)| (row.key.clone(), place)).collect()
    }
}

/// The view by which the rows below an open row are grouped.
pub(super) fn view_below(view: View) -> Option<View> {
    match view {
        View::Pod | View::Peer => Some(View::Process),
        View::Process => Some(View::Endpoint),
        View::Endpoint => Some(View::Connection),
        View::Connection => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{flow, snapshot};

    fn table(flows: u16, opened: &[&str]) -> Table {
        let mut snapshot = snapshot();
        for port in 0..flows {
            let mut flow = flow("many", 7);
            flow.remote_port = Some(port);
            snapshot.flows.push(flow);
        }
        let opened = opened.iter().map(|key| (*key).to_owned()).collect();
        Table::new(Arc::new(snapshot), &Choice::default(), Order::default(), &opened, None)
    }

    #[test]
    fn rows_below_are_cut_and_their_sums_are_kept() {
        let key = table(60, &[]).rows.rows.iter().find(|row| row.sums.flows == 60).unwrap().key.clone();
        let table = table(60, &[&key]);
        let place = table.rows.rows.iter().position(|row| row.key == key).unwrap();
        let mut sums = table.more(place).0;
        assert_eq!(table.more(place).1, 10);
        for line in &table.lines {
            if let Line::Below(..) = line {
                sums.add(&table.row(*line).unwrap().sums);
            }
        }
        assert_eq!(sums, table.rows.rows[place].sums);
        for at in 0..table.lines.len() {
            assert_eq!(table.find(&table.key(at).unwrap()), Some(at));
        }
        assert_eq!(table.key(table.lines.len()), None);
    }

    #[test]
    fn held_rows_keep_their_places() {
        let first = table(0, &[]);
        let mut held = first.places();
        let last = first.rows.rows.len() - 1;
        for place in held.values_mut() {
            *place = last - *place;
        }
        let again = Table::new(
            Arc::clone(&first.snapshot),
            &Choice::default(),
            Order::default(),
            &BTreeSet::new(),
            Some(&held),
        );
        let keys = |table: &Table| table.rows.rows.iter().map(|row| row.key.clone()).collect::<Vec<_>>();
        assert_eq!(keys(&again), keys(&first).into_iter().rev().collect::<Vec<_>>());
    }
}
