//! The keys by which flows are grouped into rows.

use std::net::IpAddr;

use traffictrace_crd::flow::{Direction, Protocol};

use super::{View, local_of, peer_in, peer_of};
use crate::snapshot::Flow;

/// The values that all flows of one row share. Grouping compares these values; texts are made only once for each row.
#[derive(PartialEq, Eq, Hash)]
pub(super) struct Key<'a> {
    pod: Option<(Option<&'a str>, Option<&'a str>, &'a str)>,
    process: Option<(Option<&'a str>, Option<u32>)>,
    kind: Option<(Protocol, Direction)>,
    local: Option<(Option<IpAddr>, Option<u16>)>,
    peer: Option<Peer<'a>>,
}

impl<'a> Key<'a> {
    pub(super) fn of(flow: &'a Flow, view: View) -> Self {
        let local = (flow.local_address, flow.local_port);
        let has_process = view.is_of_processes();
        Self {
            pod: (view != View::Peer)
                .then(|| (flow.namespace.as_deref(), flow.pod.as_deref(), container_of(flow, view))),
            process: has_process.then_some((flow.command.as_deref(), flow.pid)),
            kind: view.is_of_connections().then_some((flow.protocol, flow.direction)),
            local: (view == View::Connection).then_some(local),
            peer: (view != View::Process && view != View::Pod).then(|| peer(flow, view)),
        }
    }
}

/// The identity of a peer in a view: its name or, without one, its address, and its port.
type Peer<'a> = (Option<&'a str>, Option<IpAddr>, Option<u16>);

/// Returns the identity of a flow's peer in a view.
pub(super) fn peer(flow: &Flow, view: View) -> Peer<'_> {
    // A named peer is the same peer at all of its addresses.
    let address = if flow.peer.is_some() { None } else { flow.remote_address };
    let has_peer = flow.peer.is_some() || address.is_some();
    let port = flow.remote_port.filter(|_| has_peer);
    match (view, flow.direction) {
        (View::Endpoint, Direction::Inbound) => (None, None, flow.local_port),
        (View::Peer, Direction::Inbound) => (flow.peer.as_deref(), address, None),
        _ => (flow.peer.as_deref(), address, port),
    }
}

/// Returns the text of a row's key. Line feeds separate its fields, so a line feed inside a name is replaced.
pub(super) fn key_of(flow: &Flow, view: View) -> String {
    let text = |text: &Option<String>| text.as_deref().unwrap_or_default().replace('\n', "\u{fffd}");
    let pod = || format!("{}\n{}\n{}", text(&flow.namespace), text(&flow.pod), container_of(flow, view));
    let process = || format!("{}\n{}\n{}", pod(), text(&flow.command), flow.pid.map_or(0, |pid| pid));
    match view {
        View::Pod => pod(),
        View::Process => process(),
        View::Peer => peer_in(flow, view).unwrap_or_default(),
        View::Endpoint => format!(
            "{}\n{:?}\n{:?}\n{}",
            process(),
            flow.protocol,
            flow.direction,
            peer_in(flow, view).unwrap_or_default()
        ),
        View::Connection => format!(
            "{}\n{:?}\n{:?}\n{}\n{}",
            process(),
            flow.protocol,
            flow.direction,
            local_of(flow).unwrap_or_default(),
            peer_of(flow).unwrap_or_default()
        ),
    }
}

/// Returns the container, unless the row stands for a whole pod.
fn container_of(flow: &Flow, view: View) -> &str {
    let is_whole_pod = view == View::Pod && flow.pod.is_some();
    if is_whole_pod { "" } else { flow.container.as_deref().unwrap_or_default() }
}
