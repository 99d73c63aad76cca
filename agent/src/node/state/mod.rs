//! The node's side of all traces, the same with and without Kubernetes: changes come in as [`Event`]s, and
//! [`State::step`] returns what has to be written. Pure except for the counter: no I/O, no clock.
//!
//! A trace is in one of four states ([`Stand`]), and moves between them as follows:
//!
//! | from | to | when |
//! |---|---|---|
//! | `Idle` | `Counting` | it selects a pod, or an earlier agent reported on it; the kernel accepts it |
//! | `Idle` | `Refused` | the same, but the kernel refuses, or all sessions are in use |
//! | `Idle` | `Ended` | its time is over; an earlier agent's report is made final |
//! | `Counting` | `Refused` | its session is given to another namespace, which has less than its share; its counts are kept |
//! | `Refused` | `Counting` | there is room, or the kernel accepts it at a later attempt; it continues from the kept counts |
//! | `Counting`, `Refused` | `Ended` | its time is over; the last report is made |
//! | any | forgotten | it was deleted |

mod beginnings;
mod profiles;
mod reports;
mod transitions;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use traffictrace_crd::{TrafficTraceReport, TrafficTraceReportSpec};

use self::beginnings::FirstList;
use super::counter::Counter;
use super::session::{Stand, Tracked};
use crate::engine::SessionSpec;
use crate::report::{Identities, Profile};
use crate::session::{self, Place, Planned, Pod, Running, Trace, Uid};

/// A point in time, by two clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    /// Wall-clock time, by the API server's clock if there is one.
    pub(super) time: Timestamp,
    /// Time since the agent began. It does not jump when a clock is set.
    pub(super) running: Duration,
}

/// Input of the state.
#[derive(Debug)]
pub(super) enum Event {
    /// A trace is new, or its spec changed.
    Trace(Box<Trace>),
    /// The metadata of a trace changed. By annotations the controller tells all nodes when the trace starts and how
    /// often they report.
    Metadata(Uid, Box<ObjectMeta>),
    /// The newest spec of a trace cannot be understood. The trace continues with its last spec. The text is the reason.
    Unusable(Uid, String),
    /// A trace was deleted, or the controller has given it the label `FINISHED_LABEL`.
    TraceGone(Uid),
    /// A pod of the node is new or has changed.
    Pod(Box<Pod>),
    /// A pod was deleted from the API.
    PodGone(Uid),
    /// The cgroups of all pods that exist now. They replace those of the last such event.
    Places(BTreeMap<Uid, Vec<Place>>),
    /// All traces that existed when the agent began are known, at least by their metadata.
    TracesListed,
    /// All pods that existed when the agent began are known.
    PodsListed,
}

/// Output of the state.
#[derive(Debug)]
pub(super) enum Action {
    /// Write a report of a trace, which reports at this interval.
    Report { report: Box<TrafficTraceReport>, interval: Duration },
    /// Write a profile of a trace.
    Profile(Box<Profile>),
    /// Stop writing reports and profiles of a trace that is gone, since they are deleted with the trace.
    Forget(Uid),
}

/// Settings that do not change while the agent runs.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) node: String,
    /// Maximum number of rows that a session keeps.
    pub(super) max_rows: usize,
    /// The reason why this agent cannot or may not read requests inside TLS, if there is one.
    pub(super) without_tls: Option<String>,
    /// The reason why this agent cannot or may not take stacks, if there is one.
    pub(super) without_stacks: Option<String>,
    /// Set if the administrator denies reading requests inside TLS, even if the agent could.
    pub(super) denies_tls: bool,
}

impl Settings {
    /// Removes from a specification the features that this agent cannot or may not provide.
    fn restrict(&self, spec: &mut SessionSpec) {
        if self.without_stacks.is_some() {
            spec.stacks = None;
        }
        if let Some(http) = spec.http.as_mut().filter(|_| self.denies_tls) {
            http.tls = false;
        }
    }
}

