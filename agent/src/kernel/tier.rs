//! Hook tiers: by which hooks of the kernel sends and receives are counted.

use std::{fmt, path::Path};

use clap::ValueEnum;
use traffictrace_ebpf::Variant;

/// The hooks that count sends and receives, best first. Which of them a kernel has is found out by trying.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum HookTier {
    /// The tracepoints `sock_send_length` and `sock_recv_length` (Linux 6.3).
    #[value(name = "tp_btf")]
    TpBtf,
    /// The exits of the functions that every send and receive passes (BPF trampolines).
    #[value(name = "fexit")]
    Fexit,
    /// Kprobes and kretprobes.
    #[value(name = "kretprobe")]
    Kretprobe,
}

/// What `--hook-tier` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TierChoice {
    /// The first that works.
    #[default]
    Auto,
    /// This one or none.
    Only(HookTier),
}

impl HookTier {
    /// All, in the order in which they are tried.
    pub const ALL: [Self; 3] = [Self::TpBtf, Self::Fexit, Self::Kretprobe];

    /// As it is written on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::TpBtf => "tp_btf",
            Self::Fexit => "fexit",
            Self::Kretprobe => "kretprobe",
        }
    }

    /// The sets of programs that can serve this tier, best first.
    pub(super) fn plans(self) -> &'static [Plan] {
        match self {
            Self::TpBtf => TP_BTF,
            Self::Fexit => FEXIT,
            Self::Kretprobe => KRETPROBE,
        }
    }
}

impl fmt::Display for HookTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl TierChoice {
    /// The tiers to try.
    pub fn tiers(self) -> &'static [HookTier] {
        match self {
            Self::Auto => &HookTier::ALL,
            Self::Only(HookTier::TpBtf) => &HookTier::ALL[..1],
            Self::Only(HookTier::Fexit) => &HookTier::ALL[1..2],
            Self::Only(HookTier::Kretprobe) => &HookTier::ALL[2..],
        }
    }
}

impl std::str::FromStr for TierChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            _ => HookTier::from_str(text, false)
                .map(Self::Only)
                .map_err(|_| "must be auto, tp_btf, fexit or kretprobe".into()),
        }
    }
}

impl fmt::Display for TierChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Only(tier) => tier.fmt(f),
        }
    }
}

/// Kind of hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Tracepoint,
    Fentry,
    Fexit,
    /// At the entry or the return of a function, as the program's section says.
    Kprobe,
    /// At cgroups, as the program's section says.
    Cgroup,
    /// At functions or instructions of a process, as the program's section says.
    Uprobe,
    /// At nothing: user space runs the program.
    Called,
}

impl Kind {
    /// The kind as people call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Tracepoint => "tracepoint",
            Self::Fentry | Self::Fexit => "kernel function",
            Self::Kprobe => "kprobe",
            Self::Cgroup => "cgroup hook",
            Self::Uprobe => "uprobe",
            Self::Called => "call",
        }
    }
}

/// When a hook may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needed {
    Always,
    /// Where the kernel has IPv6.
    Ipv6,
    /// Where the kernel has the function: of a protocol that may not be there, or of some kernels alone.
    IfThere,
    /// Where it can be attached at all; otherwise what it would see is reported as not seen.
    IfPossible,
}

/// A program of the object, and what it is attached to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hook {
    pub(super) program: &'static str,
    pub(super) kind: Kind,
    pub(super) target: &'static str,
    pub(super) needed: Needed,
}

/// A set of programs that can serve a tier. All plans of a tier have the same hooks.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) variant: Variant,
    /// Whether notes about messages are kept by thread instead of in the storage of tasks.
    pub(super) notes_by_thread: bool,
    /// What is attached from the start, beside [`EVERYWHERE`].
    pub(super) hooks: &'static [Hook],
    /// What is loaded from the start and attached to cgroups while it is wanted.
    pub(super) cgroup_hooks: &'static [Hook],
}

impl Needed {
    /// Whether tracing must not go on without the hook.
    pub(super) fn here(self) -> bool {
        match self {
            Self::Always => true,
            Self::Ipv6 => Path::new("/proc/sys/net/ipv6").exists(),
            Self::IfThere | Self::IfPossible => false,
        }
    }
}

pub(super) const fn hook(program: &'static str, kind: Kind, target: &'static str) -> Hook {
    Hook { program, kind, target, needed: Needed::Always }
}

const fn ipv6(program: &'static str, kind: Kind, target: &'static str) -> Hook {
    Hook { program, kind, target, needed: Needed::Ipv6 }
}

const fn if_there(program: &'static str, kind: Kind, target: &'static str) -> Hook {
    Hook { program, kind, target, needed: Needed::IfThere }
}

const fn if_possible(program: &'static str, kind: Kind, target: &'static str) -> Hook {
    Hook { program, kind, target, needed: Needed::IfPossible }
}

/// Attached in every tier: processes that come into a cgroup.
pub(super) const EVERYWHERE: [Hook; 2] = [
    hook("tt_attach", Kind::Tracepoint, "cgroup_attach_task"),
    hook("tt_fork", Kind::Tracepoint, "sched_process_fork"),
];

