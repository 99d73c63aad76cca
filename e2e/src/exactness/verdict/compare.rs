//! The comparison of the rows in a document of `top` with the counts of a case's processes.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use crate::{
    exactness::tally::{Bytes, Detail, Direction, Flow, ProcessCount, Protocol},
    support::top::{self, Document},
};

type Key = (u32, Flow);

/// The sum of rows with the same key.
#[derive(Clone, Debug, Default)]
struct Shown {
    rx: u64,
    tx: u64,
    directions: BTreeSet<String>,
    commands: BTreeSet<String>,
}

/// The rows of a document that no case has claimed yet.
#[derive(Debug, Default)]
pub(super) struct Rows {
    rows: BTreeMap<Key, Shown>,
    /// Rows that cannot belong to any case.
    pub(super) strange: Vec<String>,
}

/// The counts of a case compared with the rows of its processes.
#[derive(Clone, Debug, Default)]
pub(super) struct Compared {
    /// Number of bytes that the processes counted, both directions together.
    pub(super) expected_bytes: u64,
    /// Number of bytes that the product shows for these processes.
    pub(super) shown_bytes: u64,
    /// Descriptions of the differences.
    pub(super) notes: Vec<String>,
    /// Bytes received and sent by flow: the counts of all processes together, minus the bytes that are shown for them.
    balance: BTreeMap<Flow, (i128, i128)>,
}

impl Rows {
    pub(super) fn of(document: &Document, detail: Detail) -> Self {
        let mut all = Self::default();
        for flow in document.flows.iter().filter(|flow| flow.rx_bytes + flow.tx_bytes > 0) {
            match key(flow, detail) {
                Some(key) => {
                    let sum = all.rows.entry(key).or_default();
                    sum.rx += flow.rx_bytes;
                    sum.tx += flow.tx_bytes;
                    sum.directions.insert(flow.direction.clone());
                    sum.commands.insert(flow.command.clone());
                }
                None => all.strange.push(format!("a row that no case can have: {flow:?}")),
            }
        }
        all
    }

    /// Removes the rows of the flows that a case's processes counted, and compares the rows with the counts.
    pub(super) fn claim(&mut self, counts: &[ProcessCount]) -> Compared {
        let mut compared = Compared::default();
        for ((pid, flow), (command, counted)) in sums(counts) {
            let found = self.rows.remove(&(pid, flow)).unwrap_or_default();
            compared.add(flow, &counted, &found);
            let difference = difference(command, &counted, &found);
            compared.notes.extend(difference.map(|what| format!("process {pid} {}: {what}", name(&flow))));
        }
        compared
    }

    /// Removes the other rows with the ids of a case's processes: flows that these processes did not count.
    pub(super) fn claim_rest(&mut self, counts: &[ProcessCount], compared: &mut Compared) {
        let own: BTreeSet<u32> = counts.iter().map(|process| process.pid).collect();
        let rest: Vec<Key> = self.rows.keys().filter(|(pid, _)| own.contains(pid)).copied().collect();
        for (pid, flow) in rest {
            let Some(found) = self.rows.remove(&(pid, flow)) else { continue };
            compared.add(flow, &Bytes::default(), &found);
            let shown = told(found.rx, found.tx);
            compared.notes.push(format!("process {pid} {}: not counted, shown {shown}", name(&flow)));
        }
    }

    /// Describes the rows that nobody claimed.
    pub(super) fn unclaimed(&self) -> impl Iterator<Item = String> {
        self.rows.iter().map(|((pid, flow), bytes)| {
            format!("not of any case: process {pid} {} {}", name(flow), told(bytes.rx, bytes.tx))
        })
    }
}

impl Compared {
    fn add(&mut self, flow: Flow, counted: &Bytes, found: &Shown) {
        self.expected_bytes += counted.rx + counted.tx;
        self.shown_bytes += found.rx + found.tx;
        let less = |counted: u64, shown: u64| i128::from(counted) - i128::from(shown);
        let balance = self.balance.entry(flow).or_default();
        balance.0 += less(counted.rx, found.rx);
        balance.1 += less(counted.tx, found.tx);
    }

    /// Returns whether every flow has its bytes, although some are shown for the wrong process.
    pub(super) fn differs_by_process_alone(&self) -> bool {
        self.balance.values().all(|balance| *balance == (0, 0))
    }
}

/// Sums the counts by process id and flow: in a long run, several processes can have the same id.
fn sums(counts: &[ProcessCount]) -> BTreeMap<Key, (&str, Bytes)> {
    let mut sums = BTreeMap::<Key, (&str, Bytes)>::new();
    for process in counts {
        for (flow, bytes) in process.flows.iter().filter(|(_, bytes)| *bytes != Bytes::default()) {
            let sum = sums.entry((process.pid, *flow)).or_insert((&process.command, Bytes::default()));
            sum.1.add(bytes);
        }
    }
    sums
}

fn difference(command: &str, counted: &Bytes, found: &Shown) -> Option<String> {
    if !counted.is_shown_by(found.rx, found.tx) {
        let expected = told(counted.rx, counted.tx);
        return Some(format!("counted {expected}, shown {}", told(found.rx, found.tx)));
    }
    if found.commands.iter().any(|shown| shown != command) {
        return Some(format!("the command is {command:?}, shown {:?}", found.commands));
    }
    let expected = match counted.direction? {
        Direction::Inbound => "Inbound",
        Direction::Outbound => "Outbound",
    };
    let as_shown = found.directions.iter().eq([expected]);
    (!as_shown).then(|| format!("the direction is {expected}, shown {:?}", found.directions))
}

/// Returns the key of a row; `None` if the row names no process or no known protocol.
fn key(flow: &top::Flow, detail: Detail) -> Option<Key> {
    let protocol = match flow.protocol.as_str() {
        "TCP" => Protocol::Tcp,
        "UDP" => Protocol::Udp,
        "ICMP" => Protocol::Icmp,
        _ => return None,
    };
    let port = |port: Option<u16>| match protocol {
        Protocol::Icmp => 0,
        _ => port.unwrap_or_default(),
    };
    let remote = flow.remote_address.map(|address: IpAddr| SocketAddr::new(address, port(flow.remote_port)));
    let row = Flow { protocol, local_port: port(flow.local_port), remote };
    let row = if detail == Detail::Flows { row } else { row.of_process() };
    (flow.pid != 0).then_some((flow.pid, row))
}

fn name(flow: &Flow) -> String {
    let remote = flow.remote.map_or_else(|| "nobody known".to_owned(), |remote| remote.to_string());
    format!("{:?} port {} with {remote}", flow.protocol, flow.local_port)
}

fn told(rx: u64, tx: u64) -> String {
    format!("rx {rx} tx {tx}")
}