/// The node's traces, pods and sessions.
pub(super) struct State<C> {
    settings: Settings,
    counter: C,
    /// Start of the agent, by the API server's clock.
    began: Timestamp,
    /// Epoch of the newest run of counting; `ProfileState` in `node/session.rs` explains runs.
    epoch: i64,
    clock_offset: Option<i64>,
    /// Time over which the first reports of a trace's nodes are spread.
    spread: Duration,
    identities: Identities,
    traces: BTreeMap<Uid, Tracked>,
    pods: BTreeMap<Uid, Pod>,
    /// Pods that were deleted from the API while their cgroups still exist: a pod that is deleted by force keeps
    /// running.
    leaving: BTreeSet<Uid>,
    places: BTreeMap<Uid, Vec<Place>>,
    /// Reports of earlier agents, by trace.
    earlier: BTreeMap<Uid, TrafficTraceReportSpec>,
    first_traces: FirstList,
    first_pods: FirstList,
    actions: Vec<Action>,
    /// Set if something has changed since the kernel's selection was last updated.
    stale: bool,
}

impl<C: Counter> State<C> {
    /// Creates the state of an agent that begins `now`, after others that wrote the `earlier` reports.
    pub(super) fn new(
        settings: Settings,
        counter: C,
        earlier: impl IntoIterator<Item = TrafficTraceReportSpec>,
        now: Now,
    ) -> Self {
        let earlier: BTreeMap<Uid, _> =
            earlier.into_iter().map(|report| (report.trace_uid.clone(), report)).collect();
        // The epoch grows from one agent to the next, even if the clock was set back in between.
        let newest = earlier.values().map(|report| report.epoch).max().unwrap_or(0);
        Self {
            settings,
            counter,
            began: now.time,
            epoch: now.time.as_millisecond().max(newest),
            clock_offset: None,
            spread: Duration::ZERO,
            identities: Identities::default(),
            traces: BTreeMap::new(),
            pods: BTreeMap::new(),
            leaving: BTreeSet::new(),
            places: BTreeMap::new(),
            earlier,
            first_traces: FirstList::default(),
            first_pods: FirstList::default(),
            actions: Vec::new(),
            stale: false,
        }
    }

    /// Records an event. Its consequences follow in [`State::step`].
    pub(super) fn apply(&mut self, event: Event, now: Now) {
        match event {
            Event::Trace(trace) => self.take_trace(*trace),
            Event::Metadata(uid, meta) => {
                self.first_traces.note(&uid);
                let Some(tracked) = self.traces.get_mut(&uid) else { return };
                let before = tracked.trace.deadline();
                tracked.trace.follow(&meta);
                self.stale |= tracked.trace.deadline() != before;
            }
            Event::Unusable(uid, why) => {
                if let Some(tracked) = self.traces.get_mut(&uid) {
                    tracked.not_enforced = Some(why);
                }
            }
            Event::TraceGone(uid) => {
                self.first_traces.forget(&uid);
                self.forget(&uid, now);
            }
            Event::Pod(pod) => {
                self.leaving.remove(&pod.uid);
                self.first_pods.note(&pod.uid);
                // A pod without a trace in its namespace needs no new plan.
                self.stale |= self.traces.values().any(|known| known.trace.namespace == pod.namespace);
                self.pods.insert(pod.uid.clone(), *pod);
            }
            Event::PodGone(uid) => {
                self.stale |= self.traces.values().any(|tracked| tracked.pods().any(|pod| *pod == uid));
                if self.places.contains_key(&uid) {
                    self.leaving.insert(uid);
                } else {
                    self.pods.remove(&uid);
                    self.first_pods.forget(&uid);
                }
            }
            Event::Places(places) => {
                self.stale |= places != self.places;
                self.places = places;
                let (pods, first_pods, places) = (&mut self.pods, &mut self.first_pods, &self.places);
                self.leaving.retain(|uid| {
                    let stays = places.contains_key(uid);
                    if !stays {
                        pods.remove(uid);
                        first_pods.forget(uid);
                    }
                    stays
                });
            }
            Event::TracesListed => self.first_traces.close(),
            Event::PodsListed => self.first_pods.close(),
        }
    }

