//! The cases: each does one thing with sockets and records the results of its own calls.

mod again;
mod blocked;
mod breaks;
mod crowd;
mod datagrams;
mod ends;
mod errors;
mod fastopen;
mod mptcp;
mod network;
mod older;
mod older_calls;
mod opening;
mod ping;
mod proxy;
mod shared;
pub(super) mod streams;
mod tls;
mod turns;
mod urgent;

use super::{error::Done, stage::Stage};

/// A case of the suite.
pub struct Case {
    /// Name in the form `group/operation/variant`.
    pub name: String,
    /// Phase of the run in which the case runs.
    pub when: When,
    /// Protocol that the `top` of this case is asked for; `None` if it is asked for all.
    pub protocol: Option<&'static str>,
    /// Function of the case; it runs in a process of its own inside the selected cgroup.
    pub run: Box<dyn Fn(&mut Stage) -> Done>,
}

/// The phase of the run in which a case runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// The case does something before the trace begins, then calls [`Stage::await_trace`] once, and goes on as with
    /// [`When::Together`].
    Before,
    /// The case runs at the same time as others, since it spends most of its time waiting: for documents (JSON
    /// snapshots) of `top`, or for the kernel's timers.
    Together,
    /// The case runs alone, after those of the other phases.
    Alone,
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Case").field("name", &self.name).field("when", &self.when).finish_non_exhaustive()
    }
}

impl Case {
    pub(super) fn new(name: impl Into<String>, run: impl Fn(&mut Stage) -> Done + 'static) -> Self {
        Self { name: name.into(), when: When::Alone, protocol: None, run: Box::new(run) }
    }

    fn older(name: impl Into<String>, run: impl Fn(&mut Stage) -> Done + 'static) -> Self {
        Self { when: When::Before, ..Self::new(name, run) }
    }

    fn waiting(name: impl Into<String>, run: impl Fn(&mut Stage) -> Done + 'static) -> Self {
        Self { when: When::Together, ..Self::new(name, run) }
    }
}

/// Cases whose results may differ on kernels for which the product declares a limit.
#[derive(Debug)]
pub struct Excused {
    /// Beginning of the cases' names.
    pub cases: &'static str,
    /// Name of the limit in the product's list of what it does not see.
    pub limit: &'static str,
    /// Kind of difference that is allowed.
    pub what: Excuse,
}

/// The difference that is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excuse {
    /// Bytes may be missing.
    Bytes,
    /// Each flow has all of its bytes, but they may be shown for another process that shares the socket.
    Process,
}

/// The product's name for the limit that the kernel may skip its programs. The product counts such events, and the
/// limit excuses a difference only if there were any.
pub const SKIPPED_EVENTS: &str = "SkippedEvents";

/// All excused cases.
pub const EXCUSED: &[Excused] = &[
    Excused { cases: "cgroup/passed-into-the-cgroup", limit: "SocketsPassedLater", what: Excuse::Bytes },
    Excused { cases: "shared/splice-", limit: "SplicedBy", what: Excuse::Process },
    Excused { cases: "", limit: "SkippedCalls", what: Excuse::Process },
    Excused { cases: "older/blocked-in-", limit: "CallsUnderWay", what: Excuse::Bytes },
    Excused { cases: "older/blocked-in-", limit: "SkippedCalls", what: Excuse::Bytes },
    Excused { cases: "fastopen/", limit: "SkippedCalls", what: Excuse::Bytes },
    Excused { cases: "udp/", limit: SKIPPED_EVENTS, what: Excuse::Bytes },
    Excused { cases: "icmp/", limit: SKIPPED_EVENTS, what: Excuse::Bytes },
    Excused { cases: "mptcp/", limit: SKIPPED_EVENTS, what: Excuse::Bytes },
    Excused { cases: "fastopen/refused-", limit: "FastOpenFirstBytes", what: Excuse::Bytes },
    Excused { cases: "breaks/process-killed-splice", limit: "SplicedBy", what: Excuse::Process },
    Excused { cases: "blocked/waitall", limit: "SplicedBy", what: Excuse::Process },
    Excused { cases: "urgent/skipped-after-splice", limit: "SplicedUrgent", what: Excuse::Bytes },
    Excused { cases: "urgent/", limit: "UrgentBytes", what: Excuse::Bytes },
    Excused { cases: "mptcp/", limit: "MptcpSplice", what: Excuse::Bytes },
    Excused { cases: "tls/splice-out", limit: "KernelTlsSplice", what: Excuse::Bytes },
    Excused { cases: "tls/without-keys", limit: "KernelTlsOneWay", what: Excuse::Bytes },
    Excused { cases: "tls/one-direction", limit: "KernelTlsOneWay", what: Excuse::Bytes },
    Excused { cases: "tls/encrypts-only", limit: "KernelTlsOneWay", what: Excuse::Bytes },
    Excused { cases: "tls/decrypts-only", limit: "KernelTlsOneWay", what: Excuse::Bytes },
    Excused { cases: "tls/", limit: SKIPPED_EVENTS, what: Excuse::Bytes },
];

/// Every case, in the order in which they run.
pub fn all() -> Vec<Case> {
    [
        older::cases(),
        older_calls::cases(),
        streams::cases(),
        datagrams::cases(),
        errors::cases(),
        ends::cases(),
        shared::cases(),
        blocked::cases(),
        proxy::cases(),
        turns::cases(),
        again::cases(),
        breaks::cases(),
        opening::cases(),
        fastopen::cases(),
        urgent::cases(),
        tls::cases(),
        mptcp::cases(),
        ping::cases(),
        crowd::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
