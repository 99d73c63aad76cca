//! The transitions of a trace from one state to the next; the table is in the parent module.

use std::collections::BTreeMap;

use super::{Action, Now, State};
use crate::engine::{EngineError, SessionSpec};
use crate::node::counter::Counter;
use crate::node::session::{GoesOn, ProfileState, Refusal, Session, Stand, Tracked};
use crate::report::{closing, closing_profile};
use crate::session::{self, Planned, Uid};

impl<C: Counter> State<C> {
    /// Moves a trace into the state that the plan asks for.
    pub(super) fn advance(&mut self, uid: &Uid, planned: &Planned, now: Now) {
        let Some(tracked) = self.traces.get_mut(uid) else { return };
        match &mut tracked.stand {
            Stand::Ended => {}
            Stand::Idle => self.begin(uid, planned, now),
            Stand::Counting(_) if planned.refused.is_some() => self.give_way(uid, now),
            Stand::Counting(_) => {
                let mut wanted = planned.spec.clone();
                if tracked.without_http.is_some() {
                    wanted.http = None;
                }
                if tracked.without_stacks.is_some() {
                    wanted.stacks = None;
                }
                if self.counter.spec(uid) != Some(&wanted)
                    && let Err(error) = self.counter.update(uid, wanted)
                {
                    tracing::error!(trace = tracked.trace.label(), "cannot change what is traced: {error}");
                    tracked.not_enforced = Some(format!("the kernel refused the last change: {error}"));
                }
            }
            Stand::Refused(_, refusal) => {
                let due = refusal.retry.is_none_or(|retry| now.running >= retry);
                if planned.refused.is_none() && due {
                    self.retry(uid, &planned.spec, now);
                }
            }
        }
    }

    fn begin(&mut self, uid: &Uid, planned: &Planned, now: Now) {
        let Some(tracked) = self.traces.get(uid) else { return };
        let (label, kept) = (tracked.trace.label(), self.earlier.remove(uid).map(Box::new));
        self.epoch += 1;
        let mut session = Session::new(&tracked.trace, self.epoch, self.spread, now);
        let refused = match planned.refused {
            Some(session::Refusal::TooManySessions) => Some(Refusal::too_many(now)),
            None => self.start(uid, &planned.spec).err().map(|error| Refusal::failed(&error, now)),
        };
        let stand = match refused {
            None => {
                let (pods, cgroups) = (planned.pods.len(), planned.spec.cgroups.len());
                tracing::info!(trace = label, pods, cgroups, "tracing has begun");
                match kept {
                    Some(kept) => {
                        let reason = "AgentRestarted".to_owned();
                        session.goes_on = Some(GoesOn { kept, reason, at: now.time });
                    }
                    None => self.note_late(uid, &mut session, planned, now),
                }
                Stand::Counting(session)
            }
            Some(refusal) => {
                tracing::error!(trace = label, "not traced: {}", refusal.why.message);
                if let Some(kept) = &kept {
                    session.history.inherit(kept);
                }
                Stand::Refused(session, refusal.keeping(kept))
            }
        };
        if let Some(tracked) = self.traces.get_mut(uid) {
            tracked.stand = stand;
        }
    }

    /// Begins to count. If the kernel cannot show HTTP or take stacks, flows are counted all the same.
    fn start(&mut self, uid: &Uid, spec: &SessionSpec) -> Result<(), EngineError> {
        let (without_http, without_stacks) = self.start_with_most(uid, spec)?;
        if let Some(tracked) = self.traces.get_mut(uid) {
            if let Some(error) = &without_http {
                tracing::error!(trace = tracked.trace.label(), "HTTP requests are not counted: {error}");
            }
            if let Some(error) = &without_stacks {
                tracing::error!(trace = tracked.trace.label(), "no stacks are taken: {error}");
            }
            (tracked.without_http, tracked.without_stacks) = (without_http, without_stacks);
        }
        Ok(())
    }

    /// Begins to count with as much of a specification as the kernel accepts. Returns the reasons why HTTP and stacks
    /// are left out, if they are.
    fn start_with_most(
        &mut self,
        uid: &Uid,
        spec: &SessionSpec,
    ) -> Result<(Option<String>, Option<String>), EngineError> {
        let without_http = SessionSpec { http: None, ..spec.clone() };
        let without_stacks = SessionSpec { stacks: None, ..spec.clone() };
        let error = match self.counter.start(uid, spec.clone()) {
            Ok(()) => return Ok((None, None)),
            Err(error @ EngineError::Kernel(_)) => error,
            Err(other) => return Err(other),
        };
        match (spec.http.is_some(), spec.stacks.is_some()) {
            (false, false) => Err(error),
            (true, false) => {
                self.counter.start(uid, without_http)?;
                Ok((Some(error.to_string()), None))
            }
            (false, true) => {
                self.counter.start(uid, without_stacks)?;
                Ok((None, Some(error.to_string())))
            }
            // HTTP, stacks or both may be the cause. Each of the two is tried without the other to get its own error.
            (true, true) => {
                let Err(of_http) = self.counter.start(uid, without_stacks.clone()) else {
                    return Ok((None, Some(error.to_string())));
                };
                let Err(of_stacks) = self.counter.start(uid, without_http) else {
                    return Ok((Some(error.to_string()), None));
                };
                self.counter.start(uid, SessionSpec { http: None, ..without_stacks })?;
                Ok((Some(of_http.to_string()), Some(of_stacks.to_string())))
            }
        }
    }

