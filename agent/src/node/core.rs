//! The node's side of all traces, the same with and without Kubernetes: traces, pods and folders come in, reports go
//! out. Where they come from and go to is the caller's business.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Instant;

use jiff::Timestamp;
use traffictrace_crd::{TrafficTraceReport, TrafficTraceReportSpec};

use super::folders::{Folders, Located};
use super::session::{Session, State};
use crate::cgroups::{CgroupRoot, PodKey};
use crate::engine::{Engine, SessionSpec, Snapshot};
use crate::report::{Identities, Inputs, Outcome, report};
use crate::session::{self, Planned, Pod, Running, Trace, Uid};

/// A report that is to be written.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) trace: Uid,
    pub(super) report: TrafficTraceReport,
    pub(super) is_final: bool,
}

/// See the module.
pub(super) struct Core {
    node: String,
    max_rows: usize,
    engine: Engine,
    identities: Identities,
    traces: BTreeMap<Uid, Trace>,
    pods: BTreeMap<Uid, Pod>,
    /// Pods that are gone from the API, but whose folders are still there: a pod that is deleted by force runs on.
    leaving: BTreeSet<Uid>,
    folders: Folders,
    sessions: BTreeMap<Uid, Session>,
    /// Traces that ended here. They do not start again.
    finished: BTreeSet<Uid>,
}

impl Core {
    pub(super) fn new(node: String, root: CgroupRoot, engine: Engine, max_rows: usize) -> Self {
        Self {
            node,
            max_rows,
            folders: Folders::new(root),
            engine,
            identities: Identities::default(),
            traces: BTreeMap::new(),
            pods: BTreeMap::new(),
            leaving: BTreeSet::new(),
            sessions: BTreeMap::new(),
            finished: BTreeSet::new(),
        }
    }

    /// Takes a trace that is new or has changed.
    pub(super) fn set_trace(&mut self, trace: Trace) {
        self.traces.insert(trace.uid.clone(), trace);
    }

    /// Forgets a trace that was deleted, and stops it.
    pub(super) fn remove_trace(&mut self, uid: &Uid) {
        let trace = self.traces.remove(uid);
        self.finished.remove(uid);
        if let Some(session) = self.sessions.remove(uid)
            && let State::Armed(_) = session.state
        {
            self.engine.stop(uid);
            tracing::info!(
                trace = trace.map(|trace| trace.label()),
                "tracing has ended: the trace was deleted"
            );
        }
    }

    /// Marks a trace as ended here, because an earlier agent wrote its last report.
    pub(super) fn finish_trace(&mut self, uid: &Uid) {
        if let Some(session) = self.sessions.remove(uid)
            && let State::Armed(_) = session.state
        {
            self.engine.stop(uid);
        }
        self.finished.insert(uid.clone());
    }

    pub(super) fn trace(&self, uid: &Uid) -> Option<&Trace> {
        self.traces.get(uid)
    }

    /// Takes a pod that is new or has changed.
    pub(super) fn set_pod(&mut self, pod: Pod) {
        self.leaving.remove(&pod.uid);
        self.pods.insert(pod.uid.clone(), pod);
    }

    /// Takes the end of a pod in the API.
    pub(super) fn remove_pod(&mut self, uid: &Uid) {
        if !self.folders.of(uid).is_empty() {
            self.leaving.insert(uid.clone());
        } else {
            self.pods.remove(uid);
        }
    }

    /// Takes all pods there are.
    pub(super) fn replace_pods(&mut self, pods: Vec<Pod>) {
        let present: BTreeSet<Uid> = pods.iter().map(|pod| pod.uid.clone()).collect();
        let gone: Vec<Uid> = self.pods.keys().filter(|uid| !present.contains(*uid)).cloned().collect();
        gone.iter().for_each(|uid| self.remove_pod(uid));
        pods.into_iter().for_each(|pod| self.set_pod(pod));
    }

    /// Takes the pod folders that exist now, relative to the root.
    pub(super) fn locate(&mut self, found: &BTreeMap<PodKey, PathBuf>) {
        self.folders.locate(self.pods.values(), found);
        let (pods, folders) = (&mut self.pods, &self.folders);
        self.leaving.retain(|uid| {
            let stays = !folders.of(uid).is_empty();
            if !stays {
                pods.remove(uid);
            }
            stays
        });
    }

    /// Takes the folders of one pod.
    pub(super) fn place(&mut self, pod: &Uid, located: Vec<Located>) {
        self.folders.place(pod, located);
    }

    /// Forgets the folders of one pod.
    pub(super) fn displace(&mut self, pod: &Uid) {
        self.folders.displace(pod);
    }

    /// The folders that a pod has.
    pub(super) fn located(&self, pod: &Uid) -> &[Located] {
        self.folders.of(pod)
    }

