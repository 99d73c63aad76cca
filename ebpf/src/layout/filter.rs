//! A session's filter in the form that the kernel reads.

/// Maximum number of port ranges in one session's filter.
pub const RANGES: usize = 16;
/// Maximum number of peer networks in one session's filter.
pub const NETWORKS: usize = 16;
/// Size of `struct tt_filter`, the kernel's form of [`Filter`], in bytes.
pub const FILTER_SIZE: usize = 16 + 4 * RANGES + 32 * NETWORKS;

/// A session's filter. Empty fields mean everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// [`TCP`](super::TCP), [`UDP`](super::UDP) and [`ICMP`](super::ICMP), ored; 0 means all.
    pub protocols: u32,
    /// Wanted direction of connections: 1 inbound, 2 outbound, 0 both.
    pub direction: u32,
    /// Ranges of local or remote ports, each as first and last port; at most [`RANGES`].
    pub ports: Vec<(u16, u16)>,
    /// Networks of peers, each as address and mask; at most [`NETWORKS`].
    pub networks: Vec<([u8; 16], [u8; 16])>,
}

impl Filter {
    /// Returns the bytes of `struct tt_filter`. Ranges and networks beyond the limits are omitted, so callers must
    /// check first.
    pub fn to_bytes(&self) -> [u8; FILTER_SIZE] {
        let mut bytes = [0; FILTER_SIZE];
        let ranges = self.ports.len().min(RANGES);
        let networks = self.networks.len().min(NETWORKS);
        let header = [self.protocols, self.direction, ranges as u32, networks as u32];
        for (chunk, word) in bytes.chunks_exact_mut(4).zip(header) {
            chunk.copy_from_slice(&word.to_ne_bytes());
        }
        for (chunk, (first, last)) in bytes[16..].chunks_exact_mut(4).zip(&self.ports[..ranges]) {
            chunk[..2].copy_from_slice(&first.to_ne_bytes());
            chunk[2..].copy_from_slice(&last.to_ne_bytes());
        }
        for (chunk, (address, mask)) in
            bytes[16 + 4 * RANGES..].chunks_exact_mut(32).zip(&self.networks[..networks])
        {
            chunk[..16].copy_from_slice(address);
            chunk[16..].copy_from_slice(mask);
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{TCP, UDP};

    #[test]
    fn a_filter_lies_where_the_kernel_reads_it() {
        let mask = [0xff; 16];
        let filter = Filter {
            protocols: TCP | UDP,
            direction: 2,
            ports: vec![(80, 80), (8000, 8100)],
            networks: vec![([7; 16], mask)],
        };
        let bytes = filter.to_bytes();
        assert_eq!(bytes[..4], 3u32.to_ne_bytes());
        assert_eq!(bytes[4..8], 2u32.to_ne_bytes());
        assert_eq!(bytes[8..12], 2u32.to_ne_bytes());
        assert_eq!(bytes[12..16], 1u32.to_ne_bytes());
        assert_eq!(bytes[20..22], 8000u16.to_ne_bytes());
        assert_eq!(bytes[22..24], 8100u16.to_ne_bytes());
        assert_eq!(bytes[80..96], [7; 16]);
        assert_eq!(bytes[96..112], mask);
    }
}
