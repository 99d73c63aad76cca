//! Connections whose two ends are both traced.
//!
//! Each end is a flow. Shown separately they look like twice the traffic, so views of connections show both as one row: the
//! client's, since the client knows the address that it asked for.

use std::net::IpAddr;

use hashbrown::HashMap;
use traffictrace_crd::flow::{Direction, Protocol, service_named};

use crate::snapshot::Flow;

/// Factor, and number of bytes on top of that, by which servers may have moved more than their listed clients, because nodes
/// do not report at the same moment. Beyond this, some of the servers' clients are not listed, and their bytes must not be
/// hidden.
const AHEAD: (u64, u64) = (2, 64 * 1024);

/// One row of a view of connections. The numbers are indexes of flows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The flow or, of two ends, the one that opened the connection.
    pub first: usize,
    /// The other ends, if they are traced too: several if the client's connections are spread over several servers. All
    /// processes of one client have the same other ends.
    pub others: Vec<usize>,
}

/// Flows that may be the two ends of the same connections. The numbers are indexes of flows.
#[derive(Default)]
struct Group {
    clients: Vec<usize>,
    servers: Vec<usize>,
    /// True if both ports of the connection are known, so that a single client and a single server are its two ends.
    is_exact: bool,
}

impl Group {
    /// Returns true if the servers' flows can be shown as the other ends of the clients' flows: their bytes are not those
    /// of unlisted clients (see [`AHEAD`]).
    fn is_whole(&self, flows: &[Flow]) -> bool {
        if self.clients.is_empty() || self.servers.is_empty() {
            return false;
        }
        if self.is_exact && self.clients.len() == 1 && self.servers.len() == 1 {
            return true;
        }
        let sum =
            |places: &[usize]| places.iter().map(|place| flows[*place].weight()).fold(0, u64::saturating_add);
        let (factor, more) = AHEAD;
        sum(&self.servers) <= sum(&self.clients).saturating_mul(factor).saturating_add(more)
    }
}

/// An address and a port; without a port if the flow folds several ports.
type End = (IpAddr, Option<u16>);

/// The two ends of connections, as a key that the flows of both ends share. If both ports are known, the end with the lower
/// port comes first, otherwise the client's.
#[derive(PartialEq, Eq, Hash)]
struct Ends<'a> {
    protocol: Protocol,
    ends: [End; 2],
    /// The pod, if the addresses are loopback addresses, which each pod has for itself.
    pod: Option<(Option<&'a str>, Option<&'a str>)>,
}

impl<'a> Ends<'a> {
    /// Returns the ends of a flow, and the index of its local end.
    fn of(flow: &'a Flow) -> Option<(Self, usize)> {
        let local = (flow.local_address?, flow.local_port);
        let remote = (flow.remote_address?, flow.remote_port);
        let is_first = match (flow.direction, local.1, remote.1) {
            (_, Some(_), Some(_)) => (local.1, local.0) < (remote.1, remote.0),
            (Direction::Outbound, ..) => true,
            (Direction::Inbound, ..) => false,
            (Direction::Unknown, ..) => return None,
        };
        let ends = if is_first { [local, remote] } else { [remote, local] };
        let is_loopback = local.0.is_loopback() && remote.0.is_loopback();
        let pod = is_loopback.then_some((flow.namespace.as_deref(), flow.pod.as_deref()));
        Some((Self { protocol: flow.protocol, ends, pod }, usize::from(!is_first)))
    }
}

/// Connections of a client to a Service, as a key. The server sees its own address instead of the Service's, and usually
/// another port.
#[derive(PartialEq, Eq, Hash)]
struct ThroughService<'a> {
    protocol: Protocol,
    client: End,
    namespace: &'a str,
    name: &'a str,
    port: u16,
}

impl<'a> ThroughService<'a> {
    /// Returns the Service that a client's flow asked for.
    fn asked(flow: &'a Flow) -> Option<Self> {
        if flow.direction == Direction::Inbound {
            return None;
        }
        let (namespace, name) = service_named(flow.peer.as_deref()?)?;
        let client = (flow.local_address?, flow.local_port);
        Some(Self { protocol: flow.protocol, client, namespace, name, port: flow.remote_port? })
    }

    /// Returns the Services through which a server's flow may have come.
    fn offered(flow: &'a Flow) -> impl Iterator<Item = Self> {
        let client = flow.remote_address.map(|address| (address, flow.remote_port));
        let services = flow.local_services.iter().filter(|_| flow.direction != Direction::Outbound);
        services.filter_map(move |service| {
            let (name, port) = service.rsplit_once(':')?;
            Some(Self {
                protocol: flow.protocol,
                client: client?,
                namespace: flow.namespace.as_deref()?,
                name,
                port: port.parse().ok()?,
            })
        })
    }
}

