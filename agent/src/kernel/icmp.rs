//! Programs that see the peers of ICMP messages where the call does not name them. Their hooks see every packet of the
//! machine, so they are attached only while a session wants it.

use std::{fs::File, path::Path};

use aya::{
    Btf, Ebpf,
    programs::{
        BtfTracePoint, CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, cgroup_skb::CgroupSkbLink,
        tp_btf::BtfTracePointLink,
    },
};

use super::{HookTier, KernelError};

/// Sees the destination of what ping and raw sockets send.
const SEND: &str = "tt_icmp_send";
/// Sees the source of what they receive, at this tracepoint.
const RECV: (&str, &str) = ("tt_icmp_recv", "consume_skb");

/// The programs while they are attached; dropping it detaches them.
#[derive(Debug)]
pub(super) struct IcmpPeers {
    _send: Option<CgroupSkbLink>,
    _recv: BtfTracePointLink,
}

impl IcmpPeers {
    /// Attaches them, `root` being the root of the cgroup2 tree; loads them the first time. Where calls are hooked, the
    /// call itself names the peer of what is sent.
    pub(super) fn attach(
        ebpf: &mut Ebpf,
        btf: &Btf,
        root: &Path,
        tier: HookTier,
    ) -> Result<Self, KernelError> {
        let (name, hook) = RECV;
        let program = ebpf.program_mut(name).ok_or(KernelError::Object(name))?;
        let recv: &mut BtfTracePoint = program.try_into().map_err(|_| KernelError::Object(name))?;
        if recv.fd().is_err() {
            recv.load(hook, btf).map_err(|e| KernelError::load(loading(name), e))?;
        }
        let link = recv.attach().and_then(|id| recv.take_link(id));
        let recv = link.map_err(|e| KernelError::load(attaching(name, hook), e))?;

        let send = (tier == HookTier::TpBtf).then(|| attach_send(ebpf, root)).transpose()?;
        Ok(Self { _send: send, _recv: recv })
    }
}

fn attach_send(ebpf: &mut Ebpf, root: &Path) -> Result<CgroupSkbLink, KernelError> {
    let folder = File::open(root).map_err(|e| {
        KernelError::load(format!("open the root of the cgroup2 tree at {}", root.display()), e)
    })?;
    let program = ebpf.program_mut(SEND).ok_or(KernelError::Object(SEND))?;
    let send: &mut CgroupSkb = program.try_into().map_err(|_| KernelError::Object(SEND))?;
    if send.fd().is_err() {
        send.load().map_err(|e| KernelError::load(loading(SEND), e))?;
    }
    let link = send
        .attach(&folder, CgroupSkbAttachType::Egress, CgroupAttachMode::Single)
        .and_then(|id| send.take_link(id));
    link.map_err(|e| KernelError::load(attaching(SEND, "the root cgroup"), e))
}

fn loading(name: &str) -> String {
    format!("load the BPF program {name}")
}

fn attaching(name: &str, hook: &str) -> String {
    format!("attach the BPF program {name} to {hook}")
}
