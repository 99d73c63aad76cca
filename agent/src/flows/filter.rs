//! The filter of a session: the part of the selected containers' traffic that the session wants.

use std::{
    net::{IpAddr, Ipv6Addr},
    ops::RangeInclusive,
    sync::atomic::Ordering::Relaxed,
};

use ipnet::IpNet;
use traffictrace_ebpf::layout::{self, Slot};

use super::Protocol;

/// The direction in which a wanted flow was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DirectionFilter {
    /// Flows that the peer opened.
    Inbound,
    /// Flows that the container opened.
    Outbound,
    /// All flows.
    #[default]
    Both,
}

impl DirectionFilter {
    /// Returns the direction as the kernel programs encode it; 0 for all.
    fn to_kernel(self) -> u32 {
        match self {
            Self::Both => 0,
            Self::Inbound => 1,
            Self::Outbound => 2,
        }
    }
}

/// A session's filter, which the kernel applies. Empty fields want everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Wanted protocols.
    pub protocols: Vec<Protocol>,
    /// Wanted local or remote ports. Maximum: [`layout::RANGES`] ranges.
    pub ports: Vec<RangeInclusive<u16>>,
    /// Wanted networks of peers. Maximum: [`layout::NETWORKS`] networks.
    pub remote_cidrs: Vec<IpNet>,
    /// Wanted direction. A flow of unknown direction always passes.
    pub direction: DirectionFilter,
}

impl Filter {
    /// Returns true if the filter wants everything.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns true if the filter wants every TCP flow.
    pub fn wants_all_tcp(&self) -> bool {
        (self.protocols.is_empty() || self.protocols.contains(&Protocol::Tcp))
            && self.ports.is_empty()
            && self.remote_cidrs.is_empty()
            && self.direction == DirectionFilter::Both
    }

    /// Returns true if the filter wants the flow of a slot whose ends are known. The kernel decides the same for each
    /// new flow (`session_wants()` in filter.h). This method is for flows that already have a slot when the filter
    /// changes.
    pub fn wants(&self, slot: &Slot) -> bool {
        let state = slot.state();
        let protocol = Protocol::from_bit(state.protocol());
        if !self.protocols.is_empty() && !protocol.is_some_and(|protocol| self.protocols.contains(&protocol))
        {
            return false;
        }
        let wanted = self.direction.to_kernel();
        if wanted != 0 && state.direction() != 0 && state.direction() != wanted {
            return false;
        }
        let ports = [slot.local_port.load(Relaxed), slot.remote_port.load(Relaxed)];
        if !self.ports.is_empty()
            && !self.ports.iter().any(|range| ports.iter().any(|port| range.contains(port)))
        {
            return false;
        }
        let remote = Ipv6Addr::from(slot.remote_addr.load()).to_canonical();
        self.remote_cidrs.is_empty() || self.remote_cidrs.iter().any(|cidr| cidr.contains(&remote))
    }

    /// Encodes the filter for the kernel.
    pub fn to_kernel(&self) -> layout::Filter {
        layout::Filter {
            protocols: self.protocols.iter().fold(0, |bits, protocol| bits | protocol.bit()),
            direction: self.direction.to_kernel(),
            ports: self.ports.iter().map(|range| (*range.start(), *range.end())).collect(),
            networks: self.remote_cidrs.iter().map(network).collect(),
        }
    }
}

/// Returns address and mask of a network, 16 bytes each. IPv4 networks lie in `::ffff:0:0/96`.
fn network(cidr: &IpNet) -> ([u8; 16], [u8; 16]) {
    let (address, prefix) = match cidr.network() {
        IpAddr::V4(v4) => (v4.to_ipv6_mapped(), cidr.prefix_len() + 96),
        IpAddr::V6(v6) => (v6, cidr.prefix_len()),
    };
    let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
    (address.octets(), mask.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_masked_and_ipv4_is_mapped() {
        let (address, mask) = network(&"10.1.2.3/8".parse().unwrap());
        assert_eq!(address, "::ffff:10.0.0.0".parse::<Ipv6Addr>().unwrap().octets());
        assert_eq!(mask[..13], [0xff; 13]);
        assert_eq!(mask[13..], [0; 3]);
        assert_eq!(network(&"::/0".parse().unwrap()).1, [0; 16]);
        assert_eq!(network(&"::1/128".parse().unwrap()).1, [0xff; 16]);
    }

    #[test]
    fn a_filter_for_tcp_alone_wants_all_of_it() {
        let of = |protocols: &[Protocol]| Filter { protocols: protocols.to_vec(), ..Filter::default() };
        assert!(of(&[]).wants_all_tcp() && of(&[Protocol::Udp, Protocol::Tcp]).wants_all_tcp());
        assert!(!of(&[Protocol::Udp]).wants_all_tcp());
        assert!(!Filter { ports: vec![80..=80], ..of(&[Protocol::Tcp]) }.wants_all_tcp());
    }

    #[test]
    fn an_empty_filter_wants_everything() {
        assert!(Filter::default().is_empty());
        assert_eq!(Filter::default().to_kernel(), layout::Filter::default());
    }
}