/// In every tier, beginning and end of TCP connections; attached from the first session on that can want TCP.
pub(super) const CONNECTIONS: [Hook; 2] = [
    hook("tt_state", Kind::Tracepoint, "inet_sock_set_state"),
    hook("tt_destroy", Kind::Tracepoint, "tcp_destroy_sock"),
];

/// In every tier, the program that compares connections with their sockets.
pub(super) const RECONCILE: Hook = hook("tt_reconcile", Kind::Called, "TCP connections");

/// The end of processes that were selected by their id; only while a session selects so.
pub(super) const PROCESS_END: Hook = hook("tt_exit", Kind::Tracepoint, "sched_process_free");

/// The peers of messages whose address the application gives or asks for.
pub(super) const PEERS: [Hook; 4] = [
    hook("tt_sendmsg4", Kind::Cgroup, "sendmsg4"),
    hook("tt_sendmsg6", Kind::Cgroup, "sendmsg6"),
    hook("tt_recvmsg4", Kind::Cgroup, "recvmsg4"),
    hook("tt_recvmsg6", Kind::Cgroup, "recvmsg6"),
];

/// The end of sockets that are not TCP.
pub(super) const RELEASE: Hook = hook("tt_release", Kind::Cgroup, "sock_release");

/// Sees the destination of what ping and raw sockets send. Where calls are hooked, the call itself names it.
///
/// This and [`ICMP_RECV`] see every packet of a cgroup or of the machine, so they are attached only while a session wants
/// the peers of ICMP messages.
pub(super) const ICMP_SEND: Hook = hook("tt_icmp_send", Kind::Cgroup, EGRESS);

/// Targets of programs that see the packets of a cgroup's sockets.
pub(super) const INGRESS: &str = "ingress";
const EGRESS: &str = "egress";

/// What sees HTTP, in an object of its own.
pub(super) const HTTP: [Hook; 2] =
    [hook("tt_http_in", Kind::Cgroup, INGRESS), hook("tt_http_out", Kind::Cgroup, EGRESS)];

/// What sees the plain text of TLS, in an object of its own: what is attached from the start.
pub(super) const TLS: [Hook; 4] = [
    hook("tt_tls_send", Kind::Tracepoint, "sock_send_length"),
    hook("tt_tls_recv", Kind::Tracepoint, "sock_recv_length"),
    hook("tt_tls_exec", Kind::Tracepoint, "sched_process_exec"),
    hook("tt_tls_fork", Kind::Tracepoint, "sched_process_fork"),
];

/// What is attached to the functions of TLS libraries, in selected processes.
pub(super) const TLS_PROBES: [Hook; 12] = [
    hook("tt_tls_read", Kind::Uprobe, "SSL_read"),
    hook("tt_tls_read_ret", Kind::Uprobe, "SSL_read"),
    hook("tt_tls_write", Kind::Uprobe, "SSL_write"),
    hook("tt_tls_write_ret", Kind::Uprobe, "SSL_write"),
    hook("tt_tls_read_ex", Kind::Uprobe, "SSL_read_ex"),
    hook("tt_tls_write_ex", Kind::Uprobe, "SSL_write_ex"),
    hook("tt_tls_sendfile", Kind::Uprobe, "SSL_sendfile"),
    hook("tt_tls_sendfile_ret", Kind::Uprobe, "SSL_sendfile"),
    hook("tt_tls_free", Kind::Uprobe, "SSL_free"),
    hook("tt_tls_go_read", Kind::Uprobe, "crypto/tls.(*Conn).Read"),
    hook("tt_tls_go_read_ret", Kind::Uprobe, "crypto/tls.(*Conn).Read"),
    hook("tt_tls_go_write", Kind::Uprobe, "crypto/tls.(*Conn).Write"),
];

/// What takes stacks, in an object of its own.
pub(super) const STACKS: [Hook; 3] = [
    hook("tt_stack_send", Kind::Tracepoint, "sock_send_length"),
    hook("tt_stack_recv", Kind::Tracepoint, "sock_recv_length"),
    hook("tt_stack_claim", Kind::Tracepoint, "tcp_rcv_space_adjust"),
];

/// Notes who receives without a call that reports it, for the last of [`STACKS`]; only while a session wants stacks.
pub(super) const STACKS_CLAIM: Hook = hook("tt_claim", Kind::Tracepoint, "tcp_rcv_space_adjust");

/// Sees the source of what ping and raw sockets receive.
pub(super) const ICMP_RECV: Hook = hook("tt_icmp_recv", Kind::Tracepoint, "consume_skb");

/// Sockets that a process is given by another one. Function entries, where they can be hooked.
const GIVEN: Hook = if_possible("tt_fe_receive", Kind::Fentry, "security_file_receive");

const TRACEPOINTS: &[Hook] = &[
    hook("tt_send", Kind::Tracepoint, "sock_send_length"),
    hook("tt_recv", Kind::Tracepoint, "sock_recv_length"),
    // Linux 6.3 and 6.4 send files past the tracepoint.
    if_there("tt_fx_page", Kind::Fexit, "inet_sendpage"),
    GIVEN,
];

