//! The agent on a node of a cluster.
//!
//! Two watches and this node's cgroup tree come in through one channel each, reports go out through one writer for
//! each trace; [`run`] is where they meet.

mod pods;
mod traces;
mod writer;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::MissedTickBehavior;
use traffictrace_crd::{TrafficTrace, TrafficTraceReport, TrafficTraceReportSpec};

use self::writer::Writer;
use super::core::{Core, Due};
use super::{NodeError, TICK, stopped};
use crate::cgroups::{CgroupRoot, PodTree};
use crate::engine::Engine;
use crate::kubeapi::{connect, wait_until_listed};
use crate::session::{Pod, Trace, Uid};

/// How often everything is planned anew without an event, and kubelets are looked for.
const REFRESH: Duration = Duration::from_secs(15);
/// How long the last reports may take when the agent is told to end.
const LAST_REPORTS: Duration = Duration::from_secs(5);
/// Ends a watch that is silent for so long, in seconds. A connection that was dropped without a word is noticed 5 s later.
const WATCH_SECONDS: u32 = 120;
/// Events that may wait; watches stop reading meanwhile.
const EVENTS: usize = 256;

/// Something that happened elsewhere.
enum Event {
    /// A trace is new or has changed.
    Trace(Box<TrafficTrace>),
    /// A trace as its writer found it. It may have been deleted meanwhile.
    Learnt(Box<TrafficTrace>),
    TraceGone(Uid),
    /// All pods of the node.
    Pods(Vec<Pod>),
    /// A pod is new or has changed.
    Pod(Box<Pod>),
    PodGone(Uid),
    /// The report that an agent before this one wrote for a trace, if there is one.
    Earlier {
        trace: Uid,
        last: Option<Box<TrafficTraceReportSpec>>,
    },
}

/// What the agent is to do where.
pub(super) struct Settings {
    pub(super) node: String,
    pub(super) root: CgroupRoot,
    /// Below which cgroup this node's kubelet has its pods; empty: anywhere.
    pub(super) kubelet_cgroup: PathBuf,
    pub(super) engine: Engine,
    pub(super) max_rows: usize,
}

/// A trace's writer and the way to it.
struct Outbox {
    drafts: watch::Sender<Option<TrafficTraceReport>>,
    task: AbortHandle,
}

struct Agent {
    client: Client,
    url: String,
    node: String,
    core: Core,
    tree: PodTree,
    events: mpsc::Sender<Event>,
    outboxes: BTreeMap<Uid, Outbox>,
    writers: JoinSet<()>,
    started: Timestamp,
}

/// Traces what the cluster's TrafficTraces ask for, until the process is told to end.
pub(super) async fn run(settings: Settings) -> Result<(), NodeError> {
    let Settings { node, root, kubelet_cgroup, engine, max_rows } = settings;
    let mut stop = std::pin::pin!(stopped()?);
    let tree = PodTree::new(root.clone(), &kubelet_cgroup)?;
    let (client, url) = connect().await?;
    tokio::select! {
        () = wait_until_listed::<TrafficTrace>(&client, &url) => {}
        () = &mut stop => return Ok(()),
    }
    tracing::info!(node, cgroups = %root.path().display(), "the agent is ready");

    let (events, mut received) = mpsc::channel(EVENTS);
    let watches = [
        tokio::spawn(traces::follow(client.clone(), url.clone(), events.clone())),
        tokio::spawn(pods::follow(client.clone(), url.clone(), node.clone(), events.clone())),
    ];
    let mut agent = Agent {
        core: Core::new(node.clone(), root, engine, max_rows),
        client,
        url,
        node,
        tree,
        events,
        outboxes: BTreeMap::new(),
        writers: JoinSet::new(),
        started: Timestamp::now(),
    };
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut refresh = tokio::time::interval(REFRESH);
    refresh.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = &mut stop => break,
            Some(event) = received.recv() => {
                agent.apply(event);
                while let Ok(event) = received.try_recv() {
                    agent.apply(event);
                }
                agent.plan();
            }
            changed = agent.tree.changed() => {
                changed.map_err(|source| NodeError::Watch { source })?;
                agent.plan();
            }
            _ = refresh.tick() => {
                agent.tree.find_kubelets();
                agent.plan();
            }
            _ = tick.tick() => agent.tick(),
            Some(_) = agent.writers.join_next() => {}
        }
    }
    watches.iter().for_each(tokio::task::JoinHandle::abort);
    // What writers would still tell is of no use now, and must not hold them up.
    drop(received);
    agent.shut_down().await;
    Ok(())
}

