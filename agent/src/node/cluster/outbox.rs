//! Reports and profiles on their way to the API server. Each trace has a writer of its own for each of the two, so that
//! a slow one delays no other.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use traffictrace_crd::TrafficTraceReport;

use super::beginning::Spread;
use super::profiles::ProfileWriter;
use super::writer::{Draft, Writer};
use crate::kubeapi::ApiServer;
use crate::node::packing::Packing;
use crate::node::state::Action;
use crate::report::Profile;
use crate::server::metrics::AgentMetrics;
use crate::session::Uid;
use crate::tasks::TaskEnded;

/// Maximum time for writing the last reports and profiles when the agent is asked to stop.
const LAST_REPORTS: Duration = Duration::from_secs(5);

/// The traces whose newest report is not written yet, each with the time since when. All clones share the values.
#[derive(Clone, Debug, Default)]
pub(super) struct Waiting {
    since: Arc<Mutex<BTreeMap<Uid, Instant>>>,
}

impl Waiting {
    fn add(&self, uid: &Uid) {
        self.with(|since| *since.entry(uid.clone()).or_insert_with(Instant::now));
    }

    pub(super) fn remove(&self, uid: &Uid) {
        self.with(|since| since.remove(uid));
    }

    fn look(&self) -> (usize, Duration) {
        self.with(|since| (since.len(), since.values().min().map_or(Duration::ZERO, Instant::elapsed)))
    }

    fn with<T>(&self, look: impl FnOnce(&mut BTreeMap<Uid, Instant>) -> T) -> T {
        // A panic elsewhere cannot leave this map half changed.
        look(&mut self.since.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Metrics that a writer updates when it has written a report, or failed to.
pub(super) struct Tell {
    pub(super) waiting: Waiting,
    pub(super) metrics: AgentMetrics,
}

/// The writers, and the channels to them.
pub(super) struct Outbox {
    api: ApiServer,
    /// The reports of earlier agents, which this agent's first reports continue.
    earlier: BTreeMap<Uid, TrafficTraceReport>,
    spread: Spread,
    ways: BTreeMap<Uid, Way>,
    profiles: BTreeMap<Uid, ProfileWay>,
    packing: Packing,
    writers: JoinSet<()>,
    waiting: Waiting,
    metrics: AgentMetrics,
}

/// The writer of one trace's reports, and the channel to it, which holds the newest report only.
struct Way {
    drafts: watch::Sender<Option<Draft>>,
    writer: AbortHandle,
}

/// The writer of one trace's profiles, and the channel to it.
struct ProfileWay {
    /// A queue, because the writer needs the last draft of every run of counting (see `ProfileState` in
    /// `node/session.rs`). There is at most one draft a minute.
    drafts: mpsc::UnboundedSender<Profile>,
    writer: AbortHandle,
}

impl Outbox {
    pub(super) fn new(
        api: ApiServer,
        earlier: Vec<TrafficTraceReport>,
        spread: Spread,
        metrics: AgentMetrics,
    ) -> Self {
        let earlier = earlier.into_iter().map(|report| (report.spec.trace_uid.clone(), report)).collect();
        Self {
            api,
            earlier,
            spread,
            ways: BTreeMap::new(),
            profiles: BTreeMap::new(),
            packing: Packing::default(),
            writers: JoinSet::new(),
            waiting: Waiting::default(),
            metrics,
        }
    }

    /// Passes a report or a profile to its writer, or stops the writers of a trace that is gone.
    pub(super) fn send(&mut self, action: Action) {
        match action {
            Action::Report { report, interval } => {
                let (uid, is_final) = (report.spec.trace_uid.clone(), report.spec.is_final);
                if !self.ways.contains_key(&uid) {
                    let stored = self.earlier.remove(&uid);
                    let tell = Tell { waiting: self.waiting.clone(), metrics: self.metrics.clone() };
                    let writer = Writer::new(&self.api, &report, stored, self.spread.clone(), tell);
                    let (drafts, received) = watch::channel(None);
                    let writer = self.writers.spawn(writer.run(received));
                    self.ways.insert(uid.clone(), Way { drafts, writer });
                }
                self.waiting.add(&uid);
                if let Some(way) = self.ways.get(&uid) {
                    way.drafts.send_replace(Some(Draft { report: *report, interval }));
                }
                if is_final {
                    // The writer ends after it has written this report.
                    self.ways.remove(&uid);
                }
            }
            Action::Profile(profile) => self.send_profile(*profile),
            Action::Forget(uid) => {
                self.earlier.remove(&uid);
                self.waiting.remove(&uid);
                let report = self.ways.remove(&uid).map(|way| way.writer);
                let profile = self.profiles.remove(&uid).map(|way| way.writer);
                report.into_iter().chain(profile).for_each(|writer| writer.abort());
            }
        }
    }

    fn send_profile(&mut self, profile: Profile) {
        let spec = &profile.object().spec;
        let (uid, is_final) = (spec.trace_uid.clone(), spec.is_final);
        let way = self.profiles.entry(uid.clone()).or_insert_with(|| {
            let writer = ProfileWriter::new(&self.api, &profile, self.spread.clone(), self.packing.clone());
            let (drafts, received) = mpsc::unbounded_channel();
            ProfileWay { drafts, writer: self.writers.spawn(writer.run(received)) }
        });
        // An error means that the writer has ended, because its trace is gone.
        let _ = way.drafts.send(profile);
        if is_final {
            // The writer ends after it has written this profile.
            self.profiles.remove(&uid);
        }
    }

    /// Updates the metrics of waiting reports.
    pub(super) fn show(&self) {
        let (count, oldest) = self.waiting.look();
        self.metrics.set_reports_waiting(count, oldest);
    }

    /// Waits until a writer panics, which ends the agent, because the reports of its trace would no longer be written.
    /// Writers that ended normally are dropped.
    pub(super) async fn failed(&mut self) -> TaskEnded {
        loop {
            match self.writers.join_next().await {
                Some(Err(failed)) if failed.is_panic() => {
                    return TaskEnded {
                        name: "a writer of reports or profiles".into(),
                        cause: failed.to_string(),
                    };
                }
                Some(_) => {}
                None => std::future::pending().await,
            }
        }
    }

    /// Sends the last reports and profiles, and waits until they are written, at most for [`LAST_REPORTS`].
    pub(super) async fn finish(mut self, actions: Vec<Action>) {
        let count = actions.len();
        self.spread.hurry();
        for action in actions {
            self.send(action);
        }
        self.ways.clear();
        self.profiles.clear();
        let written = async { while self.writers.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST_REPORTS, written).await.is_err() {
            tracing::error!(
                "the API server at {} did not take all of {count} last reports and profiles in time; counts since the last written \
                 ones are lost",
                self.api.url
            );
        }
    }
}
