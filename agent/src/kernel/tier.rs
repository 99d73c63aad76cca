//! Hook tiers: the sets of kernel hooks that can count sends and receives.

use std::{fmt, path::Path};

use clap::ValueEnum;
use traffictrace_ebpf::Variant;

/// A set of hooks that can count sends and receives, best first. The tiers that a kernel supports are found by trying
/// them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum HookTier {
    /// The tracepoints `sock_send_length` and `sock_recv_length` (Linux 6.3).
    #[value(name = "tp_btf")]
    TpBtf,
    /// The exits of the functions that every send and receive passes through (BPF trampolines).
    #[value(name = "fexit")]
    Fexit,
    /// Kprobes and kretprobes.
    #[value(name = "kretprobe")]
    Kretprobe,
}

/// The choice that `--hook-tier` makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TierChoice {
    /// The first tier that works.
    #[default]
    Auto,
    /// This tier, and no other.
    Only(HookTier),
}

impl HookTier {
    /// All tiers, in the order in which they are tried.
    pub const ALL: [Self; 3] = [Self::TpBtf, Self::Fexit, Self::Kretprobe];

    /// Name of the tier on the command line and in reports.
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
    /// The tiers to try, in order.
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

/// The kernel's mechanism behind a hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Tracepoint,
    Fentry,
    Fexit,
    /// The entry or the return of a function, as the program's section says.
    Kprobe,
    /// A hook of cgroups, as the program's section says.
    Cgroup,
    /// A function or an instruction of a process, as the program's section says.
    Uprobe,
    /// No hook: user space runs the program.
    Called,
}

impl Kind {
    /// Name of the kind in messages.
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

/// Conditions under which a hook may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needed {
    Always,
    /// Needed if the kernel has IPv6.
    Ipv6,
    /// Attached if the kernel has the function, which belongs to an optional protocol or exists only in some versions.
    IfThere,
    /// Attached if possible. Otherwise `unseen.rs` lists what stays unseen without it.
    IfPossible,
}

/// A program of the object, and the hook that it is attached to.
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
    /// Set if what programs note about the current task (`struct note` in `maps.h`) is kept by thread id: until Linux
    /// 6.12, programs on cgroups have no task storage.
    pub(super) notes_by_thread: bool,
    /// Hooks that are always attached, beside [`EVERYWHERE`].
    pub(super) hooks: &'static [Hook],
    /// Hooks that are loaded from the start, and attached to cgroups while they are wanted.
    pub(super) cgroup_hooks: &'static [Hook],
}

