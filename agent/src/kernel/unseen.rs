//! Traffic that cannot be seen on this machine, whatever a session asks for. `check`, `top`, reports and statuses share
//! this list.

use std::{fs, sync::OnceLock};

use super::{HookTier, Tracer, older::sees_all_processes, twins::skipped_calls};

/// A gap: something that is not counted, or that is not known in full.
#[derive(Debug, PartialEq, Eq)]
pub struct Unseen {
    /// Short name, as in reports and statuses.
    pub name: &'static str,
    /// Explanation in plain words.
    pub meaning: &'static str,
}

static HANDED_BEFORE: Unseen = Unseen {
    name: "SocketsHandedBefore",
    meaning: "Sockets of other containers or services that a process was handed before the trace began.",
};
static PASSED_LATER: Unseen = Unseen {
    name: "SocketsPassedLater",
    meaning: "Sockets that another container or service passes to a running process after the trace began.",
};
static SPLICED_FIRST: Unseen = Unseen {
    name: "SplicedFirst",
    meaning: "What is spliced, or received without a copy, from a connection older than the trace before anything else \
              of it is read; and until it ends, an accepted connection of which nothing else is done.",
};
static SPLICED_BY: Unseen = Unseen {
    name: "SplicedBy",
    meaning: "Which of several processes that share a socket spliced, received without a copy, or waits in a receive \
              that is half filled (MSG_WAITALL): the bytes are credited to the one that used the socket last, or that \
              has it open.",
};
static SPLICED_URGENT: Unseen = Unseen {
    name: "SplicedUrgent",
    meaning: "What is spliced, or received without a copy, from a connection after it had an urgent byte (MSG_OOB).",
};
static CALLS_UNDER_WAY: Unseen = Unseen {
    name: "CallsUnderWay",
    meaning: "What a call had moved that was under way when the first trace of the node began.",
};
static FAST_OPEN: Unseen = Unseen {
    name: "FastOpenFirstBytes",
    meaning: "Bytes that TCP Fast Open sends with the first packet of a connection that is refused.",
};
static URGENT_BYTES: Unseen = Unseen {
    name: "UrgentBytes",
    meaning: "Whether an urgent byte (MSG_OOB) was received: it counts when the stream passes it.",
};
static KERNEL_TLS_SPLICE: Unseen =
    Unseen { name: "KernelTlsSplice", meaning: "What is spliced out of a connection that uses kernel TLS." };
static SKIPPED: Unseen = Unseen {
    name: "SkippedEvents",
    meaning: "The kernel skips events now and then; `missedEvents` counts those of UDP, ICMP, MPTCP and kernel TLS \
              whose bytes may be missing.",
};
static MPTCP_SPLICE: Unseen =
    Unseen { name: "MptcpSplice", meaning: "What is spliced out of an MPTCP connection." };
static SKIPPED_CALLS: Unseen = Unseen {
    name: "SkippedCalls",
    meaning: "Who made a TCP call that the kernel skipped, as it has since the programs were loaded: the bytes are \
              credited to the process that used the connection last, some of them only when it ends. Of a call or \
              a connection whose beginning was not seen, what it had moved by the first event that was seen can be missing.",
};
static SKIPPED_WHERE_PREEMPTIBLE: Unseen = Unseen {
    name: "SkippedEvents",
    meaning: "Where the kernel is fully preemptible it skips events now and then; `missedEvents` counts those of UDP, \
              ICMP, MPTCP and kernel TLS whose bytes may be missing.",
};
static CONCURRENT_CALLS: Unseen = Unseen {
    name: "ConcurrentCalls",
    meaning: "UDP, ICMP, MPTCP and kernel-TLS calls of which more run at one moment than the kernel has return probes \
              for (twice the CPUs, at least 10; before Linux 5.17 without preemption, as many as CPUs).",
};
static KERNEL_TLS_ONE_WAY: Unseen = Unseen {
    name: "KernelTlsOneWay",
    meaning: "What a connection with kernel TLS moves in a direction that has no key.",
};
static TLS_LOADED_LATER: Unseen = Unseen {
    name: "KernelTlsLoadedLater",
    meaning: "Kernel TLS, when its module is loaded after the first trace has begun.",
};

/// Returns true if this kernel splices data out of an MPTCP connection without the receive call (Linux 7).
fn mptcp_splices() -> bool {
    static SPLICES: OnceLock<bool> = OnceLock::new();
    *SPLICES.get_or_init(|| {
        fs::read_to_string("/proc/kallsyms").is_ok_and(|symbols| symbols.contains(" mptcp_splice_read"))
    })
}

impl Tracer {
    /// Lists the gaps of this machine.
    pub fn not_seen(&self) -> Vec<&'static Unseen> {
        let by_tier: &[&Unseen] = match self.tier {
            HookTier::TpBtf if self.hooks.twins.any() || self.missed_events() > 0 => {
                &[&SPLICED_BY, &SPLICED_URGENT, &KERNEL_TLS_SPLICE, &SKIPPED]
            }
            HookTier::TpBtf => &[&SPLICED_BY, &SPLICED_URGENT, &KERNEL_TLS_SPLICE],
            HookTier::Fexit => &[
                &CALLS_UNDER_WAY,
                &SPLICED_BY,
                &SPLICED_URGENT,
                &KERNEL_TLS_SPLICE,
                &SKIPPED_WHERE_PREEMPTIBLE,
            ],
            HookTier::Kretprobe => &[
                &CALLS_UNDER_WAY,
                &FAST_OPEN,
                &URGENT_BYTES,
                &KERNEL_TLS_SPLICE,
                &CONCURRENT_CALLS,
                &KERNEL_TLS_ONE_WAY,
                &TLS_LOADED_LATER,
            ],
        };
        let all = sees_all_processes();
        let by_machine = [
            (&HANDED_BEFORE, all),
            (&PASSED_LATER, self.sees_given),
            // The kprobes on a socket's lock keep the socket's counters before anything is read from it.
            (&SPLICED_FIRST, all || self.tier == HookTier::Kretprobe),
            (&SKIPPED_CALLS, !skipped_calls(&self.ebpf)),
            (&MPTCP_SPLICE, !mptcp_splices()),
        ];
        let by_machine = by_machine.into_iter().filter(|(_, seen)| !seen).map(|(what, _)| what);
        by_machine.chain(by_tier.iter().copied()).collect()
    }
}
