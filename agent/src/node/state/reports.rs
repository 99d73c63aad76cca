//! Reports of what was counted.

use std::path::Path;

use traffictrace_crd::TrafficTraceReport;

use super::{Action, Now, State};
use crate::engine::Snapshot;
use crate::node::counter::Counter;
use crate::node::session::{Stand, Tracked};
use crate::report::{Inputs, Outcome, report};
use crate::session::Uid;

impl<C: Counter> State<C> {
    /// Reports on a trace now, and sets the time of its next report.
    pub(super) fn report(&mut self, uid: &Uid, is_final: bool, now: Now) {
        let Some(report) = self.make_report(uid, is_final, now) else { return };
        let Some(Tracked { trace, stand, .. }) = self.traces.get_mut(uid) else { return };
        let interval = trace.interval();
        if let Some(session) = stand.session_mut() {
            session.reported(&report.spec, interval, now);
        }
        self.actions.push(Action::Report { report: Box::new(report), interval });
    }

    /// The report of a trace as it stands; nothing for one that is not reported on.
    pub(super) fn make_report(&mut self, uid: &Uid, is_final: bool, now: Now) -> Option<TrafficTraceReport> {
        self.go_on(uid);
        let Tracked { trace, stand, .. } = self.traces.get(uid)?;
        let snapshot = match stand {
            Stand::Counting(session) => Some(self.counter.snapshot(uid, session.rows(trace))?),
            Stand::Idle | Stand::Refused(..) | Stand::Ended => None,
        };
        if let Some(snapshot) = &snapshot {
            self.name_rows(snapshot);
        }
        let Tracked { trace, stand, not_enforced } = self.traces.get(uid)?;
        let outcome = match (stand, &snapshot) {
            (Stand::Counting(_), Some(snapshot)) => Outcome::Counted(snapshot),
            (Stand::Refused(_, refusal), _) => Outcome::Refused(refusal.why.clone(), refusal.kept.as_deref()),
            _ => return None,
        };
        let session = stand.session()?;
        Some(report(&Inputs {
            trace,
            node: &self.settings.node,
            identities: &self.identities,
            history: &session.history,
            active_pods: if is_final { 0 } else { session.active_pods },
            not_visible: &session.not_visible,
            not_enforced: not_enforced.as_deref(),
            clock_offset: self.clock_offset,
            outcome,
            is_final,
            now: now.time,
        }))
    }

    /// Asks the kernel for the folders of cgroups that came and went unseen.
    fn name_rows(&mut self, snapshot: &Snapshot) {
        for row in &snapshot.rows {
            if !self.identities.knows(row.key.cgroup)
                && let Some(folder) = self.counter.container_folder(row.key.cgroup)
            {
                self.identities.saw_folder(row.key.cgroup, Path::new(&folder));
            }
        }
    }
}
