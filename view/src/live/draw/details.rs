//! The details of the selected row.

use traffictrace_crd::{flow::Direction, human::count};

use super::PageLine;
use crate::{
    endpoints::errors,
    live::{
        app::App,
        lists::Tab,
        names::Kind,
        text::{fit, wrap},
    },
    rows::{Row, peer_of},
    snapshot::{Endpoint, Flow, Function},
};

/// Width in terminal columns of the names of details, which stand at the left of their values.
const LABEL: usize = 13;
/// Maximum number of lines of one value.
const MAX_LINES: usize = 3;

impl App {
    /// Returns the details of the selected row, in lines of at most `room` columns.
    pub(super) fn details(&self, room: usize) -> Vec<PageLine> {
        let Some(table) = &self.table else { return Vec::new() };
        let at = self.list().at;
        let details = match self.tab {
            Tab::Flows => {
                self.selected_row().map(|row| self.details_of_row(row, table.snapshot.flows.get(row.busiest)))
            }
            Tab::Http => {
                let endpoints = table.snapshot.http.as_ref().map(|http| &http.endpoints);
                let place = self.endpoints.get(at).copied();
                place
                    .and_then(|place| endpoints?.get(place))
                    .map(|endpoint| self.details_of_endpoint(endpoint))
            }
            Tab::Functions => self.functions.get(at).map(|function| self.details_of_function(function)),
        };
        let plain = self.theme.plain();
        let lines = details.unwrap_or_default().into_iter().flat_map(|(label, value)| {
            let columns = room.saturating_sub(LABEL + 1);
            let values = wrap(&fit(&value, columns * MAX_LINES, self.symbols.ellipsis), columns);
            let line = move |(place, value): (usize, String)| {
                let label = if place == 0 { label } else { "" };
                PageLine { text: format!("{label:<LABEL$} {value}"), style: plain }
            };
            values.into_iter().enumerate().map(line).collect::<Vec<_>>()
        });
        lines.collect()
    }

    fn details_of_row(&self, row: &Row, busiest: Option<&Flow>) -> Vec<(&'static str, String)> {
        let (owner, sums) = (&row.owner, &row.sums);
        let mut details = Vec::new();
        let mut add = |label, value: Option<String>| details.extend(value.map(|value| (label, value)));
        let name = |kind, name: &Option<String>| name.as_ref().map(|name| self.names.shown(kind, name));
        add("process", name(Kind::Process, &owner.command));
        if owner.command.is_none() && row.processes == 0 {
            add("process", Some("not known: its traffic could not be attributed".to_owned()));
        }
        add("processes", (row.processes > 1).then(|| count(row.processes as u64)));
        add(
            "pid",
            owner.pid.map(|pid| match busiest.and_then(|flow| flow.container_pid) {
                Some(inner) if inner != pid => format!("{pid}, in its container {inner}"),
                _ => pid.to_string(),
            }),
        );
        add("container", name(Kind::Container, &owner.container));
        add("called from", busiest.and_then(|flow| name(Kind::Container, &flow.caller_container)));
        add("pod", name(Kind::Pod, &owner.pod));
        add("namespace", name(Kind::Namespace, &owner.namespace));
        add("node", name(Kind::Node, &owner.node));
        add("local", row.local.as_deref().map(|local| self.names.end(local)));
        add("peer", row.peer.as_deref().map(|peer| self.names.end(peer)));
        if row.peer.is_none() {
            let peer = busiest.and_then(peer_of);
            add("busiest peer", peer.map(|peer| self.names.end(&peer)));
        }
        add("other end", row.other_end.as_ref().map(|other| self.names.owner(other)));
        add("protocol", row.protocol.map(|protocol| format!("{protocol:?}").to_uppercase()));
        add(
            "direction",
            row.direction.map(|direction| {
                match direction {
                    Direction::Inbound => "inbound: the peer began",
                    Direction::Outbound => "outbound: this side began",
                    Direction::Unknown => "not known: older than the trace",
                }
                .to_owned()
            }),
        );
        add("state", Some(format!("{:?}", row.state).to_lowercase()));
        let both = |rate, bytes| format!("{}, {} in all", self.units.rate(rate), self.units.amount(bytes));
        add("received", Some(both(sums.rx_rate, sums.rx_bytes)));
        add("sent", Some(both(sums.tx_rate, sums.tx_bytes)));
        add("exact", Some(format!("{} B received, {} B sent", count(sums.rx_bytes), count(sums.tx_bytes))));
        add("flows", Some(count(sums.flows)));
        let connections = format!("{} open of {}", count(sums.connections_open), count(sums.connections));
        add("connections", Some(connections));
        add("failed", Some(count(sums.connect_failures)));
        let calls = busiest.filter(|flow| row.flows.len() == 1 && flow.rx_calls + flow.tx_calls > 0);
        add(
            "calls",
            calls.map(|flow| format!("{} receive, {} send", count(flow.rx_calls), count(flow.tx_calls))),
        );
        add("retransmits", Some(count(sums.retransmits)));
        add("round trip", row.rtt_microseconds.map(|rtt| self.symbols.duration(rtt.into())));
        details
    }

