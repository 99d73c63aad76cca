//! When the peers of ICMP messages are looked at: from the start if a session asks for ICMP by its filter; if a session
//! takes everything, from the first ICMP message on, since most containers never send any.

use traffictrace_ebpf::layout::Loss;

use crate::{
    flows::{Filter, Protocol},
    kernel::Tracer,
};

/// The programs that see the peers of ICMP messages.
#[derive(Debug, Default)]
pub(super) struct IcmpPrograms {
    /// Whether the kernel refused them; it is not asked again.
    refused: bool,
}

impl IcmpPrograms {
    /// Attaches or detaches the programs, by the filters of all sessions.
    pub(super) fn update<'a>(
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