    /// Sets the milliseconds by which this machine's clock is ahead of the API server's; `None` if unknown or
    /// tolerated.
    pub(super) fn set_clock_offset(&mut self, offset: Option<i64>) {
        self.clock_offset = offset;
    }

    /// Sets the time over which the first reports of a trace's nodes are spread. It grows with the cluster.
    pub(super) fn set_spread(&mut self, spread: Duration) {
        self.spread = spread;
    }

    /// Does the work that is due, and returns what has to be written. Call this a few times a second, and after events.
    pub(super) fn step(&mut self, now: Now) -> Vec<Action> {
        let retries = self.traces.values().any(|tracked| match &tracked.stand {
            Stand::Refused(_, refusal) => refusal.retry.is_some_and(|retry| now.running >= retry),
            Stand::Idle | Stand::Counting(_) | Stand::Ended => false,
        });
        if std::mem::take(&mut self.stale) || retries {
            self.plan(now);
        }
        self.counter.tick();
        for uid in self.traces.keys().cloned().collect::<Vec<_>>() {
            let Some(tracked) = self.traces.get(&uid) else { continue };
            match (&tracked.stand, tracked.trace.is_over(now.time)) {
                (Stand::Ended, _) | (Stand::Idle, false) => {}
                (Stand::Idle, true) => self.close(&uid, now),
                (Stand::Counting(_) | Stand::Refused(..), true) => {
                    self.end(&uid, true, now);
                    // A refused trace may get the session that has ended.
                    self.stale = true;
                }
                (Stand::Counting(session) | Stand::Refused(session, _), false) => {
                    let report = now.running >= session.due;
                    let profile = now.running >= session.profile.due(tracked.trace.profile_interval());
                    if profile {
                        self.profile(&uid, false, now);
                    }
                    if report {
                        self.report(&uid, false, now);
                    }
                }
            }
        }
        std::mem::take(&mut self.actions)
    }

    /// Ends all sessions, and returns their last reports and profiles. These are not marked as final, since the node's
    /// next agent continues.
    pub(super) fn shut_down(&mut self, now: Now) -> Vec<Action> {
        for uid in self.traces.keys().cloned().collect::<Vec<_>>() {
            self.end(&uid, false, now);
        }
        std::mem::take(&mut self.actions)
    }

    pub(super) fn trace(&self, uid: &Uid) -> Option<&Trace> {
        self.traces.get(uid).map(|tracked| &tracked.trace)
    }

    /// The pods of the node.
    pub(super) fn pods(&self) -> impl Iterator<Item = &Pod> {
        self.pods.values()
    }

    /// Returns the counter, which the callers ask for its metrics, and to read the kernel's records.
    pub(super) fn counter(&mut self) -> &mut C {
        &mut self.counter
    }

    /// Number of traces that are counted, and number of those that are refused.
    pub(super) fn standing(&self) -> (usize, usize) {
        self.traces.values().fold((0, 0), |(counting, refused), tracked| match tracked.stand {
            Stand::Counting(_) => (counting + 1, refused),
            Stand::Refused(..) => (counting, refused + 1),
            Stand::Idle | Stand::Ended => (counting, refused),
        })
    }

    /// Returns true if any trace needs to know the cgroups.
    pub(super) fn needs_places(&self) -> bool {
        self.traces.values().any(|tracked| !matches!(tracked.stand, Stand::Ended))
    }

    /// Returns the traces of earlier agents that have no final report yet.
    pub(super) fn unfinished(&self) -> impl Iterator<Item = &Uid> {
        self.earlier.iter().filter(|(_, report)| !report.is_final).map(|(uid, _)| uid)
    }

