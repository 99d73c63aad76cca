//! The columns of the table of flows: which of them fit into a width, and in which order they are left out.

use crate::{rows::View, sort, units::Units};

/// A column of the table of flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Column {
    // Variants are in the order of the columns on the screen, by which they are sorted.
    Name,
    Owner,
    Pod,
    Container,
    Node,
    Peer,
    Protocol,
    State,
    Processes,
    Open,
    RxRate,
    TxRate,
    Rate,
    Rx,
    Tx,
    Bytes,
    Failures,
    Retransmits,
    Rtt,
    Bar,
    Sparkline,
}

use Column::{
    Bar, Bytes, Container, Failures, Name, Node, Open, Owner, Peer, Pod, Processes, Protocol, Rate,
    Retransmits, Rtt, Rx, RxRate, Sparkline, State, Tx, TxRate,
};

const RATES: [Column; 3] = [RxRate, TxRate, Rate];
const AMOUNTS: [Column; 3] = [Rx, Tx, Bytes];
/// Width in terminal columns that the name of a connection must have before columns of details are added.
const NAME_OF_TWO: usize = 44;
/// Width in terminal columns of the marks before a row's name, with the blank behind them.
pub(super) const MARKS: usize = 3;

/// The settings and the data by which the columns are chosen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice {
    pub(super) view: View,
    pub(super) units: Units,
    /// True if totals are shown in the positions of rates (key `t`).
    pub(super) is_of_totals: bool,
    /// True if columns of details are more important than bars (key `w`).
    pub(super) is_wide: bool,
    pub(super) has_pods: bool,
    pub(super) has_containers: bool,
    pub(super) has_nodes: bool,
}

impl Choice {
    /// Returns all columns, the most important first.
    fn ranked(&self) -> Vec<Column> {
        let (numbers, others) = if self.is_of_totals { (AMOUNTS, RATES) } else { (RATES, AMOUNTS) };
        let place = match (self.has_pods, self.has_containers) {
            (true, _) => &[Pod, Container][..],
            (false, true) => &[Container],
            (false, false) => &[],
        };
        let (main, more) = place.split_at(place.len().min(1));
        let node: &[Column] = if self.has_nodes { &[Node] } else { &[] };
        // Few readers want to give room to the node, so its column comes last unless details are asked for.
        let (node, last_node) = if self.is_wide { (node, &[][..]) } else { (&[][..], node) };
        let (basic, details): (Vec<Column>, Vec<Column>) = match self.view {
            View::Process => ([&[Open], main].concat(), [&[Peer, Retransmits], more, node, &[Rtt]].concat()),
            View::Pod => (vec![Open, Processes], [node, &[Retransmits]].concat()),
            View::Peer => (vec![Open, Owner], vec![Retransmits, Rtt]),
            View::Endpoint => (vec![Open], [&[Protocol, Rtt, Retransmits], place, node].concat()),
            View::Connection => (vec![Open], [&[Protocol, Rtt, Retransmits, State], place, node].concat()),
        };
        let bars: &[Column] = &[Bar, Sparkline];
        let first: &[Column] = &[Name, numbers[0], numbers[1]];
        if self.is_wide {
            [first, main, &details, &[numbers[2]], &others, &[Open], bars, &[Failures]].concat()
        } else {
            let (bar, sparkline) = bars.split_at(1);
            [first, &[numbers[2]], &basic, bar, &details, sparkline, &others, last_node, &[Failures]].concat()
        }
    }

    /// Returns the columns that fit into `width`, in the order of their positions. Columns are left out one by one, the
    /// least important first.
    pub(super) fn columns(&self, width: usize) -> Vec<Column> {
        let mut room = width.saturating_sub(MARKS - 1);
        // A name with two ends must have its room before columns beyond the first three are added.
        let has_two_ends = matches!(self.view, View::Endpoint | View::Connection);
        let reserved = if has_two_ends { NAME_OF_TWO - Name.minimum(self.units) } else { 0 };
        let mut columns = Vec::new();
        for column in self.ranked() {
            let needed = column.minimum(self.units) + 1;
            if columns.contains(&column) {
                continue;
            }
            // The first three columns, the name and two numbers, are always shown.
            let reserved = if columns.len() > 3 { reserved } else { 0 };
            if needed + reserved > room && columns.len() >= 3 {
                break;
            }
            room = room.saturating_sub(needed);
            columns.push(column);
        }
        // The other numbers (amounts beside rates, or rates beside amounts) are shown together or not at all.
        let others = if self.is_of_totals { RATES } else { AMOUNTS };
        if !others.iter().all(|column| columns.contains(column)) && columns.len() > 3 {
            columns.retain(|column| !others.contains(column));
        }
        columns.sort_unstable();
        columns
    }
}

