//! The cases: each does one thing with sockets and books what its own calls returned.

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

/// One case.
pub struct Case {
    /// Group, operation, variant.
    pub name: String,
    /// When it runs.
    pub when: When,
    /// Protocols that the product is asked for, where it is not asked for everything.
    pub protocol: Option<&'static str>,
    /// Does it; runs in a process of its own inside the selected cgroup.
    pub run: Box<dyn Fn(&mut Stage) -> Done>,
}

/// When a case runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// It does something before the trace begins, and calls [`Stage::await_trace`] once then; afterwards it is as
    /// [`When::Together`].
    Before,
    /// At the same time as others, since it waits: for documents of the product, or for the kernel's timers.
    Together,
    /// After those, one at a time.
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

/// Cases that may differ where the product says that it does not see what they do.
#[derive(Debug)]
pub struct Excused {
    /// The beginning of the cases' names.
    pub cases: &'static str,
    /// The product's name for what it does not see.
    pub limit: &'static str,
    /// What may differ.
    pub what: Excuse,
}

/// What may differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excuse {
    /// Bytes may be missing.
    Bytes,
    /// Each flow has all of its bytes, but a process may be shown those of another one that shares the socket.
    Process,
}

/// The product's name for events that the kernel skips. It counts them, and excuses nothing as long as there are none.
pub const SKIPPED_EVENTS: &str = "SkippedEvents";

/// All of them.
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
