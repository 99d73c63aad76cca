//! Holding what `top` shows against what the processes counted; pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use serde::Serialize;

use super::{
    cases::EXCUSED,
    tally::{Bytes, Detail, Direction, Flow, ProcessCount, Protocol},
};
use crate::support::top::{self, Document};

/// How a case went, before the comparison.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub(super) case: String,
    pub(super) counts: Vec<ProcessCount>,
    pub(super) failure: Option<String>,
    pub(super) unsupported: Option<String>,
    /// What it has to tell besides.
    pub(super) told: String,
}

/// How a case ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Verdict {
    /// Not a byte of difference.
    Ok,
    /// A difference, or it could not be done.
    Fail,
    /// A difference in what the product says that it does not see.
    Unseen,
    /// This kernel cannot do it.
    Skipped,
}

/// One line of the report.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Line {
    pub(super) verdict: Verdict,
    pub(super) case: String,
    /// Bytes that the processes counted, both directions together.
    pub(super) expected_bytes: u64,
    /// Bytes that the product shows for these processes.
    pub(super) shown_bytes: u64,
    /// Each difference, or why the case could not be done.
    pub(super) notes: Vec<String>,
}

/// A whole run.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    /// The amounts follow from it.
    pub(super) seed: u64,
    pub(super) cases: Vec<Line>,
    /// Rows of processes that belong to no case, and what the product says it lost: each is a failure.
    pub(super) problems: Vec<String>,
    pub(super) ok: usize,
    pub(super) unseen: usize,
    pub(super) skipped: usize,
    pub(super) failed: usize,
}

type Key = (u32, Flow);

/// Rows of one name together.
#[derive(Clone, Debug, Default)]
struct Shown {
    rx: u64,
    tx: u64,
    directions: BTreeSet<String>,
    commands: BTreeSet<String>,
}

impl Report {
    /// Flows stay in the kernel's table although all sockets are gone: a problem, unless there are none.
    pub(super) fn slots_left(&mut self, left: u64, open: &[top::Flow]) {
        const LISTED: usize = 5;
        if left == 0 {
            return;
        }
        let open: Vec<_> = open.iter().take(LISTED).map(|flow| format!("{flow:?}")).collect();
        let what = format!(
            "{left} slots of the flow table are in use half a minute after the last socket has gone, such as {}",
            open.join(", ")
        );
        self.problems.push(what);
        self.failed += 1;
    }

    /// Adds what ran against another `top`.
    pub(super) fn add(&mut self, other: Self) {
        self.cases.extend(other.cases);
        self.problems.extend(other.problems);
        self.ok += other.ok;
        self.unseen += other.unseen;
        self.skipped += other.skipped;
        self.failed += other.failed;
    }
}

/// Compares.
pub(super) fn report(outcomes: Vec<Outcome>, document: &Document, detail: Detail) -> Report {
    let mut shown = BTreeMap::<Key, Shown>::new();
    let mut problems = Vec::new();
    for flow in document.flows.iter().filter(|flow| flow.rx_bytes + flow.tx_bytes > 0) {
        match key(flow, detail) {
            Some(key) => {
                let sum = shown.entry(key).or_default();
                sum.rx += flow.rx_bytes;
                sum.tx += flow.tx_bytes;
                sum.directions.insert(flow.direction.clone());
                sum.commands.insert(flow.command.clone());
            }
            None => problems.push(format!("a row that no case can have: {flow:?}")),
        }
    }
    for (reason, count) in document.lost.iter().filter(|(_, count)| **count > 0) {
        problems.push(format!("lost {reason}: {count}"));
    }
    // Exact rows first, so that a process id that was used again does not move rows to another case.
    let mut lines: Vec<_> = outcomes.iter().map(|outcome| compare(outcome, &mut shown)).collect();
    for (line, outcome) in lines.iter_mut().zip(&outcomes) {
        take_rest(line, outcome, &mut shown);
    }
    for ((pid, flow), bytes) in shown {
        problems.push(format!("not of any case: process {pid} {} {}", name(&flow), told(bytes.rx, bytes.tx)));
    }
    let cases: Vec<_> =
        lines.into_iter().zip(&outcomes).map(|(line, outcome)| judge(line, outcome, document)).collect();
    let count = |verdict| cases.iter().filter(|line| line.verdict == verdict).count();
    let (ok, unseen, skipped) = (count(Verdict::Ok), count(Verdict::Unseen), count(Verdict::Skipped));
    let failed = count(Verdict::Fail) + problems.len();
    Report { seed: 0, cases, problems, ok, unseen, skipped, failed }
}