const AT_CGROUPS: &[Hook] = &[PEERS[0], PEERS[1], PEERS[2], PEERS[3], RELEASE];

/// Until Linux 6.12, programs on cgroups have no storage of tasks.
const TP_BTF: &[Plan] = &[
    Plan { variant: Variant::Typed, notes_by_thread: false, hooks: TRACEPOINTS, cgroup_hooks: AT_CGROUPS },
    Plan { variant: Variant::Typed, notes_by_thread: true, hooks: TRACEPOINTS, cgroup_hooks: AT_CGROUPS },
];

const CALLS: &[Hook] = &[
    hook("tt_fx_send", Kind::Fexit, "inet_sendmsg"),
    ipv6("tt_fx_send6", Kind::Fexit, "inet6_sendmsg"),
    hook("tt_fx_recv", Kind::Fexit, "inet_recvmsg"),
    ipv6("tt_fx_recv6", Kind::Fexit, "inet6_recvmsg"),
    ipv6("tt_fx_recv_raw6", Kind::Fexit, "sock_common_recvmsg"),
    // Until Linux 6.5.
    if_there("tt_fx_page", Kind::Fexit, "inet_sendpage"),
    hook("tt_fe_release", Kind::Fentry, "inet_release"),
    GIVEN,
];

/// Linux 5.10 and 5.11 follow no typed pointers to a socket's cookie.
const FEXIT: &[Plan] = &[
    Plan { variant: Variant::Typed, notes_by_thread: false, hooks: CALLS, cgroup_hooks: &[] },
    Plan { variant: Variant::Plain, notes_by_thread: true, hooks: CALLS, cgroup_hooks: &[] },
];

const KRETPROBE: &[Plan] = &[Plan {
    variant: Variant::Plain,
    notes_by_thread: true,
    hooks: &[
        hook("tt_kp_lock", Kind::Kprobe, "lock_sock_nested"),
        hook("tt_kp_unlock", Kind::Kprobe, "release_sock"),
        hook("tt_kp_send", Kind::Kprobe, "inet_sendmsg"),
        ipv6("tt_kp_send", Kind::Kprobe, "inet6_sendmsg"),
        if_there("tt_kp_page", Kind::Kprobe, "inet_sendpage"),
        hook("tt_kp_recv", Kind::Kprobe, "inet_recvmsg"),
        ipv6("tt_kp_recv", Kind::Kprobe, "inet6_recvmsg"),
        ipv6("tt_kp_recv", Kind::Kprobe, "sock_common_recvmsg"),
        hook("tt_kp_udp", Kind::Kprobe, "skb_consume_udp"),
        hook("tt_kr_send", Kind::Kprobe, "udp_sendmsg"),
        ipv6("tt_kr_send", Kind::Kprobe, "udpv6_sendmsg"),
        if_there("tt_kr_send", Kind::Kprobe, "udp_sendpage"),
        hook("tt_kr_send", Kind::Kprobe, "raw_sendmsg"),
        ipv6("tt_kr_send", Kind::Kprobe, "rawv6_sendmsg"),
        hook("tt_kr_send", Kind::Kprobe, "ping_v4_sendmsg"),
        ipv6("tt_kr_send", Kind::Kprobe, "ping_v6_sendmsg"),
        if_there("tt_kr_send", Kind::Kprobe, "mptcp_sendmsg"),
        if_there("tt_kr_send", Kind::Kprobe, "tls_sw_sendmsg"),
        if_there("tt_kr_send", Kind::Kprobe, "tls_sw_sendpage"),
        if_there("tt_kr_send", Kind::Kprobe, "tls_device_sendmsg"),
        if_there("tt_kr_send", Kind::Kprobe, "tls_device_sendpage"),
        if_there("tt_kr_send", Kind::Kprobe, "tcp_bpf_sendmsg"),
        hook("tt_kr_recv", Kind::Kprobe, "raw_recvmsg"),
        ipv6("tt_kr_recv", Kind::Kprobe, "rawv6_recvmsg"),
        hook("tt_kr_recv", Kind::Kprobe, "ping_recvmsg"),
        if_there("tt_kr_recv", Kind::Kprobe, "mptcp_recvmsg"),
        if_there("tt_kr_recv", Kind::Kprobe, "tls_sw_recvmsg"),
        if_there("tt_kr_recv", Kind::Kprobe, "tcp_bpf_recvmsg"),
        if_there("tt_kr_recv", Kind::Kprobe, "tcp_bpf_recvmsg_parser"),
        hook("tt_kp_release", Kind::Kprobe, "inet_release"),
        if_possible("tt_kp_receive", Kind::Kprobe, "security_file_receive"),
    ],
    cgroup_hooks: &[],
}];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_written_as_they_are_read() {
        for text in ["auto", "tp_btf", "fexit", "kretprobe"] {
            assert_eq!(text.parse::<TierChoice>().unwrap().to_string(), text);
        }
        assert!("kprobe".parse::<TierChoice>().is_err());
        assert_eq!(TierChoice::Only(HookTier::Fexit).tiers(), [HookTier::Fexit]);
    }
}
