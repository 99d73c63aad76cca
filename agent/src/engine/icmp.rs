//! When the peers of ICMP messages are looked at: from the start where a session asks for ICMP by its filter; where it
//! takes everything, from the first ICMP message on, since most containers never send any.

use traffictrace_ebpf::layout::Loss;

use crate::{
    flows::{Filter, Protocol},
    kernel::Tracer,
};

#[derive(Debug, Default)]
pub(super) struct IcmpWish {
    /// Whether the kernel refused; it is not asked again.
    refused: bool,
}

impl IcmpWish {
    /// Attaches or detaches the programs, by the filters of all sessions.
    pub(super) fn fulfil<'a>(
        &mut self,
        tracer: &mut Tracer,
        filters: impl Iterator<Item = &'a Filter> + Clone,
    ) {
        if self.refused {
            return;
        }
        let asked = filters.clone().any(|filter| filter.protocols.contains(&Protocol::Icmp));
        let taken = filters.clone().any(|filter| filter.protocols.is_empty());
        let seen = tracer.loss(Loss::IcmpPeer) > 0;
        if let Err(error) = tracer.see_icmp_peers(asked || taken && seen) {
            self.refused = true;
            tracing::warn!(%error, "ICMP messages are counted without their peers");
        }
    }
}
