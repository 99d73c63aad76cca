//! A session: its specification, and its state in the engine.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::PathBuf,
    time::Instant,
};

use traffictrace_ebpf::layout::{self, Overflow, OverflowKey};

use super::{HttpSpec, Losses, StackSpec, containers::Containers, http::HttpLedger, stacks::StackLedger};
use crate::flows::{Filter, GroupBy, Ledger};

/// Id of a session: the UID of its trace.
pub type SessionId = String;

/// The kind of a selected cgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupKind {
    /// A pod's cgroup. Each cgroup directly below it is a container, and rows belong to containers.
    Pod,
    /// A container's cgroup, or any other whose whole subtree is one unit to the user.
    Container,
    /// A cgroup above many containers and services. Rows belong to the socket's own cgroup, or to the container around
    /// it if that is selected as well.
    Tree,
}

/// A cgroup that a session selects, with everything below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectedCgroup {
    /// The meaning of the cgroup to the user.
    pub kind: CgroupKind,
    /// The cgroup's folder, relative to the root of the cgroup2 tree.
    pub path: PathBuf,
}

/// Specification of a session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionSpec {
    /// The traffic of the selected sockets that the session wants.
    pub filter: Filter,
    /// The grouping of flows into rows, which cannot change.
    pub group_by: GroupBy,
    /// Selected cgroups by id.
    pub cgroups: BTreeMap<u64, SelectedCgroup>,
    /// Processes selected by id. The value is true if their future children are selected, too.
    pub processes: BTreeMap<u32, bool>,
    /// Maximum number of rows. Beyond it, the rows that closed first are folded together.
    pub max_rows: usize,
    /// Settings for HTTP, or `None` if the session does not want requests.
    pub http: Option<HttpSpec>,
    /// Settings for stacks, or `None` if the session does not want stacks.
    pub stacks: Option<StackSpec>,
}

impl SessionSpec {
    /// Returns true if this selects a cgroup or process that `old` does not.
    pub(super) fn selects_more_than(&self, old: &Self) -> bool {
        self.cgroups.keys().any(|id| !old.cgroups.contains_key(id))
            || self.processes.keys().any(|pid| !old.processes.contains_key(pid))
    }

    /// Returns true if this selects a cgroup or one of its ancestors. A cgroup whose ancestors are unknown counts as
    /// selected.
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

    /// Returns true if the slot of a TCP flow is needed to decide whether the session wants the flow, because the
    /// flow's cgroup does not tell.
    pub(super) fn needs_slot(&self) -> bool {
        !self.processes.is_empty() || !self.filter.wants_all_tcp()
    }

    /// Returns true if the plain text of TLS is wanted.
    pub(super) fn wants_tls(&self) -> bool {
        self.http.as_ref().is_some_and(|http| http.tls)
    }

    /// Returns true if any cgroup or process is selected.
    pub(super) fn selects_anything(&self) -> bool {
        !self.cgroups.is_empty() || !self.processes.is_empty()
    }

    /// The protocols that pass the filter, as the kernel's bits.
    pub(super) fn protocols(&self) -> u32 {
        match self.filter.to_kernel().protocols {
            0 => layout::TCP | layout::UDP | layout::ICMP,
            some => some,
        }
    }
}

/// State of a session in the engine.
#[derive(Debug)]
pub(super) struct Session {
    /// Position of the session's bit in the kernel's masks of sessions.
    pub(super) number: u8,
    pub(super) spec: SessionSpec,
    /// The protocols that have ever passed the session's filter. Their sockets may still have slots, so their hooks
    /// stay attached.
    pub(super) protocols: u32,
    pub(super) ledger: Ledger,
    pub(super) containers: Containers,
    /// Present while the session wants HTTP.
    pub(super) http: Option<HttpLedger>,
    /// Present while the session wants stacks.
    pub(super) stacks: Option<StackLedger>,
    /// Set if the session continues from counts of before this process began.
    pub(super) resumed: bool,
    /// Set if sockets older than the session were looked for in all processes of the machine.
    pub(super) older_sockets_found: bool,
    /// Losses of the node when the session began.
    pub(super) losses_before: Losses,
    /// Values of the overflow rows (sums of events that found no slot) when they were last added to the ledger; at
    /// first, when the session began.
    pub(super) overflow_before: HashMap<OverflowKey, Overflow>,
    /// Cgroups of TCP sockets whose flows found no room in the flow table since the session began.
    pub(super) crowded_out: BTreeSet<u64>,
    /// Time of the last snapshot.
    pub(super) shown: Instant,
}

impl Session {
    /// Returns true if a word of sessions has this session's bit.
    pub(super) fn is_in(&self, sessions: u64) -> bool {
        sessions >> self.number & 1 == 1
    }
}
