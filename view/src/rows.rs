//! The rows of a snapshot: its flows, filtered and grouped. The rows, the flows that the filter leaves out and the flows that
//! are not listed add up exactly to the totals.

mod key;

use std::{collections::BTreeSet, net::IpAddr};

use hashbrown::HashMap;
use traffictrace_crd::flow::{Direction, FlowState, Protocol};

use self::key::{Key, key_of};
use crate::{
    filter::Filter,
    pairs::{Pair, pairs},
    snapshot::{Flow, Snapshot},
};

/// The unit that one row stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum View {
    /// A process.
    #[default]
    Process,
    /// A pod or, on one host, a container.
    Pod,
    /// A peer, whichever process talks to it: a server with its port, a client without.
    Peer,
    /// A process and a service that it offers or uses. The clients' ephemeral ports are folded.
    Endpoint,
    /// A connection, or the connections that the trace has folded into one flow.
    Connection,
}

impl View {
    /// All views, in the order in which a key steps through them.
    pub const ALL: [Self; 5] = [Self::Process, Self::Pod, Self::Peer, Self::Endpoint, Self::Connection];

    /// Name of the view, as in `by process`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Pod => "pod",
            Self::Peer => "peer",
            Self::Endpoint => "endpoint",
            Self::Connection => "connection",
        }
    }

    /// The view after this one; after the last one comes the first.
    #[must_use]
    pub fn next(self) -> Self {
        let place = Self::ALL.iter().position(|view| *view == self).unwrap_or(0);
        Self::ALL[(place + 1) % Self::ALL.len()]
    }

    /// Returns true if all flows of a row belong to one process.
    fn is_of_processes(self) -> bool {
        matches!(self, Self::Process | Self::Endpoint | Self::Connection)
    }

    /// Returns true if a row can have two ends.
    fn is_of_connections(self) -> bool {
        matches!(self, Self::Endpoint | Self::Connection)
    }
}

/// The choice of rows.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// The unit that one row stands for.
    pub view: View,
    /// Filter of the flows.
    pub filter: Filter,
    /// True if a connection whose two ends are traced has a separate row for each end.
    pub both_ends: bool,
}

/// Sums over some flows. Counts are since the trace began; rates are over the last interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Number of flows.
    pub flows: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Bytes received per second.
    pub rx_rate: u64,
    /// Bytes sent per second.
    pub tx_rate: u64,
    /// Number of connections opened, or found open when the trace began.
    pub connections: u64,
    /// Number of connections that are open now.
    pub connections_open: u64,
    /// Number of connections that could not be opened.
    pub connect_failures: u64,
    /// Number of TCP segments sent again.
    pub retransmits: u64,
}

impl Sums {
    /// Bytes in both directions.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.rx_bytes.saturating_add(self.tx_bytes)
    }

    /// Bytes per second in both directions.
    #[must_use]
    pub fn rate(&self) -> u64 {
        self.rx_rate.saturating_add(self.tx_rate)
    }

    /// Adds other sums.
    pub fn add(&mut self, other: &Self) {
        self.each(other, u64::saturating_add);
    }

    /// Subtracts other sums from these; no result is below 0.
    #[must_use]
    pub fn beyond(mut self, other: &Self) -> Self {
        self.each(other, u64::saturating_sub);
        self
    }

    fn each(&mut self, other: &Self, combine: impl Fn(u64, u64) -> u64) {
        let Self {
            flows,
            rx_bytes,
            tx_bytes,
            rx_rate,
            tx_rate,
            connections,
            connections_open,
            connect_failures,
            retransmits,
        } = other;
        self.flows = combine(self.flows, *flows);
        self.rx_bytes = combine(self.rx_bytes, *rx_bytes);
        self.tx_bytes = combine(self.tx_bytes, *tx_bytes);
        self.rx_rate = combine(self.rx_rate, *rx_rate);
        self.tx_rate = combine(self.tx_rate, *tx_rate);
        self.connections = combine(self.connections, *connections);
        self.connections_open = combine(self.connections_open, *connections_open);
        self.connect_failures = combine(self.connect_failures, *connect_failures);
        self.retransmits = combine(self.retransmits, *retransmits);
    }
}