impl Needed {
    /// Returns true if tracing cannot go on without the hook on this machine.
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

/// Hooks of every tier that see processes come into cgroups, possibly with sockets of other cgroups (`lend.h`), and
/// that see children of selected processes.
pub(super) const EVERYWHERE: [Hook; 2] = [
    hook("tt_attach", Kind::Tracepoint, "cgroup_attach_task"),
    hook("tt_fork", Kind::Tracepoint, "sched_process_fork"),
];

/// Hooks of every tier that see the beginning and end of TCP connections, attached while a session can want TCP.
pub(super) const CONNECTIONS: [Hook; 2] = [
    hook("tt_state", Kind::Tracepoint, "inet_sock_set_state"),
    hook("tt_destroy", Kind::Tracepoint, "tcp_destroy_sock"),
];

/// The program of every tier that compares TCP connections with their sockets' own counters. User space runs it.
pub(super) const RECONCILE: Hook = hook("tt_reconcile", Kind::Called, "TCP connections");

/// Hook at the end of processes, whose ids are then removed from the selection. Attached once a session selects
/// processes by id.
pub(super) const PROCESS_END: Hook = hook("tt_exit", Kind::Tracepoint, "sched_process_free");

/// Hooks that see the peer of a UDP message, if the application gives or asks for the peer's address.
pub(super) const PEERS: [Hook; 4] = [
    hook("tt_sendmsg4", Kind::Cgroup, "sendmsg4"),
    hook("tt_sendmsg6", Kind::Cgroup, "sendmsg6"),
    hook("tt_recvmsg4", Kind::Cgroup, "recvmsg4"),
    hook("tt_recvmsg6", Kind::Cgroup, "recvmsg6"),
];

/// Hook at the end of sockets that are not TCP.
pub(super) const RELEASE: Hook = hook("tt_release", Kind::Cgroup, "sock_release");

/// Sees the destination of messages sent by ping and raw sockets. In the other tiers the hooked call itself gives the
/// destination.
///
/// This hook and [`ICMP_RECV`] see every packet of a cgroup or of the machine, so they are attached only while a
/// session wants the peers of ICMP messages.
pub(super) const ICMP_SEND: Hook = hook("tt_icmp_send", Kind::Cgroup, EGRESS);

/// Targets of programs that see the packets of a cgroup's sockets.
pub(super) const INGRESS: &str = "ingress";
const EGRESS: &str = "egress";

/// Hooks of the programs that read HTTP, which are an object of their own.
pub(super) const HTTP: [Hook; 2] =
    [hook("tt_http_in", Kind::Cgroup, INGRESS), hook("tt_http_out", Kind::Cgroup, EGRESS)];

/// Hooks of the programs for the plain text of TLS, which are an object of their own. These are attached when the
/// object is loaded.
pub(super) const TLS: [Hook; 4] = [
    hook("tt_tls_send", Kind::Tracepoint, "sock_send_length"),
    hook("tt_tls_recv", Kind::Tracepoint, "sock_recv_length"),
    hook("tt_tls_exec", Kind::Tracepoint, "sched_process_exec"),
    hook("tt_tls_fork", Kind::Tracepoint, "sched_process_fork"),
];

/// Hooks on functions of TLS libraries, attached in selected processes.
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

/// Hooks of the programs that take stacks, which are an object of their own.
pub(super) const STACKS: [Hook; 3] = [
    hook("tt_stack_send", Kind::Tracepoint, "sock_send_length"),
    hook("tt_stack_recv", Kind::Tracepoint, "sock_recv_length"),
    hook("tt_stack_claim", Kind::Tracepoint, "tcp_rcv_space_adjust"),
];

/// Notes which thread receives without a call that reports it, for the last of [`STACKS`]. Attached only while a
/// session wants stacks.
pub(super) const STACKS_CLAIM: Hook = hook("tt_claim", Kind::Tracepoint, "tcp_rcv_space_adjust");

/// Sees the source of messages that ping and raw sockets receive.
pub(super) const ICMP_RECV: Hook = hook("tt_icmp_recv", Kind::Tracepoint, "consume_skb");

/// Sees open files, and thereby sockets, that a process receives from another one. Attached if function entries can be
/// hooked.
const GIVEN: Hook = if_possible("tt_fe_receive", Kind::Fentry, "security_file_receive");

const TRACEPOINTS: &[Hook] = &[
    hook("tt_send", Kind::Tracepoint, "sock_send_length"),
    hook("tt_recv", Kind::Tracepoint, "sock_recv_length"),
    // In Linux 6.3 and 6.4, sendfile() bypasses the tracepoint sock_send_length and calls this function.
    if_there("tt_fx_page", Kind::Fexit, "inet_sendpage"),
    GIVEN,
];

const AT_CGROUPS: &[Hook] = &[PEERS[0], PEERS[1], PEERS[2], PEERS[3], RELEASE];

/// The second plan is for kernels whose programs on cgroups have no task storage (until Linux 6.12).
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
    // This function exists up to Linux 6.4, where sendfile() calls it.
    if_there("tt_fx_page", Kind::Fexit, "inet_sendpage"),
    hook("tt_fe_release", Kind::Fentry, "inet_release"),
    GIVEN,
];

/// The second plan is for Linux 5.10 and 5.11, which cannot follow typed pointers to a socket's cookie.
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
