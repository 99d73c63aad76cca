//! The order of rows. Rows that are equal in the sorted column are ordered by their bytes, then by their keys.

use crate::rows::{Row, Sums};

/// A column that rows can be sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Column {
    /// Name of the process.
    Process,
    /// Name of the pod.
    Pod,
    /// The peer.
    Peer,
    /// Number of connections that are open.
    Open,
    /// Bytes received per second.
    RxRate,
    /// Bytes sent per second.
    TxRate,
    /// Bytes per second in both directions.
    #[default]
    Rate,
    /// Bytes received.
    Rx,
    /// Bytes sent.
    Tx,
    /// Bytes in both directions.
    Bytes,
    /// Number of connections that could not be opened.
    Failures,
    /// Number of TCP segments sent again.
    Retransmits,
    /// Round-trip time.
    Rtt,
}

impl Column {
    /// All columns, in the order of their positions on a screen.
    pub const ALL: [Self; 13] = [
        Self::Process,
        Self::Pod,
        Self::Peer,
        Self::Open,
        Self::RxRate,
        Self::TxRate,
        Self::Rate,
        Self::Rx,
        Self::Tx,
        Self::Bytes,
        Self::Failures,
        Self::Retransmits,
        Self::Rtt,
    ];

    /// Heading of the column.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Process => "PROCESS",
            Self::Pod => "POD",
            Self::Peer => "PEER",
            Self::Open => "OPEN",
            Self::RxRate => "RECV/s",
            Self::TxRate => "SENT/s",
            Self::Rate => "TOTAL/s",
            Self::Rx => "RECV",
            Self::Tx => "SENT",
            Self::Bytes => "TOTAL",
            Self::Failures => "FAILED",
            Self::Retransmits => "RETX",
            Self::Rtt => "RTT",
        }
    }

    /// Returns the column with this heading, ignoring case.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|column| column.name().eq_ignore_ascii_case(name))
    }

    /// Returns true if the column's cells are texts, which are sorted from A to Z. Numbers are sorted from the
    /// largest to the smallest.
    #[must_use]
    pub fn is_text(self) -> bool {
        matches!(self, Self::Process | Self::Pod | Self::Peer)
    }

    fn number(self, row: &Row) -> u64 {
        let sums: &Sums = &row.sums;
        match self {
            Self::Process | Self::Pod | Self::Peer => 0,
            Self::Open => sums.connections_open,
            Self::RxRate => sums.rx_rate,
            Self::TxRate => sums.tx_rate,
            Self::Rate => sums.rate(),
            Self::Rx => sums.rx_bytes,
            Self::Tx => sums.tx_bytes,
            Self::Bytes => sums.bytes(),
            Self::Failures => sums.connect_failures,
            Self::Retransmits => sums.retransmits,
            Self::Rtt => row.rtt_microseconds.map_or(0, u64::from),
        }
    }

    fn text(self, row: &Row) -> Option<&str> {
        match self {
            Self::Process => row.owner.command.as_deref(),
            Self::Pod => row.owner.pod.as_deref(),
            Self::Peer => row.peer.as_deref(),
            _ => None,
        }
    }
}

/// The order of rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// The sorted column.
    pub column: Column,
    /// True if the usual order of the column is reversed.
    pub is_reversed: bool,
}

/// Sorts rows. Rows that are equal in the sorted column are ordered by their bytes, the largest first, then by their
/// keys.
pub fn sort(rows: &mut [Row], order: Order) {
    let Order { column, is_reversed } = order;
    rows.sort_by(|a, b| {
        let by_column = if column.is_text() {
            // Rows without a name come last.
            let text = |row| (column.text(row).is_none(), column.text(row).map(str::to_lowercase));
            text(a).cmp(&text(b))
        } else {
            column.number(b).cmp(&column.number(a))
        };
        let by_column = if is_reversed { by_column.reverse() } else { by_column };
        by_column.then_with(|| b.sums.bytes().cmp(&a.sums.bytes())).then_with(|| a.key.cmp(&b.key))
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        rows::{Choice, rows},
        testing::snapshot,
    };

    fn commands(order: Order) -> Vec<String> {
        let mut rows = rows(&snapshot(), &Choice::default()).rows;
        sort(&mut rows, order);
        rows.into_iter().map(|row| row.owner.command.unwrap_or_default()).collect()
    }

    #[test]
    fn numbers_fall_and_texts_rise() {
        assert_eq!(commands(Order::default()), ["nginx", "php-fpm", "curl", ""]);
        let by_name = Order { column: Column::Process, is_reversed: false };
        assert_eq!(commands(by_name), ["curl", "nginx", "php-fpm", ""]);
        let reversed = Order { column: Column::Rx, is_reversed: true };
        assert_eq!(commands(reversed), ["", "curl", "php-fpm", "nginx"]);
    }

    #[test]
    fn equal_rows_keep_their_order_whatever_it_was() {
        let mut rows = rows(&snapshot(), &Choice::default()).rows;
        rows.iter_mut().for_each(|row| row.sums.retransmits = 1);
        let order = Order { column: Column::Retransmits, is_reversed: false };
        sort(&mut rows, order);
        let sorted = rows.clone();
        rows.reverse();
        sort(&mut rows, order);
        assert_eq!(rows, sorted);
    }

    #[test]
    fn columns_are_found_by_their_headings() {
        for column in Column::ALL {
            assert_eq!(Column::named(&column.name().to_lowercase()), Some(column));
        }
        assert_eq!(Column::named("rate"), None);
    }
}