    /// Returns the pods that any trace selects or has selected.
    pub(super) fn selected_pods(&self) -> BTreeSet<Uid> {
        self.traces.values().flat_map(Tracked::pods).cloned().collect()
    }

    /// Records the cgroups directly below a selected pod's cgroup, so that they can be named even after they are gone.
    pub(super) fn saw_containers(&mut self, pod: &Uid, children: Vec<(u64, PathBuf)>) {
        for (id, path) in children {
            if !self.identities.knows(id) {
                self.identities.saw_child(id, pod, &path);
            }
        }
    }

    fn take_trace(&mut self, trace: Trace) {
        self.stale = true;
        self.first_traces.note(&trace.uid);
        match self.traces.get_mut(&trace.uid) {
            Some(tracked) => {
                tracked.trace = trace;
                tracked.not_enforced = None;
            }
            None => {
                let over = self.earlier.get(&trace.uid).is_some_and(|report| report.is_final);
                let stand = if over { Stand::Ended } else { Stand::Idle };
                self.traces.insert(trace.uid.clone(), Tracked::new(trace, stand));
            }
        }
    }

    fn forget(&mut self, uid: &Uid, now: Now) {
        let Some(tracked) = self.traces.get(uid) else { return };
        if tracked.stand.session().is_some() {
            self.stale = true;
            // A trace that the controller closed because its time was over still gets this node's last numbers.
            if tracked.trace.is_over(now.time) {
                self.end(uid, true, now);
            } else {
                tracing::info!(trace = tracked.trace.label(), "tracing has ended: the trace was deleted");
                self.counter.stop(uid);
                self.actions.push(Action::Forget(uid.clone()));
            }
        }
        self.traces.remove(uid);
        self.earlier.remove(uid);
    }

    /// Updates the kernel's selection to match traces, pods and cgroups.
    fn plan(&mut self, now: Now) {
        let running = self.traces.iter().filter_map(|(uid, tracked)| {
            let running = match tracked.stand {
                Stand::Counting(_) => Running::Armed,
                Stand::Refused(..) => Running::Waiting,
                Stand::Idle if self.earlier.contains_key(uid) => Running::Waiting,
                Stand::Idle | Stand::Ended => return None,
            };
            Some((uid.clone(), running))
        });
        let running = running.collect();
        let live = self.traces.values().filter(|tracked| !matches!(tracked.stand, Stand::Ended));
        let traces = live.map(|tracked| &tracked.trace);
        let mut plan =
            session::plan(traces, &self.pods, &self.places, &running, self.settings.max_rows, now.time);
        plan.traces.values_mut().for_each(|planned| self.settings.restrict(&mut planned.spec));
        // Traces that give way come first, because their sessions are needed by others.
        let (giving_way, others): (Vec<_>, Vec<_>) =
            plan.traces.into_iter().partition(|(_, planned)| planned.refused.is_some());
        for (uid, planned) in giving_way.into_iter().chain(others) {
            self.identify(&planned);
            self.advance(&uid, &planned, now);
            let Some(Tracked { trace, stand, .. }) = self.traces.get_mut(&uid) else { continue };
            if let Some(session) = stand.session_mut() {
                session.history.select(&planned);
                session.select(planned.pods.len(), trace.interval(), self.spread, now);
                session.not_visible = planned.not_visible;
            }
        }
        // The pods in use include ended ones, whose container names may become known only now.
        let in_use: BTreeSet<&Uid> = self.traces.values().flat_map(Tracked::pods).collect();
        for pod in in_use.iter().filter_map(|uid| self.pods.get(*uid)) {
            self.identities.learn(pod);
        }
        self.identities.keep(&in_use);
    }

    /// Records the owner of each selected cgroup.
    fn identify(&mut self, planned: &Planned) {
        for uid in &planned.pods {
            for place in self.places.get(uid).into_iter().flatten() {
                match &place.container {
                    Some(name) => self.identities.saw_named(place.cgroup, uid, name),
                    None => self.identities.saw_pod(place.cgroup, uid),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