    fn details_of_endpoint(&self, endpoint: &Endpoint) -> Vec<(&'static str, String)> {
        let mut details = Vec::new();
        let mut add = |label, value: Option<String>| details.extend(value.map(|value| (label, value)));
        let name = |kind, name: &Option<String>| name.as_ref().map(|name| self.names.shown(kind, name));
        add("method", name(Kind::Function, &endpoint.method).filter(|_| !self.names.are_hidden));
        add("host", name(Kind::Host, &endpoint.host));
        add("path", name(Kind::Path, &endpoint.path));
        let plain = |text: &str| traffictrace_crd::human::printable(text).into_owned();
        add("protocol", Some(plain(&endpoint.protocol)));
        add("side", Some(plain(&endpoint.side)));
        add("process", name(Kind::Process, &endpoint.command));
        add("container", name(Kind::Container, &endpoint.container));
        add("pod", name(Kind::Pod, &endpoint.pod));
        add("namespace", name(Kind::Namespace, &endpoint.namespace));
        add("requests", Some(count(endpoint.requests)));
        add("errors", Some(count(errors(endpoint))));
        let classes = endpoint.by_class.iter();
        let classes: Vec<String> =
            classes.map(|(class, number)| format!("{} {}", plain(class), count(*number))).collect();
        add("by status", Some(classes.join(", ")).filter(|text| !text.is_empty()));
        add("gRPC failed", (endpoint.grpc_failed > 0).then(|| count(endpoint.grpc_failed)));
        add("incomplete", endpoint.incomplete.then(|| "some requests are in other rows".to_owned()));
        for (label, duration) in [
            ("median", endpoint.p50_microseconds),
            ("90 percent", endpoint.p90_microseconds),
            ("99 percent", endpoint.p99_microseconds),
            ("longest", endpoint.max_microseconds),
        ] {
            add(label, Some(self.symbols.duration(duration)));
        }
        add("in requests", Some(self.units.amount(endpoint.request_bytes)));
        add("in responses", Some(self.units.amount(endpoint.response_bytes)));
        details
    }

    fn details_of_function(&self, function: &Function) -> Vec<(&'static str, String)> {
        let name = |kind, name: &Option<String>| name.as_ref().map(|name| self.names.shown(kind, name));
        let mut details = vec![("function", self.names.shown(Kind::Function, &function.name))];
        details.extend(name(Kind::Module, &function.module).map(|module| ("file", module)));
        details.extend(name(Kind::Process, &function.command).map(|command| ("process", command)));
        details.push(("received", self.units.amount(function.rx_bytes)));
        details.push(("sent", self.units.amount(function.tx_bytes)));
        details
    }
}