impl From<&Flow> for Sums {
    fn from(flow: &Flow) -> Self {
        Self {
            flows: flow.flows,
            rx_bytes: flow.rx_bytes,
            tx_bytes: flow.tx_bytes,
            rx_rate: flow.rx_bytes_per_second,
            tx_rate: flow.tx_bytes_per_second,
            connections: flow.connections,
            connections_open: flow.connections_open,
            connect_failures: flow.connect_failures,
            retransmits: flow.retransmits,
        }
    }
}

impl From<&Snapshot> for Sums {
    fn from(snapshot: &Snapshot) -> Self {
        let totals = &snapshot.totals;
        Self {
            flows: snapshot.flows_total,
            rx_bytes: totals.rx_bytes,
            tx_bytes: totals.tx_bytes,
            rx_rate: totals.rx_bytes_per_second,
            tx_rate: totals.tx_bytes_per_second,
            connections: totals.connections,
            connections_open: totals.connections_open,
            connect_failures: totals.connect_failures,
            retransmits: totals.retransmits,
        }
    }
}

/// The process, container and pod of a row. A field that the row's flows do not agree on is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner {
    /// Namespace of the pod.
    pub namespace: Option<String>,
    /// Name of the pod.
    pub pod: Option<String>,
    /// Name of the node.
    pub node: Option<String>,
    /// Name of the container.
    pub container: Option<String>,
    /// Name of the process.
    pub command: Option<String>,
    /// Process id on the node.
    pub pid: Option<u32>,
}

impl From<&Flow> for Owner {
    fn from(flow: &Flow) -> Self {
        Self {
            namespace: flow.namespace.clone(),
            pod: flow.pod.clone(),
            node: flow.node.clone(),
            container: flow.container.clone(),
            command: flow.command.clone(),
            pid: flow.pid,
        }
    }
}

impl Owner {
    /// Returns the owner of these flows; `None` if there are several owners or no flows.
    fn shared<'a>(mut flows: impl Iterator<Item = &'a Flow>) -> Option<Self> {
        let owner = Self::from(flows.next()?);
        flows.all(|flow| Self::from(flow) == owner).then_some(owner)
    }
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Key that identifies the row in this snapshot and in later ones.
    pub key: String,
    /// Process, container and pod.
    pub owner: Owner,
    /// Number of processes in the row.
    pub processes: usize,
    /// Process at the other end, if both ends are traced and there is only one.
    pub other_end: Option<Owner>,
    /// Port of the process at the other end. It can differ from that of the peer, which may be a Service.
    pub other_port: Option<u16>,
    /// The peer, as [`peer_of`] names it, with two exceptions: in the view by peer a client has no port, and in the view
    /// by endpoint this is the offered service, such as `*:80`. `None` if the row has several peers.
    pub peer: Option<String>,
    /// The local end, such as `10.0.0.7:80`, or `*:80` for several addresses; `None` if the row has several ends.
    pub local: Option<String>,
    /// The protocol; `None` if the row has several.
    pub protocol: Option<Protocol>,
    /// The side that began the exchange; `None` if the row has both.
    pub direction: Option<Direction>,
    /// State of the row's connections.
    pub state: FlowState,
    /// Round-trip time of the flow with the most bytes, in microseconds.
    pub rtt_microseconds: Option<u32>,
    /// Sums over the row's flows.
    pub sums: Sums,
    /// Index of the flow with the most bytes.
    pub busiest: usize,
    /// Indexes of the row's flows in the snapshot, without the other ends of its connections.
    pub flows: Vec<usize>,
}

/// The rows of a snapshot, and the sums of the flows that are in no row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// The rows, in descending order of bytes.
    pub rows: Vec<Row>,
    /// Sums of the flows that the filter leaves out.
    pub filtered: Sums,
    /// Sums of the other ends, for connections whose row stands for both ends.
    pub other_ends: Sums,
    /// Sums of the flows that the snapshot does not list.
    pub unlisted: Sums,
}

impl Rows {
    /// Adds a flow and its other ends to the row of its key.
    fn take<'a>(&mut self, flows: &'a [Flow], pair: &Pair, view: View, places: &mut HashMap<Key<'a>, usize>) {
        let place = *places.entry(Key::of(&flows[pair.first], view)).or_insert_with(|| {
            self.rows.push(Row::new(flows, pair.first, view));
            self.rows.len() - 1
        });
        self.rows[place].take(flows, pair.first, &pair.others, view);
    }
}

