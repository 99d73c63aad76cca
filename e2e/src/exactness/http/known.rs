//! The exchanges of a connection as its two ends know them, and their comparison with what the product shows.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
};

use serde::{Deserialize, Serialize};

use crate::support::http::{Ending, Request};

/// An exchange as the ends of its connection know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Known {
    pub(super) protocol: String,
    pub(super) method: String,
    pub(super) host: String,
    /// Path of the request, unique within its connection.
    pub(super) path: String,
    /// Status of the response; `None` if the server did not answer.
    pub(super) status: Option<u16>,
    pub(super) grpc_status: Option<u32>,
    /// Number of bytes of the request; not compared if `None`.
    pub(super) request_bytes: Option<u64>,
    /// Number of bytes of the response; not compared if `None`.
    pub(super) response_bytes: Option<u64>,
}

impl Known {
    /// Returns an HTTP/1.1 request that has no answer yet.
    pub(super) fn asked(method: &str, host: &str, path: &str, bytes: u64) -> Self {
        Self {
            protocol: "HTTP/1.1".to_owned(),
            method: method.to_owned(),
            host: host.to_owned(),
            path: path.to_owned(),
            status: None,
            grpc_status: None,
            request_bytes: Some(bytes),
            response_bytes: Some(0),
        }
    }

    pub(super) fn answer(&mut self, status: u16) {
        self.status = Some(status);
    }

    fn of(shown: &Request) -> Self {
        Self {
            protocol: shown.protocol.clone(),
            method: shown.method.clone(),
            host: shown.host.clone(),
            path: shown.path.clone(),
            status: shown.status,
            grpc_status: shown.grpc_status,
            request_bytes: Some(shown.request_bytes),
            response_bytes: Some(shown.response_bytes),
        }
    }

    fn is_shown_as(&self, shown: &Self) -> bool {
        let bytes = |known: Option<u64>, shown| known.is_none() || known == shown;
        bytes(self.request_bytes, shown.request_bytes)
            && bytes(self.response_bytes, shown.response_bytes)
            && Self {
                request_bytes: shown.request_bytes,
                response_bytes: shown.response_bytes,
                ..self.clone()
            } == *shown
    }
}

/// A connection of a case.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Connection {
    /// Addresses of the client and the server, by which the product's lines are found.
    pub(super) ends: (SocketAddr, SocketAddr),
    pub(super) exchanges: Vec<Known>,
    /// Number of exchanges that neither side can observe, by reason.
    pub(super) unobserved: BTreeMap<String, u64>,
}

/// A case that was played.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Played {
    pub(super) case: String,
    /// Id of the process that had both ends.
    pub(super) pid: u32,
    pub(super) connections: Vec<Connection>,
    /// True if packets were lost or delayed: exchanges may then be missing if the product counts them as unobserved.
    pub(super) disordered: bool,
    /// Reason why the case did not finish.
    pub(super) failure: Option<String>,
    /// Reason why this machine cannot play the case.
    pub(super) unsupported: Option<String>,
    /// Remark for the report.
    pub(super) note: Option<String>,
}

/// The product's output, by connection and path.
#[derive(Debug)]
pub(super) struct Shown {
    by_connection: HashMap<((SocketAddr, SocketAddr), String), Vec<Request>>,
}

impl Shown {
    pub(super) fn new(requests: Vec<Request>) -> Self {
        let mut by_connection: HashMap<_, Vec<_>> = HashMap::new();
        for request in requests {
            let local = SocketAddr::new(request.local_address, request.local_port);
            let remote = SocketAddr::new(request.remote_address, request.remote_port);
            let ends = if request.side == "Server" { (remote, local) } else { (local, remote) };
            by_connection.entry((ends, request.side.clone())).or_default().push(request);
        }
        Self { by_connection }
    }

