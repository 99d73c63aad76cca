//! Profiles of traces that ask for stacks.

use std::path::Path;

use super::{Action, Now, State};
use crate::node::counter::Counter;
use crate::node::session::{Session, Stand, Tracked};
use crate::report::{Owned, closing_profile, is_wanted, profile};
use crate::session::Uid;

impl<C: Counter> State<C> {
    /// Makes the profile of a trace up to now, and sets the time of the next one. The profile is written if it has
    /// changed or is the last one.
    pub(super) fn profile(&mut self, uid: &Uid, is_final: bool, now: Now) {
        self.go_on(uid);
        if !self.profile_of_run(uid, is_final, now) && is_final {
            self.close_profile(uid, now);
        }
    }

    /// Makes the profile of this run of counting. Returns false if there is none.
    fn profile_of_run(&mut self, uid: &Uid, is_final: bool, now: Now) -> bool {
        let Self { traces, counter, identities, .. } = self;
        let Some(Tracked { trace, stand: Stand::Counting(session), .. }) = traces.get_mut(uid) else {
            return false;
        };
        session.profile.made(now);
        let mut owner_of = |cgroup: u64, folder: &dyn Fn() -> Option<String>| {
            if !identities.knows(cgroup)
                && let Some(folder) = folder()
            {
                identities.saw_folder(cgroup, Path::new(&folder));
            }
            let owned = identities.resolve(cgroup);
            if !is_wanted(trace, owned.as_ref()) {
                return None;
            }
            let named = owned.map(|Owned { pod, container }| {
                let pod = format!("{}/{pod}", trace.namespace);
                Owned { pod, container }
            });
            Some(named.unwrap_or_default())
        };
        let Some(profiled) = counter.profile(uid, &mut owner_of) else { return false };
        let totals = profiled.totals();
        let is_new = session.profile.last.as_ref().map_or(totals.bytes > 0, |last| *last != totals);
        session.profile.last = Some(totals);
        if is_new || is_final {
            let (began, epoch) = (session.profile.began, session.history.epoch);
            let profile = profile(trace, &self.settings.node, epoch, (began, now.time), is_final, profiled);
            self.actions.push(Action::Profile(Box::new(profile)));
        }
        true
    }

    /// Marks the profile of earlier runs as final. This is needed if no stacks are taken at the trace's end: the
    /// session was given to another trace, the kernel refused the trace, or a later agent may not take stacks.
    fn close_profile(&mut self, uid: &Uid, now: Now) {
        let Some(Tracked { trace, stand, .. }) = self.traces.get(uid) else { return };
        let (epoch, has_one) = match stand {
            Stand::Counting(Session { history, profile, .. }) => {
                (history.epoch, history.stacks_before.is_some() || profile.last.is_some())
            }
            Stand::Refused(Session { history, .. }, refusal) => {
                (history.epoch, refusal.kept.as_ref().is_some_and(|kept| kept.stacks.is_some()))
            }
            Stand::Idle | Stand::Ended => return,
        };
        if has_one {
            let epoch = epoch.saturating_add(1);
            let profile = closing_profile(trace, &self.settings.node, epoch, now.time);
            self.actions.push(Action::Profile(Box::new(profile)));
        }
    }
}