/// Makes the rows of a snapshot.
#[must_use]
pub fn rows(snapshot: &Snapshot, choice: &Choice) -> Rows {
    let flows = &snapshot.flows;
    let apart = |first| Pair { first, others: Vec::new() };
    let pairs: Vec<Pair> = if choice.view.is_of_connections() && !choice.both_ends {
        pairs(flows)
    } else {
        (0..flows.len()).map(apart).collect()
    };
    let mut shown = Rows::default();
    let mut listed = Sums::default();
    flows.iter().for_each(|flow| listed.add(&flow.into()));
    // Several rows can have the same other ends, whose sums are added only once.
    let mut other_ends: HashMap<usize, bool> = HashMap::new();
    let mut places: HashMap<Key<'_>, usize> = HashMap::new();
    for pair in pairs {
        let Pair { first, others } = &pair;
        // A filter that takes only some of several servers shows these alone, since the row would have the bytes of all.
        let takes = |place: &usize| choice.filter.takes(&flows[*place]);
        let is_shown = takes(first) || (!others.is_empty() && others.iter().all(takes));
        others.iter().for_each(|other| *other_ends.entry(*other).or_default() |= is_shown);
        if !is_shown {
            shown.filtered.add(&(&flows[*first]).into());
            continue;
        }
        shown.take(flows, &pair, choice.view, &mut places);
    }
    for (other, is_shown) in other_ends {
        if is_shown {
            shown.other_ends.add(&(&flows[other]).into());
        } else if choice.filter.takes(&flows[other]) {
            shown.take(flows, &apart(other), choice.view, &mut places);
        } else {
            shown.filtered.add(&(&flows[other]).into());
        }
    }
    finish(&mut shown.rows, flows, choice.view);
    shown.unlisted = Sums::from(snapshot).beyond(&listed);
    if shown.unlisted.flows == 0 {
        // The rates of flows are rounded one by one, so their difference from the totals would only show rounding
        // errors.
        (shown.unlisted.rx_rate, shown.unlisted.tx_rate) = (0, 0);
    }
    shown
}

/// Groups the flows of one row by another view, which gives the rows below it, in descending order of bytes.
#[must_use]
pub fn rows_below(snapshot: &Snapshot, row: &Row, view: View) -> Vec<Row> {
    let flows = &snapshot.flows;
    let mut below: Vec<Row> = Vec::new();
    let mut places: HashMap<Key<'_>, usize> = HashMap::new();
    for &first in row.flows.iter().filter(|place| **place < flows.len()) {
        let place = *places.entry(Key::of(&flows[first], view)).or_insert_with(|| {
            below.push(Row::new(flows, first, view));
            below.len() - 1
        });
        below[place].take(flows, first, &[], view);
    }
    finish(&mut below, flows, view);
    below
}

/// Counts the processes of each row and sorts the rows.
fn finish(rows: &mut [Row], flows: &[Flow], view: View) {
    for row in &mut *rows {
        row.count_processes(flows, view);
    }
    rows.sort_by(|a, b| b.sums.bytes().cmp(&a.sums.bytes()).then_with(|| a.key.cmp(&b.key)));
}

/// Names the peer of a flow by its name or, without one, by its address, with the port.
#[must_use]
pub fn peer_of(flow: &Flow) -> Option<String> {
    match (&flow.peer, flow.remote_address, flow.remote_port) {
        (Some(name), _, Some(port)) => Some(format!("{name}:{port}")),
        (Some(name), _, None) => Some(name.clone()),
        (None, Some(address), port) => Some(end(address, port)),
        (None, None, _) => None,
    }
}

fn end(address: IpAddr, port: Option<u16>) -> String {
    match (address, port) {
        (IpAddr::V6(address), Some(port)) => format!("[{address}]:{port}"),
        (address, Some(port)) => format!("{address}:{port}"),
        (address, None) => address.to_string(),
    }
}

/// Names the service of a flow: the one that the process offers, or the one that it uses.
fn service_of(flow: &Flow) -> Option<String> {
    match flow.direction {
        Direction::Inbound => flow.local_port.map(|port| format!("*:{port}")),
        Direction::Outbound | Direction::Unknown => peer_of(flow),
    }
}