/// The rows that a case's processes counted.
fn compare(outcome: &Outcome, shown: &mut BTreeMap<Key, Shown>) -> Line {
    let mut line = Line {
        verdict: Verdict::Ok,
        case: outcome.case.clone(),
        expected_bytes: 0,
        shown_bytes: 0,
        notes: Vec::new(),
    };
    for ((pid, flow), (command, counted)) in counted(outcome) {
        line.expected_bytes += counted.rx + counted.tx;
        let found = shown.remove(&(pid, flow)).unwrap_or_default();
        line.shown_bytes += found.rx + found.tx;
        let difference = difference(command, &counted, &found);
        line.notes.extend(difference.map(|what| format!("process {pid} {}: {what}", name(&flow))));
    }
    line
}

/// What the processes counted. In a long run a process id comes again: what has the same name adds up.
fn counted(outcome: &Outcome) -> BTreeMap<Key, (&str, Bytes)> {
    let mut sums = BTreeMap::<Key, (&str, Bytes)>::new();
    for process in &outcome.counts {
        for (flow, bytes) in process.flows.iter().filter(|(_, bytes)| bytes.rx + bytes.tx > 0) {
            let sum = &mut sums.entry((process.pid, *flow)).or_insert((&process.command, Bytes::default())).1;
            sum.rx += bytes.rx;
            sum.tx += bytes.tx;
            sum.direction = bytes.direction;
        }
    }
    sums
}

fn difference(command: &str, counted: &Bytes, found: &Shown) -> Option<String> {
    if (found.rx, found.tx) != (counted.rx, counted.tx) {
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
    (!found.directions.iter().eq([expected])).then(|| format!("{expected}, shown {:?}", found.directions))
}

/// Rows of a case's processes that these did not count.
fn take_rest(line: &mut Line, outcome: &Outcome, shown: &mut BTreeMap<Key, Shown>) {
    let own: BTreeSet<u32> = outcome.counts.iter().map(|process| process.pid).collect();
    let rest: Vec<Key> = shown.keys().filter(|(pid, _)| own.contains(pid)).copied().collect();
    for key in rest {
        if let Some(bytes) = shown.remove(&key) {
            line.shown_bytes += bytes.rx + bytes.tx;
            let (pid, flow) = key;
            line.notes.push(format!(
                "process {pid} {}: not counted, shown {}",
                name(&flow),
                told(bytes.rx, bytes.tx)
            ));
        }
    }
}

fn judge(mut line: Line, outcome: &Outcome, document: &Document) -> Line {
    let excuse = EXCUSED.iter().map(|(pattern, limit)| (pattern, *limit)).find(|(pattern, limit)| {
        line.case.starts_with(*pattern) && document.not_seen.iter().any(|name| name == limit)
    });
    line.verdict = match (&outcome.failure, &outcome.unsupported, excuse) {
        (Some(failure), ..) => {
            line.notes.insert(0, failure.clone());
            Verdict::Fail
        }
        // What it did before it found out must be counted all the same.
        (None, Some(why), _) if line.notes.is_empty() => {
            line.notes.push(why.clone());
            Verdict::Skipped
        }
        _ if line.notes.is_empty() => Verdict::Ok,
        (.., Some((_, limit))) => {
            line.notes.insert(0, format!("the product says that it does not see this here: {limit}"));
            Verdict::Unseen
        }
        _ => Verdict::Fail,
    };
    line.notes.extend(outcome.told.lines().map(str::to_owned));
    line
}

/// Whose a row is; `None` where it names no process or protocol.
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

#[cfg(test)]
mod tests;