impl Column {
    /// Heading of the column.
    pub(super) fn heading(self, view: View) -> &'static str {
        match self {
            Name => match view {
                View::Process => "PROCESS",
                View::Pod => "POD",
                View::Peer => "PEER",
                View::Endpoint => "ENDPOINT",
                View::Connection => "CONNECTION",
            },
            Owner => "PROCESS",
            Container => "CONTAINER",
            Node => "NODE",
            Protocol => "PROT",
            State => "STATE",
            Processes => "PROCS",
            Bar => "SHARE",
            Sparkline => "60 S",
            Pod | Peer | Open | RxRate | TxRate | Rate | Rx | Tx | Bytes | Failures | Retransmits | Rtt => {
                self.sorted_by(view).map_or("", sort::Column::name)
            }
        }
    }

    /// The sort order that the column stands for, if rows can be sorted by it.
    pub(super) fn sorted_by(self, view: View) -> Option<sort::Column> {
        match self {
            Name => match view {
                View::Process | View::Endpoint | View::Connection => Some(sort::Column::Process),
                View::Pod => Some(sort::Column::Pod),
                View::Peer => Some(sort::Column::Peer),
            },
            Pod => Some(sort::Column::Pod),
            Peer => Some(sort::Column::Peer),
            Open => Some(sort::Column::Open),
            RxRate => Some(sort::Column::RxRate),
            TxRate => Some(sort::Column::TxRate),
            Rate => Some(sort::Column::Rate),
            Rx => Some(sort::Column::Rx),
            Tx => Some(sort::Column::Tx),
            Bytes => Some(sort::Column::Bytes),
            Failures => Some(sort::Column::Failures),
            Retransmits => Some(sort::Column::Retransmits),
            Rtt => Some(sort::Column::Rtt),
            Owner | Container | Node | Protocol | State | Processes | Bar | Sparkline => None,
        }
    }

    /// Returns true if the column's cells are texts, which can be cut.
    pub(super) fn is_text(self) -> bool {
        matches!(self, Name | Owner | Pod | Container | Node | Peer | Protocol | State)
    }

    /// Minimum width of the column, in terminal columns.
    pub(super) fn minimum(self, units: Units) -> usize {
        match self {
            Name => 18,
            Owner | Peer => 14,
            Pod => 12,
            Container | Node | Sparkline => 10,
            Protocol => 4,
            Open | Processes => 5,
            State | Failures | Retransmits | Bar => 6,
            Rtt => 7,
            RxRate | TxRate | Rate | Rx | Tx | Bytes => match units {
                Units::Bytes => 8,
                Units::Bits => 9,
                Units::Exact => 14,
            },
        }
    }

    /// Maximum width of the column, in terminal columns.
    pub(super) fn maximum(self) -> usize {
        match self {
            Name => 90,
            Owner | Peer => 48,
            Pod | Container | Node => 40,
            Bar => 16,
            Sparkline => 60,
            _ => 28,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(view: View) -> Choice {
        Choice {
            view,
            units: Units::Bytes,
            is_of_totals: false,
            is_wide: false,
            has_pods: true,
            has_containers: true,
            has_nodes: true,
        }
    }

    #[test]
    fn columns_go_in_the_said_order() {
        let at = |width| choice(View::Process).columns(width);
        assert_eq!(at(80), [Name, Pod, Open, RxRate, TxRate, Rate, Bar]);
        assert_eq!(at(73), [Name, Pod, Open, RxRate, TxRate, Rate]);
        assert_eq!(at(66), [Name, Open, RxRate, TxRate, Rate]);
        assert_eq!(at(50), [Name, RxRate, TxRate, Rate]);
        assert_eq!(at(40), [Name, RxRate, TxRate]);
        assert_eq!(at(0), [Name, RxRate, TxRate]);
    }

    #[test]
    fn no_column_is_there_twice_and_none_is_too_wide() {
        for view in View::ALL {
            for (is_of_totals, is_wide, has_pods) in
                [(false, false, false), (true, false, true), (false, true, true), (true, true, false)]
            {
                let choice = Choice { is_of_totals, is_wide, has_pods, ..choice(view) };
                for width in 40..300 {
                    let mut columns = choice.columns(width);
                    let needed: usize =
                        columns.iter().map(|column| column.minimum(Units::Bytes) + 1).sum::<usize>() + MARKS
                            - 1;
                    assert!(needed <= width, "{view:?} {columns:?} need {needed} of {width}");
                    let number = columns.len();
                    columns.dedup();
                    assert_eq!(columns.len(), number);
                }
            }
        }
    }
}