/// Returns the rows of a view of connections, in the order of the flows.
///
/// A server's flow is the other end of a client's flow in three cases: both see the same addresses and ports; or both have the
/// same address and port of the client, and no other flow has these (the server's address may be translated on the way); or
/// the server's port belongs to the Service that the client asked for. A flow without another end is a row of its own.
#[must_use]
pub fn pairs(flows: &[Flow]) -> Vec<Pair> {
    let mut others: Vec<Option<Vec<usize>>> = vec![None; flows.len()];
    let mut is_other = vec![false; flows.len()];
    for groups in [direct, translated, through_services] {
        let is_free = |place: usize| others[place].is_none() && !is_other[place];
        let whole: Vec<Group> =
            groups(flows, &is_free).into_iter().filter(|group| group.is_whole(flows)).collect();
        for group in whole {
            group.servers.iter().for_each(|server| is_other[*server] = true);
            group.clients.iter().for_each(|client| others[*client] = Some(group.servers.clone()));
        }
    }
    let shown = others.into_iter().enumerate().filter(|(place, _)| !is_other[*place]);
    shown.map(|(first, others)| Pair { first, others: others.unwrap_or_default() }).collect()
}

/// Groups the flows that see the same addresses and ports.
fn direct(flows: &[Flow], is_free: &dyn Fn(usize) -> bool) -> Vec<Group> {
    let mut by_ends: HashMap<Ends<'_>, [Vec<usize>; 2]> = HashMap::new();
    for (place, flow) in flows.iter().enumerate().filter(|(place, _)| is_free(*place)) {
        if let Some((ends, end)) = Ends::of(flow) {
            by_ends.entry(ends).or_default()[end].push(place);
        }
    }
    let of = |(ends, [first, second]): (Ends<'_>, [Vec<usize>; 2])| {
        let any =
            |places: &[usize], direction| places.iter().any(|place| flows[*place].direction == direction);
        let opened =
            |own: &[usize], other: &[usize]| any(own, Direction::Outbound) || any(other, Direction::Inbound);
        // If neither flow shows which end opened the connection, the end with the lower port counts as the server.
        let (clients, servers) = if opened(&first, &second) && !opened(&second, &first) {
            (first, second)
        } else {
            (second, first)
        };
        Group { clients, servers, is_exact: ends.ends.iter().all(|end| end.1.is_some()) }
    };
    by_ends.into_iter().map(of).collect()
}

/// Groups one client's TCP flow with one server's if only these two have the client's address and port.
fn translated(flows: &[Flow], is_free: &dyn Fn(usize) -> bool) -> Vec<Group> {
    let mut groups: HashMap<End, Group> = HashMap::new();
    for (place, flow) in flows.iter().enumerate().filter(|(place, _)| is_free(*place)) {
        let (address, port) = match flow.direction {
            // No address is translated on the way to a pod's own.
            Direction::Outbound if flow.peer.as_ref().is_none_or(|peer| !peer.starts_with("pod ")) => {
                (flow.local_address, flow.local_port)
            }
            Direction::Inbound => (flow.remote_address, flow.remote_port),
            Direction::Outbound | Direction::Unknown => continue,
        };
        let is_usable = |address: &IpAddr| !address.is_loopback() && port.is_some();
        // A UDP socket talks to many peers from one port.
        let Some(client) = address.filter(|address| flow.protocol == Protocol::Tcp && is_usable(address))
        else {
            continue;
        };
        let group = groups.entry((client, port)).or_default();
        let is_client = flow.direction == Direction::Outbound;
        if is_client { &mut group.clients } else { &mut group.servers }.push(place);
    }
    groups.into_values().filter(|group| group.clients.len() == 1 && group.servers.len() == 1).collect()
}

/// Groups the flows of clients with the flows of servers behind the Service that the clients asked for.
fn through_services(flows: &[Flow], is_free: &dyn Fn(usize) -> bool) -> Vec<Group> {
    let free = || flows.iter().enumerate().filter(|(place, _)| is_free(*place));
    let mut groups: HashMap<ThroughService<'_>, Group> = HashMap::new();
    for (place, flow) in free() {
        if let Some(service) = ThroughService::asked(flow) {
            groups.entry(service).or_default().clients.push(place);
        }
    }
    // A flow whose opener is unknown could be either end. It is a client if it asks for a Service.
    for (place, flow) in free().filter(|(_, flow)| ThroughService::asked(flow).is_none()) {
        // If two Services offer the port, the flow is assigned to one of them only.
        if let Some(service) = ThroughService::offered(flow).find(|service| groups.contains_key(service))
            && let Some(group) = groups.get_mut(&service)
        {
            group.servers.push(place);
        }
    }
    groups.into_values().collect()
}

#[cfg(test)]
mod tests;