    /// Removes the product's lines about a case. Returns the differences, and the number of exchanges that are not
    /// shown.
    pub(super) fn take(&mut self, played: &Played) -> (Vec<String>, u64) {
        let (mut notes, mut missing) = (Vec::new(), 0);
        for connection in &played.connections {
            for side in ["Server", "Client"] {
                let shown =
                    self.by_connection.remove(&(connection.ends, side.to_owned())).unwrap_or_default();
                missing += compare(connection, side, &shown, played, &mut notes);
            }
        }
        (notes, missing)
    }

    /// Returns the lines that belong to no case.
    pub(super) fn rest(self) -> impl Iterator<Item = Request> {
        self.by_connection.into_values().flatten()
    }
}

fn compare(of: &Connection, side: &str, shown: &[Request], played: &Played, notes: &mut Vec<String>) -> u64 {
    let mut left: BTreeMap<&str, &Known> =
        of.exchanges.iter().map(|known| (known.path.as_str(), known)).collect();
    for request in shown {
        let seen = Known::of(request);
        match left.remove(seen.path.as_str()) {
            Some(known) if known.is_shown_as(&seen) => {}
            Some(known) => notes.push(format!("{side}: shown as {seen:?}, was {known:?}")),
            None => notes.push(format!("{side}: shown and never sent, or twice: {seen:?}")),
        }
        let outcome = if seen.status.is_some() { "Complete" } else { "NoResponse" };
        if request.outcome != outcome {
            notes.push(format!("{side}: the outcome is {}: {seen:?}", request.outcome));
        }
        let in_order =
            request.first_byte_microseconds.is_none_or(|first| first <= request.duration_microseconds);
        if request.pid != played.pid || request.tls || !in_order {
            notes.push(format!("{side}: process, TLS or times are wrong: {request:?}"));
        }
    }
    if !played.disordered {
        notes.extend(left.values().map(|known| format!("{side}: not shown: {known:?}")));
    }
    left.len() as u64
}

/// Compares the product's last line with the cases. That line must count the `missing` exchanges of disordered cases as
/// unobserved.
pub(super) fn compare_ending(cases: &[Played], missing: u64, ending: &Ending) -> Vec<String> {
    let connections = || cases.iter().flat_map(|case| &case.connections);
    let known = 2 * connections().map(|connection| connection.exchanges.len() as u64).sum::<u64>();
    let mut notes = Vec::new();
    if ending.totals.requests + missing != known {
        notes.push(format!(
            "{} requests in all, {missing} missing, {known} were sent",
            ending.totals.requests
        ));
    }
    let mut expected: BTreeMap<&str, u64> = BTreeMap::new();
    for (reason, count) in connections().flat_map(|connection| &connection.unobserved) {
        *expected.entry(reason).or_default() += 2 * count;
    }
    let mut beside = 0;
    for (reason, count) in &ending.unobserved {
        let expected = expected.remove(reason.as_str()).unwrap_or_default();
        match count.checked_sub(expected) {
            Some(more) => beside += more,
            None => notes.push(format!("unobserved {reason}: {count}, not {expected}")),
        }
    }
    notes.extend(expected.iter().map(|(reason, count)| format!("unobserved {reason}: 0, not {count}")));
    // The kernel hands all bytes of disordered connections to user space. On a busy machine, a build without
    // optimization may have no room for some of them. It counts them as lost records, with an unknown number of
    // exchanges.
    let lost = ending.lost.iter().filter(|(_, count)| **count > 0);
    let lost: Vec<_> = lost.map(|(what, count)| format!("lost {what}: {count}")).collect();
    if !lost.is_empty() && cases.iter().any(|case| case.disordered) {
        return notes;
    }
    notes.extend(lost);
    // Missing bytes count as one unobserved exchange, although they may have been several requests.
    if beside > missing || (missing > 0 && beside == 0) {
        notes.push(format!(
            "{missing} exchanges are missing in disorder, and counted are {:?}",
            ending.unobserved
        ));
    }
    notes
}