    /// Adds the counts of the earlier report that the session continues, unless they were added before.
    pub(super) fn go_on(&mut self, uid: &Uid) {
        let Some(Tracked { trace, stand, .. }) = self.traces.get_mut(uid) else { return };
        let Stand::Counting(session) = stand else { return };
        let Some(GoesOn { kept, reason, at }) = session.goes_on.take() else { return };
        let resumed = session.history.resume(&kept, &trace.namespace, &mut self.identities);
        session.profile.last = None;
        self.counter.seed(uid, &resumed.totals, resumed.rows);
        if let Some(http) = resumed.http {
            self.counter.seed_http(uid, &http.rows, &http.rest);
        }
        // The report of a refused trace does not show when counting stopped, so the gap begins when this node began to
        // trace.
        let since = if kept.refused.is_some() { &kept.start_time } else { &kept.update_time };
        session.history.interrupted(&reason, since.as_ref().map(|time| time.0), at);
    }

    /// Records an interruption if the trace and some of its pods existed before this agent began. The earlier traffic
    /// of these pods is unknown.
    fn note_late(&self, uid: &Uid, session: &mut Session, planned: &Planned, now: Now) {
        let Some(started) = self.traces.get(uid).and_then(|tracked| tracked.trace.started) else { return };
        if !self.first_traces.may_have(uid) {
            return;
        }
        let older = planned.pods.iter().filter(|uid| self.first_pods.may_have(uid));
        let oldest = older.filter_map(|uid| self.pods.get(uid)).map(|pod| pod.created).min();
        if let Some(since) = oldest.map(|created| created.max(started)).filter(|since| *since < self.began) {
            session.history.interrupted("AgentStartedLate", Some(since), now.time);
        }
    }

    /// Stops a trace's session, so that a trace of another namespace can have it. Reports go on to show the counts so
    /// far.
    fn give_way(&mut self, uid: &Uid, now: Now) {
        self.profile(uid, false, now);
        let kept = self.make_report(uid, false, now).map(|report| Box::new(report.spec));
        self.counter.stop(uid);
        let Some(tracked) = self.traces.get_mut(uid) else { return };
        tracing::warn!(trace = tracked.trace.label(), "the trace gives its session to another namespace's");
        if let Stand::Counting(mut session) = std::mem::replace(&mut tracked.stand, Stand::Idle) {
            session.due = now.running;
            tracked.stand = Stand::Refused(session, Refusal::too_many(now).keeping(kept));
        }
    }

    fn retry(&mut self, uid: &Uid, spec: &SessionSpec, now: Now) {
        let started = self.start(uid, spec);
        let Some(tracked) = self.traces.get_mut(uid) else { return };
        let Stand::Refused(mut session, refusal) = std::mem::replace(&mut tracked.stand, Stand::Idle) else {
            return;
        };
        session.due = now.running;
        let stand = match started {
            Err(error) => Stand::Refused(
                session,
                Refusal { since: refusal.since, ..Refusal::failed(&error, now) }.keeping(refusal.kept),
            ),
            Ok(()) => {
                tracing::info!(trace = tracked.trace.label(), "tracing has begun at another try");
                self.epoch += 1;
                session.history.epoch = self.epoch;
                session.profile = ProfileState::new(now);
                match refusal.kept {
                    Some(kept) => {
                        let reason = refusal.why.reason;
                        session.goes_on = Some(GoesOn { kept, reason, at: now.time });
                    }
                    None => {
                        session.history.interrupted(&refusal.why.reason, Some(refusal.since), now.time);
                    }
                }
                Stand::Counting(session)
            }
        };
        if let Some(tracked) = self.traces.get_mut(uid) {
            tracked.stand = stand;
        }
    }

    /// Ends a trace whose time is over and that this agent has not traced. The report and the profile of an earlier
    /// agent, if there are any, are marked as final.
    pub(super) fn close(&mut self, uid: &Uid, now: Now) {
        let last = self.earlier.remove(uid).filter(|last| !last.is_final);
        let Some(tracked) = self.traces.get_mut(uid) else { return };
        tracked.stand = Stand::Ended;
        // The agent that wrote the report is gone, so this agent marks the report as final.
        if let Some(last) = last {
            if last.stacks.is_some() {
                // The profile has no stacks of its own; the writer adds those of the earlier agent.
                let epoch = last.epoch.saturating_add(1);
                let profile = closing_profile(&tracked.trace, &self.settings.node, epoch, now.time);
                self.actions.push(Action::Profile(Box::new(profile)));
            }
            let report = Box::new(closing(&last, &tracked.trace, now.time));
            self.actions.push(Action::Report { report, interval: tracked.trace.interval() });
        }
    }

    /// Ends a trace here, either for good or until another agent continues.
    pub(super) fn end(&mut self, uid: &Uid, is_final: bool, now: Now) {
        let Some(tracked) = self.traces.get(uid) else { return };
        if tracked.stand.session().is_none() {
            return;
        }
        let label = tracked.trace.label();
        if let Stand::Counting(_) = tracked.stand {
            self.deselect(uid);
        }
        // The session is stopped only after this: the kernel programs still know the folders of removed cgroups.
        self.profile(uid, is_final, now);
        self.report(uid, is_final, now);
        self.counter.stop(uid);
        if let Some(tracked) = self.traces.get_mut(uid) {
            tracked.stand = if is_final { Stand::Ended } else { Stand::Idle };
        }
        if is_final {
            tracing::info!(trace = label, "tracing has ended");
        }
    }

    /// Stops counting, but keeps the counts.
    fn deselect(&mut self, uid: &Uid) {
        let Some(spec) = self.counter.spec(uid).filter(|spec| !spec.cgroups.is_empty()) else { return };
        let nothing = SessionSpec { cgroups: BTreeMap::new(), ..spec.clone() };
        if let Err(error) = self.counter.update(uid, nothing) {
            tracing::error!(trace = uid, "cannot stop: {error}");
        }
    }
}