impl Agent {
    fn apply(&mut self, event: Event) {
        let now = Timestamp::now();
        match event {
            Event::Trace(object) => self.take_trace(&object, now),
            Event::Learnt(object) => {
                if object.metadata.uid.as_ref().is_some_and(|uid| self.core.trace(uid).is_some()) {
                    self.take_trace(&object, now);
                }
            }
            Event::TraceGone(uid) => {
                self.core.remove_trace(&uid);
                if let Some(outbox) = self.outboxes.remove(&uid) {
                    // The report goes with the trace.
                    outbox.task.abort();
                }
            }
            Event::Pods(pods) => self.core.replace_pods(pods),
            Event::Pod(pod) => self.core.set_pod(*pod),
            Event::PodGone(uid) => self.core.remove_pod(&uid),
            Event::Earlier { trace, .. } if self.core.trace(&trace).is_none() => {}
            Event::Earlier { trace, last } => match last {
                Some(last) if last.is_final => {
                    self.core.finish_trace(&trace);
                    self.outboxes.remove(&trace);
                }
                last => self.core.resume(&trace, last.as_deref(), now),
            },
        }
    }

    fn take_trace(&mut self, object: &TrafficTrace, now: Timestamp) {
        match Trace::read(object, now) {
            Ok(trace) => self.core.set_trace(trace),
            // One that runs goes on with the spec it had.
            Err(unusable) => tracing::warn!("{unusable}"),
        }
    }

    /// Brings the kernel up to date, and gives every trace that began a writer.
    fn plan(&mut self) {
        let found = self.tree.scan();
        self.core.locate(&found);
        let begun = self.core.plan(Timestamp::now());
        for folder in self.core.selected_folders() {
            // Watched before it is listed, so that no container is missed between the two.
            self.tree.watch_pod(&folder);
        }
        self.core.find_containers();
        for uid in begun {
            let Some(writer) = self.core.trace(&uid).map(|trace| self.writer(trace)) else { continue };
            let (drafts, received) = watch::channel(None);
            let task = self.writers.spawn(writer.run(received));
            self.outboxes.insert(uid, Outbox { drafts, task });
        }
    }

    fn tick(&mut self) {
        let now = Timestamp::now();
        let due = self.core.tick(now);
        let ended = due.iter().any(|due| due.is_final);
        self.send(due);
        if ended {
            // There may be room now for a trace that was refused.
            self.plan();
        }
        for uid in self.core.lapsed(now) {
            // An agent before this one may have reported on it: nobody else says that there is no more to come.
            if let Some(trace) =
                self.core.trace(&uid).filter(|trace| !trace.closed && trace.created < self.started)
            {
                self.writers.spawn(self.writer(trace).close());
            }
        }
    }

    fn send(&mut self, due: Vec<Due>) {
        for Due { trace, report, is_final } in due {
            let Some(outbox) = self.outboxes.get(&trace) else { continue };
            outbox.drafts.send_replace(Some(report));
            if is_final {
                // The writer ends when it has written this one.
                self.outboxes.remove(&trace);
            }
        }
    }

    fn writer(&self, trace: &Trace) -> Writer {
        Writer::new(&self.client, &self.url, trace, &self.node, self.events.clone())
    }

    /// Stops counting and waits for the last reports.
    async fn shut_down(mut self) {
        let due = self.core.shut_down(Timestamp::now());
        let count = due.len();
        self.send(due);
        self.outboxes.clear();
        let written = async { while self.writers.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST_REPORTS, written).await.is_err() {
            tracing::error!(
                "the API server did not take all of {count} last reports in time; counts since the last \
                             written ones are lost"
            );
        }
    }
}
