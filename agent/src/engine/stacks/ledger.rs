//! The stacks of a session.

use std::collections::HashMap;

use crate::{
    engine::session::Session,
    flows::{Key, Totals},
    stacks::profile::{Owner, Profile, Sums},
};

/// The stacks that were taken for a session.
#[derive(Debug)]
pub(in crate::engine) struct StackLedger {
    /// Number of this ledger, which is never reused.
    pub(super) number: u64,
    pub(super) profile: Profile,
    /// Sums of each process at the time when the session began to ask for stacks.
    pub(super) before: HashMap<Owner, Totals>,
    /// Number of stacks lost for all sessions when the session began to ask for stacks, or when its profile was last
    /// reported.
    pub(super) lost_before: u64,
}

pub(super) fn owner_of(key: &Key) -> Owner {
    Owner { cgroup: key.cgroup, pid: key.pid, command: key.command }
}

impl Session {
    /// Calls `book`, which adds counts from before the session asked for stacks, and keeps these from counting as
    /// traffic without a stack.
    pub(in crate::engine) fn seed_stacks(&mut self, book: impl FnOnce(&mut Self)) {
        let before = self.stacks.is_some().then(|| self.ledger.sums(owner_of));
        book(self);
        let (Some(before), Some(stacks)) = (before, &mut self.stacks) else { return };
        for (owner, now) in self.ledger.sums(owner_of) {
            let moved = since(&now, before.get(&owner));
            stacks.before.entry(owner).or_default().add(&moved);
        }
    }

    /// Returns the traffic of each process since the session asked for stacks.
    pub(super) fn stack_sums(&self) -> Vec<Sums> {
        let Some(stacks) = &self.stacks else { return Vec::new() };
        let sums = self.ledger.sums(owner_of).into_iter().map(|(owner, now)| {
            let Totals { tx_bytes, tx_calls, rx_bytes, rx_calls, .. } =
                since(&now, stacks.before.get(&owner));
            Sums { owner, sent: (tx_bytes, tx_calls), received: (rx_bytes, rx_calls) }
        });
        sums.collect()
    }
}

/// Returns the bytes and calls since an earlier sum.
fn since(now: &Totals, before: Option<&Totals>) -> Totals {
    let before = before.copied().unwrap_or_default();
    Totals {
        rx_bytes: now.rx_bytes.saturating_sub(before.rx_bytes),
        tx_bytes: now.tx_bytes.saturating_sub(before.tx_bytes),
        rx_calls: now.rx_calls.saturating_sub(before.rx_calls),
        tx_calls: now.tx_calls.saturating_sub(before.tx_calls),
        ..Totals::default()
    }
}
