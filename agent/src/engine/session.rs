//! What a session selects, and what the engine keeps of it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::PathBuf,
    time::Instant,
};

use traffictrace_ebpf::layout::{self, Overflow, OverflowKey};

use super::{HttpSpec, Losses, StackSpec, containers::Containers, http::HttpLedger, stacks::StackLedger};
use crate::flows::{Filter, GroupBy, Ledger};

/// Name of a session: the UID of its trace.
pub type SessionId = String;

/// The kind of a selected cgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupKind {
    /// A pod's: each cgroup directly below is a container, and rows are booked to that one.
    Pod,
    /// A container's, or any other whose whole tree is one to the user.
    Container,
}

/// A cgroup that a session selects, with everything below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectedCgroup {
    /// What the cgroup is to the user.
    pub kind: CgroupKind,
    /// The cgroup's folder, relative to the root of the cgroup2 tree.
    pub path: PathBuf,
}

/// What a session selects and how it is shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionSpec {
    /// What it wants of the selected sockets' traffic.
    pub filter: Filter,
    /// What makes one row. Cannot change.
    pub group_by: GroupBy,
    /// Selected cgroups by id.
    pub cgroups: BTreeMap<u64, SelectedCgroup>,
    /// Processes selected by id, and whether their future children are too.
    pub processes: BTreeMap<u32, bool>,
    /// Maximum number of rows; beyond that the ones that closed first fold together.
    pub max_rows: usize,
    /// What it wants of HTTP; absent: nothing.
    pub http: Option<HttpSpec>,
    /// What it wants of the stacks of its traffic; absent: nothing.
    pub stacks: Option<StackSpec>,
}

impl SessionSpec {
    /// Whether it selects a cgroup or process that another selection does not.
    pub(super) fn selects_more_than(&self, old: &Self) -> bool {
        self.cgroups.keys().any(|id| !old.cgroups.contains_key(id))
            || self.processes.keys().any(|pid| !old.processes.contains_key(pid))
    }

    /// Whether it selects a cgroup by itself or by one above it. A cgroup of which nothing is known counts as selected.
    pub(super) fn selects(&self, cgroup: u64, parent_of: impl Fn(u64) -> Option<u64>) -> bool {
        let mut level = cgroup;
        while !self.cgroups.contains_key(&level) {
            match parent_of(level) {
                None => return true,
                Some(0) => return false,
                Some(parent) => level = parent,
            }
        }
        true
    }

    /// Whether a TCP flow alone tells, by its slot in the flow table, that it is wanted: its cgroup is not enough.
    pub(super) fn needs_slot(&self) -> bool {
        !self.processes.is_empty() || !self.filter.wants_all_tcp()
    }

    /// Whether it wants the plain text of TLS.
    pub(super) fn wants_tls(&self) -> bool {
        self.http.as_ref().is_some_and(|http| http.tls)
    }

    /// Whether it selects any cgroup or process.
    pub(super) fn selects_anything(&self) -> bool {
        !self.cgroups.is_empty() || !self.processes.is_empty()
    }

    /// The protocols that the filter lets pass, as the kernel's bits.
    pub(super) fn protocols(&self) -> u32 {
        match self.filter.to_kernel().protocols {
            0 => layout::TCP | layout::UDP | layout::ICMP,
            some => some,
        }
    }
}

/// A session of the engine.
#[derive(Debug)]
pub(super) struct Session {
    /// Its bit in the kernel's words of sessions.
    pub(super) number: u8,
    pub(super) spec: SessionSpec,
    /// The protocols that its filter has ever let pass. Sockets of those may still have slots.
    pub(super) protocols: u32,
    pub(super) ledger: Ledger,
    pub(super) containers: Containers,
    /// While it wants HTTP.
    pub(super) http: Option<HttpLedger>,
    /// While it wants stacks.
    pub(super) stacks: Option<StackLedger>,
    /// Whether it goes on from what was shown before this process began.
    pub(super) resumed: bool,
    /// Whether sockets older than the session were looked for in all processes of the machine.
    pub(super) older_sockets_found: bool,
    pub(super) losses_before: Losses,
    pub(super) overflow_before: HashMap<OverflowKey, Overflow>,
    /// Cgroups of sockets of TCP flows that found no room in the flow table since the session began.
    pub(super) crowded_out: BTreeSet<u64>,
    pub(super) shown: Instant,
}

impl Session {
    /// Whether a word of sessions has this one.
    pub(super) fn is_in(&self, sessions: u64) -> bool {
        sessions >> self.number & 1 == 1
    }
}
