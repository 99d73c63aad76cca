//! Reports of traces.

use std::path::Path;

use traffictrace_crd::TrafficTraceReport;

use super::{Action, Now, State};
use crate::node::counter::Counter;
use crate::node::session::{Stand, Tracked};
use crate::report::{Counted, Inputs, Outcome, report};
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

    /// Returns the current report of a trace, or `None` if this node does not report on it.
    pub(super) fn make_report(&mut self, uid: &Uid, is_final: bool, now: Now) -> Option<TrafficTraceReport> {
        self.go_on(uid);
        let Tracked { trace, stand, .. } = self.traces.get(uid)?;
        let counted = match stand {
            Stand::Counting(session) => {
                let flows = self.counter.snapshot(uid, session.rows(trace))?;
                let http = trace.http.as_ref().and_then(|_| self.counter.http(uid));
                Some(Counted { flows, http })
            }
            Stand::Idle | Stand::Refused(..) | Stand::Ended => None,
        };
        if let Some(counted) = &counted {
            self.name_rows(counted);
        }
        let tracked = self.traces.get(uid)?;
        let Tracked { trace, stand, .. } = tracked;
        let outcome = match (stand, &counted) {
            (Stand::Counting(_), Some(counted)) => Outcome::Counted(counted),
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
            not_enforced: &tracked.all_not_enforced(&self.settings),
            clock_offset: self.clock_offset,
            stacks: session.profile.last.as_ref(),
            outcome,
            is_final,
            now: now.time,
        }))
    }

    /// Looks up the folder names of cgroups that existed too briefly to be found in the tree. The kernel programs have
    /// recorded them.
    fn name_rows(&mut self, counted: &Counted) {
        let flows = counted.flows.rows.iter().map(|row| row.key.cgroup);
        let http = counted.http.iter();
        let endpoints = http.clone().flat_map(|http| http.rows.iter().map(|row| row.owner.cgroup));
        let tls = http.flat_map(|http| http.tls.iter().map(|process| process.owner.cgroup));
        for cgroup in flows.chain(endpoints).chain(tls) {
            if !self.identities.knows(cgroup)
                && let Some(folder) = self.counter.container_folder(cgroup)
            {
                self.identities.saw_folder(cgroup, Path::new(&folder));
            }
        }
    }
}