/// Names the peer of a flow for a view. A client's ephemeral port does not identify the client, so the view by peer
/// omits it.
fn peer_in(flow: &Flow, view: View) -> Option<String> {
    match (view, flow.direction) {
        (View::Endpoint, _) => service_of(flow),
        (View::Peer, Direction::Inbound) => match (&flow.peer, flow.remote_address) {
            (Some(name), _) => Some(name.clone()),
            (None, address) => address.map(|address| end(address, None)),
        },
        _ => peer_of(flow),
    }
}

fn local_of(flow: &Flow) -> Option<String> {
    match (flow.local_address, flow.local_port) {
        (Some(address), port) => Some(end(address, port)),
        (None, Some(port)) => Some(format!("*:{port}")),
        (None, None) => None,
    }
}

impl Row {
    fn new(flows: &[Flow], first: usize, view: View) -> Self {
        let flow = &flows[first];
        Self {
            key: key_of(flow, view),
            owner: flow.into(),
            processes: 0,
            other_end: None,
            other_port: None,
            peer: peer_in(flow, view),
            local: local_of(flow),
            protocol: Some(flow.protocol),
            direction: Some(flow.direction),
            state: flow.state,
            rtt_microseconds: None,
            sums: Sums::default(),
            busiest: first,
            flows: Vec::new(),
        }
    }

    /// Adds a flow to the row, and clears the row's texts that the flow does not share.
    fn take(&mut self, flows: &[Flow], place: usize, others: &[usize], view: View) {
        let flow = &flows[place];
        let known = self.flows.first().map(|first| &flows[*first]);
        let is_first = known.is_none();
        let other_end = Owner::shared(others.iter().map(|other| &flows[*other]));
        let other_port = others.first().filter(|_| other_end.is_some());
        let other_port = other_port.and_then(|other| flows[*other].local_port);
        if is_first {
            (self.other_end, self.other_port) = (other_end, other_port);
        } else if (&self.other_end, self.other_port) != (&other_end, other_port) {
            (self.other_end, self.other_port) = (None, None);
        }
        // In a view by process, all flows of a row have the same owner.
        if !view.is_of_processes() {
            agree(&mut self.owner.namespace, &flow.namespace);
            agree(&mut self.owner.pod, &flow.pod);
            agree(&mut self.owner.node, &flow.node);
            agree(&mut self.owner.container, &flow.container);
            agree(&mut self.owner.command, &flow.command);
            agree(&mut self.owner.pid, &flow.pid);
        }
        agree(&mut self.protocol, &Some(flow.protocol));
        agree(&mut self.direction, &Some(flow.direction));
        if let Some(known) = known {
            // The row's texts were made from its first flow, and are cleared if this flow has others.
            if self.peer.is_some() && key::peer(known, view) != key::peer(flow, view) {
                self.peer = None;
            }
            if (known.local_address, known.local_port) != (flow.local_address, flow.local_port) {
                self.local = None;
            }
        }
        if is_first || flows[self.busiest].weight() < flow.weight() {
            self.busiest = place;
            self.rtt_microseconds = flow.rtt_microseconds;
        }
        self.state = match (is_first, self.state, flow.state) {
            (true, _, state) => state,
            (_, FlowState::Open, _) | (_, _, FlowState::Open) => FlowState::Open,
            (_, FlowState::Failed, FlowState::Failed) => FlowState::Failed,
            _ => FlowState::Closed,
        };
        self.sums.add(&flow.into());
        self.flows.push(place);
    }

    fn count_processes(&mut self, flows: &[Flow], view: View) {
        if view.is_of_processes() {
            self.processes = self.owner.pid.is_some().into();
            return;
        }
        let of = |place: &usize| flows[*place].pid.map(|pid| (&flows[*place].pod, pid));
        self.processes = self.flows.iter().filter_map(of).collect::<BTreeSet<_>>().len();
    }
}

/// Clears a value if another flow has a different one.
fn agree<T: PartialEq>(value: &mut Option<T>, other: &Option<T>) {
    if value != other {
        *value = None;
    }
}

#[cfg(test)]
mod tests;