    /// Brings the kernel's selection up to date with traces, pods and folders. Returns the traces that began here just
    /// now; [`Core::resume`] must be called for each.
    pub(super) fn plan(&mut self, now: Timestamp) -> Vec<Uid> {
        let running = self.sessions.iter().map(|(uid, session)| (uid.clone(), session.running())).collect();
        let places = self.folders.places();
        let traces = self.traces.values().filter(|trace| !self.finished.contains(&trace.uid));
        let plan = session::plan(traces, &self.pods, &places, &running, self.max_rows, now);
        let mut begun = Vec::new();
        for (uid, planned) in plan.traces {
            self.identify(&planned);
            match self.sessions.contains_key(&uid) {
                true => self.change(&uid, &planned, now),
                false => {
                    self.begin(&uid, &planned, now);
                    begun.push(uid.clone());
                }
            }
            if let Some(session) = self.sessions.get_mut(&uid) {
                session.history.select(&planned);
                session.not_visible = planned.not_visible;
            }
        }
        self.folders.release();
        // Also of pods that have ended: a container's name can be told after that.
        for pod in self.sessions.values().flat_map(|session| &session.history.pods) {
            if let Some(pod) = self.pods.get(pod) {
                self.identities.learn(pod);
            }
        }
        let in_use = self.sessions.values().flat_map(|session| &session.history.pods).collect();
        self.identities.keep(&in_use);
        begun
    }

    /// Goes on from the last report of an agent before this one, if there is one.
    pub(super) fn resume(&mut self, uid: &Uid, last: Option<&TrafficTraceReportSpec>, now: Timestamp) {
        let (Some(session), Some(trace)) = (self.sessions.get_mut(uid), self.traces.get(uid)) else { return };
        if !std::mem::replace(&mut session.waiting, false) {
            return;
        }
        if let Some(last) = last {
            let resumed = session.history.resume(last, &trace.namespace, &mut self.identities, now);
            match session.state {
                State::Armed(_) => self.engine.seed(uid, &resumed.totals, resumed.rows),
                State::Refused { .. } => session.resumed = Some(resumed),
            }
        }
    }

    /// The folders of pods that a trace selects, relative to the root.
    pub(super) fn selected_folders(&self) -> Vec<PathBuf> {
        let located = self.selected().into_iter().flat_map(|uid| self.folders.of(uid));
        located.map(|located| located.folder.path().to_owned()).collect()
    }

    /// Looks for the containers of the selected pods, so that their cgroups have a name also when they are gone.
    pub(super) fn find_containers(&mut self) {
        for uid in self.selected().into_iter().cloned().collect::<Vec<_>>() {
            for (id, path) in self.folders.children(&uid) {
                if !self.identities.knows(id) {
                    self.identities.saw_child(id, &uid, &path);
                }
            }
        }
    }

    /// Drains the kernel's counters when it is time, ends what is over, and returns the reports that are due.
    pub(super) fn tick(&mut self, now: Timestamp) -> Vec<Due> {
        self.engine.tick();
        let over = |trace: Option<&Trace>| trace.is_none_or(|trace| trace.is_over(now));
        let mut due = Vec::new();
        for uid in self.sessions.keys().cloned().collect::<Vec<_>>() {
            let Some(session) = self.sessions.get(&uid) else { continue };
            let (waiting, at) = (session.waiting, session.due);
            if over(self.traces.get(&uid)) {
                if waiting {
                    self.disarm(&uid);
                } else {
                    due.extend(self.end(&uid, true, now));
                }
            } else if !waiting && Instant::now() >= at {
                due.extend(self.report(&uid, false, now));
            }
        }
        due
    }

    /// The traces that are over and were nothing to this agent, each once.
    pub(super) fn lapsed(&mut self, now: Timestamp) -> Vec<Uid> {
        let (sessions, finished) = (&self.sessions, &mut self.finished);
        let over =
            self.traces.values().filter(|trace| trace.is_over(now) && !sessions.contains_key(&trace.uid));
        over.filter(|trace| finished.insert(trace.uid.clone())).map(|trace| trace.uid.clone()).collect()
    }

    /// Stops everything and returns the last reports, which are not the traces' last: another agent goes on.
    pub(super) fn shut_down(&mut self, now: Timestamp) -> Vec<Due> {
        let uids: Vec<Uid> = self.sessions.keys().cloned().collect();
        uids.iter().filter_map(|uid| self.end(uid, false, now)).collect()
    }

    /// The pods that any trace selects or has selected.
    fn selected(&self) -> BTreeSet<&Uid> {
        self.sessions.values().flat_map(|session| &session.history.pods).collect()
    }

    /// Notes whose the cgroups of the selected pods are.
    fn identify(&mut self, planned: &Planned) {
        for uid in &planned.pods {
            for located in self.folders.of(uid) {
                match &located.container {
                    Some(name) => self.identities.saw_named(located.folder.id(), uid, name),
                    None => self.identities.saw_pod(located.folder.id(), uid),
                }
            }
        }
    }

