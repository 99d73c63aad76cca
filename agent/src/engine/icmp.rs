//! The programs for peers of ICMP messages. They are attached at once if a session's filter asks for ICMP. If a session
//! takes all protocols, they are attached after the first ICMP message, since most containers never send any.

use traffictrace_ebpf::layout::Loss;

use crate::{
    flows::{Filter, Protocol},
    kernel::Tracer,
};

/// The programs that see the peers of ICMP messages.
#[derive(Debug, Default)]
pub(super) struct IcmpPrograms {
    /// Set once the kernel refused the programs, which are then not tried again.
    refused: bool,
}

impl IcmpPrograms {
    /// Attaches or detaches the programs as the filters of all sessions require.
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
