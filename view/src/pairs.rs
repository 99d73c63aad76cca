//! Pairs of flows that are the two ends of one connection, both traced.
//!
//! Each end is a flow. Shown separately they look like twice the traffic, so views of connections show both as one row.

use std::{collections::HashMap, net::IpAddr};

use traffictrace_crd::flow::{Direction, Protocol};

use crate::snapshot::Flow;

/// One row of a view of connections. The numbers are indexes of flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The flow or, of two ends, the one that opened the connection.
    pub first: usize,
    /// The other end, if it is traced too.
    pub other: Option<usize>,
}

/// The two ends of a connection, as a key that both flows share. If both ports are known, the ends are sorted; if flows of
/// several client ports are folded into one, the client's end comes first.
#[derive(PartialEq, Eq, Hash)]
struct Ends<'a> {
    protocol: Protocol,
    ends: [(IpAddr, Option<u16>); 2],
    /// The pod, if the addresses are loopback addresses, which each pod has for itself.
    pod: Option<(Option<&'a str>, Option<&'a str>)>,
}

impl<'a> Ends<'a> {
    fn of(flow: &'a Flow) -> Option<Self> {
        let local = (flow.local_address?, flow.local_port);
        let remote = (flow.remote_address?, flow.remote_port);
        let ends = match (flow.direction, local.1, remote.1) {
            (_, Some(_), Some(_)) => [local.min(remote), local.max(remote)],
            (Direction::Outbound, ..) => [local, remote],
            (Direction::Inbound, ..) => [remote, local],
            (Direction::Unknown, ..) => return None,
        };
        let is_loopback = local.0.is_loopback() && remote.0.is_loopback();
        let pod = is_loopback.then_some((flow.namespace.as_deref(), flow.pod.as_deref()));
        Some(Self { protocol: flow.protocol, ends, pod })
    }
}

/// Returns the rows of a view of connections, in the order of the flows. Two flows are paired if no third flow has the same
/// ends; if several processes share an end, all flows stay separate.
#[must_use]
pub fn pairs(flows: &[Flow]) -> Vec<Pair> {
    let mut by_ends: HashMap<Ends<'_>, Vec<usize>> = HashMap::new();
    for (place, flow) in flows.iter().enumerate() {
        if let Some(ends) = Ends::of(flow) {
            by_ends.entry(ends).or_default().push(place);
        }
    }
    let mut other_of = vec![None; flows.len()];
    for places in by_ends.into_values() {
        let [a, b] = places[..] else { continue };
        if are_opposite(&flows[a], &flows[b]) {
            (other_of[a], other_of[b]) = (Some(b), Some(a));
        }
    }
    let mut pairs = Vec::with_capacity(flows.len());
    for (place, other) in other_of.iter().enumerate() {
        match *other {
            None => pairs.push(Pair { first: place, other: None }),
            Some(other) if place < other => {
                let is_client = flows[other].direction != Direction::Outbound;
                let (first, other) = if is_client { (place, other) } else { (other, place) };
                pairs.push(Pair { first, other: Some(other) });
            }
            // The row of this flow is at its other end.
            Some(_) => {}
        }
    }
    pairs
}

/// Returns true if the local end of each flow is the remote end of the other, and not both claim to have opened the
/// connection.
fn are_opposite(a: &Flow, b: &Flow) -> bool {
    let is_mirrored = a.local_address == b.remote_address
        && a.local_port == b.remote_port
        && b.local_address == a.remote_address
        && b.local_port == a.remote_port;
    is_mirrored && (a.direction != b.direction || a.direction == Direction::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::flow;

    fn ends(flow: &mut Flow, local: (&str, Option<u16>), remote: (&str, Option<u16>)) {
        flow.local_address = local.0.parse().ok();
        flow.remote_address = remote.0.parse().ok();
        (flow.local_port, flow.remote_port) = (local.1, remote.1);
    }

    fn both(client_port: Option<u16>) -> [Flow; 2] {
        let mut client = flow("client", 1);
        let mut server = flow("server", 2);
        (client.direction, server.direction) = (Direction::Outbound, Direction::Inbound);
        ends(&mut client, ("10.0.0.1", client_port), ("10.0.0.2", Some(80)));
        ends(&mut server, ("10.0.0.2", Some(80)), ("10.0.0.1", client_port));
        [client, server]
    }

    #[test]
    fn both_ends_are_one_row_and_the_client_is_first() {
        for port in [Some(40_000), None] {
            let [client, server] = both(port);
            let flows = [flow("else", 3), server, client];
            assert_eq!(pairs(&flows), [Pair { first: 0, other: None }, Pair { first: 2, other: Some(1) }]);
        }
    }

    #[test]
    fn ends_that_several_processes_share_stay_apart() {
        let [client, server] = both(Some(40_000));
        let flows = [client.clone(), server, client];
        assert_eq!(pairs(&flows).len(), 3);
        assert!(pairs(&flows).iter().all(|pair| pair.other.is_none()));
    }

    #[test]
    fn loopback_in_two_pods_is_two_connections() {
        let [mut client, mut server] = both(Some(40_000));
        ends(&mut client, ("127.0.0.1", Some(40_000)), ("127.0.0.1", Some(80)));
        ends(&mut server, ("127.0.0.1", Some(80)), ("127.0.0.1", Some(40_000)));
        assert_eq!(pairs(&[client.clone(), server.clone()]).len(), 1);
        server.pod = Some("another".to_owned());
        assert_eq!(pairs(&[client, server]).len(), 2);
    }

    #[test]
    fn a_flow_is_not_its_own_other_end() {
        let [mut client, _] = both(None);
        client.direction = Direction::Unknown;
        assert_eq!(pairs(&[client.clone(), client]).len(), 2);
        assert_eq!(pairs(&[]), []);
    }
}