    fn begin(&mut self, uid: &Uid, planned: &Planned, now: Timestamp) {
        let Some(trace) = self.traces.get(uid) else { return };
        let label = trace.label();
        let state = match planned.refused {
            Some(refusal) => State::too_many(refusal),
            None => start(&mut self.engine, uid, &planned.spec),
        };
        match &state {
            State::Armed(spec) => tracing::info!(
                trace = label,
                pods = planned.pods.len(),
                cgroups = spec.cgroups.len(),
                "tracing has begun"
            ),
            State::Refused { why, .. } => tracing::error!(trace = label, "not traced: {}", why.message),
        }
        self.sessions.insert(uid.clone(), Session::new(state, trace, now));
    }

    fn change(&mut self, uid: &Uid, planned: &Planned, now: Timestamp) {
        let Some(session) = self.sessions.get_mut(uid) else { return };
        match &mut session.state {
            State::Armed(spec) if *spec != planned.spec => {
                match self.engine.update(uid, planned.spec.clone()) {
                    Ok(()) => spec.clone_from(&planned.spec),
                    Err(error) => tracing::error!(trace = uid, "cannot change what is traced: {error}"),
                }
            }
            State::Armed(_) => {}
            State::Refused { retry, .. } if planned.refused.is_none() && Instant::now() >= *retry => {
                session.state = start(&mut self.engine, uid, &planned.spec);
                session.due = Instant::now();
                if let State::Refused { .. } = session.state {
                    return;
                }
                match session.resumed.take() {
                    Some(resumed) => self.engine.seed(uid, &resumed.totals, resumed.rows),
                    None => session.history.started = now,
                }
            }
            State::Refused { .. } => {}
        }
    }

    /// Counts no more, but keeps what was counted.
    fn disarm(&mut self, uid: &Uid) {
        if let Some(Session { state: State::Armed(spec), .. }) = self.sessions.get_mut(uid)
            && !spec.cgroups.is_empty()
        {
            spec.cgroups.clear();
            if let Err(error) = self.engine.update(uid, spec.clone()) {
                tracing::error!(trace = uid, "cannot stop: {error}");
            }
            // The update has drained before; this is for what came since.
            self.engine.drain();
        }
    }

    fn report(&mut self, uid: &Uid, is_final: bool, now: Timestamp) -> Option<Due> {
        let (session, trace) = (self.sessions.get(uid)?, self.traces.get(uid)?);
        let snapshot = match session.state {
            State::Armed(_) => Some(self.engine.snapshot(uid, session.rows(trace))?),
            State::Refused { .. } => None,
        };
        if let Some(snapshot) = &snapshot {
            self.name_rows(snapshot);
        }
        let (session, trace) = (self.sessions.get_mut(uid)?, self.traces.get(uid)?);
        let outcome = match (&session.state, &snapshot) {
            (State::Armed(_), Some(snapshot)) => Outcome::Counted(snapshot),
            (State::Refused { why, .. }, _) => Outcome::Refused(why.clone()),
            (State::Armed(_), None) => return None,
        };
        let report = report(&Inputs {
            trace,
            node: &self.node,
            identities: &self.identities,
            history: &session.history,
            not_visible: &session.not_visible,
            outcome,
            is_final,
            now,
        });
        session.reported(&report, trace.interval);
        Some(Due { trace: uid.clone(), report, is_final })
    }

    /// Ends a trace here. Its last report is taken while the engine still has the programs, which know the folders of
    /// cgroups that are gone.
    fn end(&mut self, uid: &Uid, is_final: bool, now: Timestamp) -> Option<Due> {
        self.disarm(uid);
        // Without the earlier report, what would be written could be less than what was shown.
        let waiting = self.sessions.get(uid)?.waiting;
        let due = if waiting { None } else { self.report(uid, is_final, now) };
        if let Some(Session { state: State::Armed(_), .. }) = self.sessions.remove(uid) {
            self.engine.stop(uid);
        }
        if is_final {
            if let Some(trace) = self.traces.get(uid) {
                tracing::info!(trace = trace.label(), "tracing has ended");
            }
            self.finished.insert(uid.clone());
        }
        due
    }

    /// Asks the kernel for the folders of cgroups that came and went unseen.
    fn name_rows(&mut self, snapshot: &Snapshot) {
        for row in &snapshot.rows {
            if !self.identities.knows(row.key.cgroup)
                && let Some(folder) = self.engine.container_folder(row.key.cgroup)
            {
                self.identities.saw_folder(row.key.cgroup, Path::new(&folder));
            }
        }
    }
}

impl Session {
    fn running(&self) -> Running {
        match self.state {
            State::Armed(_) => Running::Armed,
            State::Refused { .. } => Running::Refused,
        }
    }
}

fn start(engine: &mut Engine, uid: &Uid, spec: &SessionSpec) -> State {
    match engine.start(uid, spec.clone()) {
        Ok(()) => State::Armed(spec.clone()),
        Err(error) => State::failed(&error),
    }
}
