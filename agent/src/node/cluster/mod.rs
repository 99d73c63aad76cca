//! The agent on a node of a cluster.
//!
//! Two watches and this node's cgroup tree are the inputs, and reports leave through one writer for each trace. [`run`]
//! connects them; [`State`] decides.

mod beginning;
mod outbox;
mod profiles;
mod traces;
mod writer;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use k8s_openapi::api::core::v1 as api;
use kube::api::GetParams;
use kube::core::DeserializeGuard;
use kube::{Api, Resource as _};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use traffictrace_crd::{FINISHED_LABEL, TrafficTrace};

pub(super) use self::beginning::DaemonSetName;
use self::beginning::Spread;
use self::outbox::Outbox;
use self::traces::{Answer, Reading, TraceMeta, Traces};
use super::folders::Folders;
use super::state::{Event, Now, State};
use super::{Denied, FIGURES, NodeError, TICK, Watched, follow_records, show, stopped};
use crate::cgroups::{CgroupRoot, PodTree};
use crate::engine::Engine;
use crate::kernel::{Readable, missing_capabilities};
use crate::kubeapi::{ApiServer, Change, Key, Source, connect, explain, retry_after, watch, watch_metadata};
use crate::server::Health;
use crate::session::{Pod, Trace, Uid};

/// Components without which the agent is not ready.
pub(super) const NEEDED: [&str; 4] = ["bpf", "ownReports", "pods", "traces"];
/// Interval at which the cgroup tree is searched for kubelets' folders, and for pods' cgroups that inotify did not
/// report.
const REFRESH: Duration = Duration::from_secs(15);
/// Maximum number of changes that wait. While the queue is full, the watches stop reading.
const CHANGES: usize = 256;

/// Settings of the agent.
pub(super) struct Settings {
    pub(super) node: String,
    pub(super) root: CgroupRoot,
    /// The cgroup below which this node's kubelet has its pods; if empty, the whole tree is searched.
    pub(super) kubelet_cgroup: PathBuf,
    pub(super) engine: Engine,
    pub(super) max_rows: usize,
    pub(super) denied: Denied,
    /// The DaemonSet of the agents, which gives the size of the cluster.
    pub(super) daemon_set: Option<DaemonSetName>,
}

/// A change reported by a watch.
enum Told {
    Trace(Change<TraceMeta>),
    Pod(Change<Option<Pod>>),
}

/// The API server's answer to a request for a trace.
struct Read {
    key: Key,
    result: kube::Result<DeserializeGuard<TrafficTrace>>,
}

struct Agent {
    api: ApiServer,
    began: Instant,
    spread: Spread,
    state: State<Engine>,
    tree: PodTree,
    folders: Folders,
    /// Set if cgroups may have come or gone since the last search.
    look: bool,
    traces: Traces,
    reading: FuturesUnordered<BoxFuture<'static, Read>>,
    /// Traces of which this node has a report that is not final, written by an earlier agent. They are read even if the
    /// node has no pod in their namespace.
    unfinished: BTreeSet<Uid>,
    outbox: Outbox,
    health: Health,
}

