//! Objects that existed when the agent began, known from its first list of each kind. If a trace and its pod existed
//! before, the pod's earlier traffic is missing, and the report says so.
//!
//! Creation times cannot tell this, because they are whole seconds, and the offset of this machine's clock is known to
//! about a second only.

use std::collections::BTreeSet;

use crate::session::Uid;

/// The objects of one kind that existed when the agent began.
#[derive(Debug, Default)]
pub(super) struct FirstList {
    uids: BTreeSet<Uid>,
    complete: bool,
}

impl FirstList {
    /// Records an object. It belongs to the first list unless that is complete.
    pub(super) fn note(&mut self, uid: &Uid) {
        if !self.complete {
            self.uids.insert(uid.clone());
        }
    }

    /// Completes the first list. Objects that appear from now on are newer than the agent.
    pub(super) fn close(&mut self) {
        self.complete = true;
    }

    /// Returns true if an object may have existed when the agent began. Until the list is complete, every object may
    /// have.
    pub(super) fn may_have(&self, uid: &Uid) -> bool {
        !self.complete || self.uids.contains(uid)
    }

    /// Forgets an object that is gone.
    pub(super) fn forget(&mut self, uid: &Uid) {
        self.uids.remove(uid);
    }
}
