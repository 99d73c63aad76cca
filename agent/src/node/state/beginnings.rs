//! What was there when the agent began: what its first list of a kind has.
//!
//! Times alone cannot tell. The API server's are whole seconds, and a clock that is off is known to a second or so.

use std::collections::BTreeSet;

use crate::session::Uid;

/// The objects of one kind that were there when the agent began.
#[derive(Debug, Default)]
pub(super) struct FirstList {
    uids: BTreeSet<Uid>,
    complete: bool,
}

impl FirstList {
    /// Takes note of an object, which is of the first list unless that is complete.
    pub(super) fn note(&mut self, uid: &Uid) {
        if !self.complete {
            self.uids.insert(uid.clone());
        }
    }

    /// Whatever comes from now on was made since.
    pub(super) fn close(&mut self) {
        self.complete = true;
    }

    /// Returns whether an object may have been there. As long as the list is not complete, every one may.
    pub(super) fn may_have(&self, uid: &Uid) -> bool {
        !self.complete || self.uids.contains(uid)
    }

    /// Forgets an object that is gone.
    pub(super) fn forget(&mut self, uid: &Uid) {
        self.uids.remove(uid);
    }
}