/// Serves the cluster's TrafficTraces until the process is asked to stop.
pub(super) async fn run(settings: Settings, watched: Watched) -> Result<(), NodeError> {
    let Watched { metrics, health, mut tasks } = watched;
    let Settings { node, root, kubelet_cgroup, engine, max_rows, denied, daemon_set } = settings;
    let mut stop = std::pin::pin!(stopped()?);
    let tree = PodTree::new(root.clone(), &kubelet_cgroup)?;
    let api = connect().await?;
    let missing = missing_capabilities();
    match missing.as_slice() {
        [] => health.has("bpf"),
        missing => health.lacks("bpf", format!("the agent lacks {}", missing.join(" and "))),
    }
    let mut figures = tokio::time::interval(FIGURES);
    let spread = Spread::default();
    let earlier = {
        let beginning = async {
            let learn = async {
                if let Some(daemon_set) = &daemon_set {
                    spread.learn(&api, daemon_set).await;
                }
            };
            tokio::join!(beginning::own_reports(&api, &node), learn).0
        };
        let mut beginning = std::pin::pin!(beginning);
        loop {
            tokio::select! {
                found = &mut beginning => break found,
                _ = figures.tick() => health.beat(),
                () = &mut stop => return Ok(()),
            }
        }
    };
    health.has("ownReports");
    let began = Instant::now();
    let now = Now { time: api.clock.now(), running: Duration::ZERO };
    let specs: Vec<_> = earlier.iter().map(|report| report.spec.clone()).collect();
    let state = State::new(denied.settings(node.clone(), max_rows), engine, specs, now);

    let (told, mut changes) = mpsc::channel(CHANGES);
    let source = Source::new(&api, metrics.common.clone());
    let unfinished = source.clone().labels(&format!("!{FINISHED_LABEL}"));
    let own = source.fields(&format!("spec.nodeName={node}"));
    tasks.spawn(
        "the watch of traffictraces",
        watch_metadata::<TrafficTrace, _>(unfinished, told.clone(), Told::Trace),
    );
    let clock = api.clock.clone();
    let pods = watch::<api::Pod, _>(own, told, move |change| {
        Told::Pod(change.map(|pod| Pod::read(&pod, clock.now())))
    });
    tasks.spawn("the watch of pods", pods);
    if let Some(daemon_set) = daemon_set {
        tasks.spawn("learning the size of the cluster", spread.clone().follow(api.clone(), daemon_set));
    }
    tracing::info!(node, cgroups = %root.path().display(), "the agent begins");

    let mut agent = Agent {
        outbox: Outbox::new(api.clone(), earlier, spread.clone(), metrics.clone()),
        health: health.clone(),
        unfinished: state.unfinished().cloned().collect(),
        api,
        began,
        spread,
        state,
        tree,
        folders: Folders::new(root),
        look: true,
        traces: Traces::default(),
        reading: FuturesUnordered::new(),
    };
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut refresh = tokio::time::interval(REFRESH);
    refresh.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut records = Readable::default();
    loop {
        health.beat();
        follow_records(&mut records, &mut agent.state)?;
        tokio::select! {
            () = &mut stop => break,
            readable = records.readable() => {
                readable.map_err(|source| NodeError::Records { source })?;
                agent.state.counter().read_records();
            }
            Some(change) = changes.recv() => {
                agent.take(change);
                while let Ok(change) = changes.try_recv() {
                    agent.take(change);
                }
                agent.read_traces();
                agent.step();
            }
            Some(read) = agent.reading.next() => {
                agent.take_read(read);
                agent.step();
            }
            changed = agent.tree.changed() => {
                changed.map_err(|source| NodeError::Watch { source })?;
                agent.look = true;
                agent.step();
            }
            _ = refresh.tick() => {
                agent.tree.find_kubelets();
                agent.look = true;
            }
            _ = tick.tick() => agent.step(),
            failed = agent.outbox.failed() => return Err(failed.into()),
            _ = figures.tick() => {
                show(&mut agent.state, &metrics);
                agent.outbox.show();
                metrics.common.set_state(agent.api.clock.offset_milliseconds(), changes.len());
            }
            ended = tasks.ended() => return Err(ended.into()),
        }
    }
    drop(tasks);
    agent.shut_down().await;
    Ok(())
}

impl Agent {
    fn now(&self) -> Now {
        Now { time: self.api.clock.now(), running: self.began.elapsed() }
    }

    fn take(&mut self, told: Told) {
        let now = self.now();
        match told {
            Told::Trace(Change::Apply(meta)) => {
                if self.traces.apply(&meta) {
                    let uid = meta.metadata.uid.clone().unwrap_or_default();
                    self.state.apply(Event::Metadata(uid, Box::new(meta.metadata)), now);
                }
            }
            Told::Trace(Change::Gone(key)) => {
                self.traces.remove(&key.uid);
                self.unfinished.remove(&key.uid);
                self.state.apply(Event::TraceGone(key.uid), now);
            }
            Told::Pod(Change::Apply(Some(pod))) => {
                self.look = true;
                self.state.apply(Event::Pod(Box::new(pod)), now);
            }
            Told::Pod(Change::Gone(key)) => {
                self.look = true;
                self.state.apply(Event::PodGone(key.uid), now);
            }
            Told::Pod(Change::Apply(None)) => {}
            Told::Trace(Change::Complete) => {
                self.health.has("traces");
                self.state.apply(Event::TracesListed, now);
            }
            Told::Pod(Change::Complete) => {
                self.health.has("pods");
                self.state.apply(Event::PodsListed, now);
            }
        }
    }

