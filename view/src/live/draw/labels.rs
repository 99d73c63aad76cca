//! The names of the lines of the table: processes, pods, peers, and the two ends of connections.

use traffictrace_crd::{flow::Direction, human::number_of};

use crate::{
    live::{
        app::App,
        table::{Line, Table, view_below},
        text::{fit, width},
    },
    rows::{Owner, Row, View},
};

/// A name, or the names of a connection's two ends with the sign between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Label {
    One(String),
    Two(String, &'static str, String),
}

impl Label {
    pub(super) fn width(&self) -> usize {
        match self {
            Self::One(text) => width(text),
            Self::Two(left, sign, right) => width(left) + width(sign) + width(right) + 2,
        }
    }

    /// Returns the label in at most `columns`. Two ends are cut evenly, but an end that is short enough is not cut.
    pub(super) fn fit(&self, columns: usize, ellipsis: &str) -> String {
        match self {
            Self::One(text) => fit(text, columns, ellipsis),
            Self::Two(left, sign, right) => {
                let room = columns.saturating_sub(width(sign) + 2);
                let half = (room / 2).max(room.saturating_sub(width(right)));
                let left = fit(left, half, ellipsis);
                let right = fit(right, room - width(&left).min(room), ellipsis);
                format!("{left} {sign} {right}")
            }
        }
    }
}

impl App {
    /// Returns the name of a line.
    pub(super) fn label(&self, table: &Table, line: Line, is_short: bool) -> Label {
        let Some(row) = table.row(line) else { return Label::One(String::new()) };
        match line {
            Line::Row(_) => self.label_of(row, self.choice.view, is_short),
            Line::More(place) => {
                let number = table.more(place).1;
                Label::One(format!("(other, {})", number_of(number as i128, "row")))
            }
            Line::Below(..) => match view_below(self.choice.view) {
                Some(View::Endpoint) => self.below_process(row, is_short),
                Some(View::Connection) => self.connection(row, String::new(), is_short),
                Some(view) => self.label_of(row, view, is_short),
                None => Label::One(String::new()),
            },
        }
    }

    fn label_of(&self, row: &Row, view: View, is_short: bool) -> Label {
        let owner = &row.owner;
        match view {
            View::Process => Label::One(self.names.process(owner.command.as_deref(), owner.pid)),
            View::Pod => {
                Label::One(self.names.whole_place(owner).unwrap_or_else(|| "(no container)".to_owned()))
            }
            View::Peer => {
                let peer = row.peer.as_deref().map(|peer| self.names.end(peer));
                Label::One(peer.unwrap_or_else(|| "(peer not known)".to_owned()))
            }
            View::Endpoint => self.endpoint(row, self.end_of(owner, is_short), is_short),
            View::Connection => self.connection(row, self.end_of(owner, is_short), is_short),
        }
    }

    /// Names a process at one end of a connection, with its pod unless `is_short`.
    fn end_of(&self, owner: &Owner, is_short: bool) -> String {
        if is_short { self.names.process(owner.command.as_deref(), None) } else { self.names.owner(owner) }
    }

    /// Names a service with its process: `web/nginx:80 ← clients`, `web/nginx → 10.0.0.7:6379`.
    fn endpoint(&self, row: &Row, owner: String, is_short: bool) -> Label {
        if let Some(both) = self.both_ends(row, &owner, is_short) {
            return both;
        }
        match (row.direction, &row.peer) {
            (Some(Direction::Inbound), Some(service)) => {
                let port = service.trim_start_matches('*');
                Label::Two(format!("{owner}{port}"), self.symbols.from, "clients".to_owned())
            }
            (direction, peer) => Label::Two(owner, self.sign(direction), self.peer(peer.as_deref())),
        }
    }

    fn below_process(&self, row: &Row, is_short: bool) -> Label {
        let Label::Two(left, sign, right) = self.endpoint(row, String::new(), is_short) else {
            return Label::One(String::new());
        };
        Label::One(if left.is_empty() { format!("{sign} {right}") } else { format!("{left} {sign} {right}") })
    }

    fn connection(&self, row: &Row, owner: String, is_short: bool) -> Label {
        if let Some(both) = self.both_ends(row, &owner, is_short) {
            return both;
        }
        let local = row.local.as_deref().map(|local| self.names.end(local)).unwrap_or_default();
        let left = match (owner.is_empty(), row.direction) {
            (true, _) => local,
            (false, Some(Direction::Inbound)) => match local.rsplit_once(':') {
                Some((_, port)) if port.parse::<u16>().is_ok() => format!("{owner}:{port}"),
                _ => owner,
            },
            (false, _) => owner,
        };
        Label::Two(left, self.sign(row.direction), self.peer(row.peer.as_deref()))
    }

    /// Names the processes at both ends, the second one with the port at which it serves:
    /// `log-shipper/fluent-bit → api/api:8080`.
    fn both_ends(&self, row: &Row, owner: &str, is_short: bool) -> Option<Label> {
        let other = self.end_of(row.other_end.as_ref()?, is_short);
        let other = row.other_port.map_or_else(|| other.clone(), |port| format!("{other}:{port}"));
        Some(Label::Two(owner.to_owned(), self.sign(row.direction), other))
    }

    fn sign(&self, direction: Option<Direction>) -> &'static str {
        match direction {
            Some(Direction::Outbound) => self.symbols.to,
            Some(Direction::Inbound) => self.symbols.from,
            Some(Direction::Unknown) | None => self.symbols.both,
        }
    }

    fn peer(&self, peer: Option<&str>) -> String {
        peer.map_or_else(|| "(not known)".to_owned(), |peer| self.names.end(peer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_of_a_connection_are_cut_evenly() {
        let label = Label::Two("log-shipper/fluent-bit".to_owned(), "→", "api/api:8080".to_owned());
        assert_eq!(label.fit(60, "…"), "log-shipper/fluent-bit → api/api:8080");
        assert_eq!(label.fit(28, "…"), "log-sh…nt-bit → api/api:8080");
        assert!(width(&label.fit(20, "…")) <= 20);
    }
}