    /// Begins to read the traces that concern this node and that it does not know yet.
    fn read_traces(&mut self) {
        let namespaces: BTreeSet<&str> = self.state.pods().map(|pod| pod.namespace.as_str()).collect();
        let concerns = |key: &Key| {
            namespaces.contains(key.namespace.as_str())
                || self.unfinished.contains(&key.uid)
                || self.state.trace(&key.uid).is_some()
        };
        let (now, spread) = (self.api.clock.now(), self.spread.get());
        for Reading { key, created } in self.traces.due(concerns) {
            // A new trace is read by many nodes at once, so the reads are spread. A trace that is older than its pod is
            // read at once, before the pod starts.
            let is_new = created.is_some_and(|created| {
                Duration::try_from(now.duration_since(created)).unwrap_or_default() <= spread
            });
            let after = if is_new { self.spread.part() } else { Duration::ZERO };
            self.read(key, after);
        }
    }

    fn read(&self, key: Key, after: Duration) {
        let api: Api<DeserializeGuard<TrafficTrace>> =
            Api::namespaced(self.api.client.clone(), &key.namespace);
        let read = async move {
            tokio::time::sleep(after).await;
            // `any` lets the API server answer from its watch cache, from which the change came as well. If the answer
            // is older than the change, `take_read` asks again.
            let result = api.get_with(&key.name, &GetParams::any()).await;
            Read { key, result }
        };
        self.reading.push(read.boxed());
    }

    fn take_read(&mut self, Read { key, result }: Read) {
        let now = self.now();
        let uid = key.uid.clone();
        match result {
            Ok(DeserializeGuard(Ok(object))) => {
                let object = match self.traces.read(&uid, object) {
                    Answer::Newest(object) => object,
                    Answer::Again(pause) => return self.read(key, pause),
                    Answer::Unknown => return,
                };
                match Trace::read(&object, now.time) {
                    Ok(trace) => self.state.apply(Event::Trace(Box::new(trace)), now),
                    Err(unusable) => {
                        tracing::warn!("{unusable}");
                        self.state.apply(Event::Unusable(uid, unusable.to_string()), now);
                    }
                }
            }
            Ok(DeserializeGuard(Err(invalid))) => {
                tracing::warn!(trace = %key, "cannot parse this TrafficTrace, leaving it out: {invalid}; is its definition that of this version?");
                self.traces.unreadable(&uid);
                self.state.apply(Event::Unusable(uid, invalid.to_string()), now);
            }
            // The trace was deleted, or is not in the cache yet. In the latter case the watch reports it again.
            Err(kube::Error::Api(status)) if status.is_not_found() => self.traces.absent(&uid),
            Err(error) => {
                tracing::warn!(
                    trace = %key,
                    "cannot read the TrafficTrace, trying again: {}",
                    explain(&error, &TrafficTrace::plural(&()), &self.api.url)
                );
                if let Some(pause) = self.traces.again(&uid, retry_after(&error)) {
                    self.read(key, pause);
                }
            }
        }
    }

    /// Updates the kernel's selection, and sends the reports that are due.
    fn step(&mut self) {
        let now = self.now();
        let looked = self.look && self.state.needs_places();
        if looked {
            self.look = false;
            let found = self.tree.scan();
            self.folders.locate(self.state.pods(), &found);
            self.state.apply(Event::Places(self.folders.places()), now);
        }
        self.state.set_clock_offset(self.api.clock.offset_milliseconds());
        self.state.set_spread(self.spread.get());
        let actions = self.state.step(now);
        if looked {
            self.folders.release();
            self.find_containers();
        }
        for action in actions {
            self.outbox.send(action);
        }
    }

    /// Finds the containers of the selected pods, so that their cgroups can be named even after they are gone.
    fn find_containers(&mut self) {
        for uid in self.state.selected_pods() {
            for path in self.folders.paths(&uid) {
                // The folder is watched before it is listed, so that no container is missed in between.
                self.tree.watch_pod(&path);
            }
            self.state.saw_containers(&uid, self.folders.children(&uid));
        }
    }

    /// Stops counting, and waits until the last reports are written.
    async fn shut_down(mut self) {
        let now = self.now();
        let actions = self.state.shut_down(now);
        self.outbox.finish(actions).await;
    }
}
