//! `traffictrace controller`: merges the nodes' reports into the status of each trace. One of it runs in a cluster.
//!
//! `run` has the map: watches tell `State` what is, `State` says what to do, `write` does it at the API server.

mod events;
mod indexes;
mod metadata;
mod pace;
mod peers;
mod pods;
mod reports;
mod schedule;
mod state;
mod timing;
mod trace;
mod write;

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use kube::Resource;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::{Id, JoinError, JoinSet};
use traffictrace_crd::{TrafficTrace, TrafficTraceReport};

use self::peers::PeerScope;
use self::state::{Event, State};
use self::write::{Finished, Writer};
use crate::kubeapi::{ApiServer, Change, ConnectError, Source, connect, watch};
use crate::logging;

/// How many changes wait at most before the watches wait too.
const QUEUE: usize = 1024;
/// The longest sleep when nothing is due: no harm if the clock was set meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// Merge the nodes' reports into the status of each TrafficTrace; one per cluster
///
/// Takes the cluster from its service account, or from KUBECONFIG. Waits while the API server is away or lacks the
/// definitions. RUST_LOG sets how much it says, such as info or debug.
#[derive(Debug, clap::Args)]
pub(crate) struct ControllerArgs {
    /// Which peers of a flow are named. With namespace, pods and Services of other namespaces stay addresses, so that whoever may read a trace learns no names of other tenants
    #[arg(long, value_enum, default_value_t)]
    peer_names: PeerScope,
}

/// The controller could not start, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ControllerError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("cannot listen to signals: {0}")]
    Signal(#[source] io::Error),
    #[error(
        "{name} ended: {cause}; the controller ends too, so that it is started anew and works on no stale data"
    )]
    TaskEnded { name: &'static str, cause: String },
}

/// Runs until SIGTERM or SIGINT.
pub(crate) async fn run(args: ControllerArgs) -> Result<(), ControllerError> {
    logging::init(logging::LevelFilter::INFO);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ControllerError::Signal)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(ControllerError::Signal)?;
    let server = connect().await?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        ended = control(server, args.peer_names) => return Err(ended),
    }
    tracing::info!("controller ends");
    Ok(())
}

/// Watches, merges and writes, for ever; returns when a part of it has ended, which none does by itself.
async fn control(server: ApiServer, peer_names: PeerScope) -> ControllerError {
    tracing::info!("controller begins, with the API server at {}", server.url);
    let (told, mut changes) = mpsc::channel(QUEUE);
    let mut watches = Watches { server: server.clone(), told, tasks: JoinSet::new(), names: HashMap::new() };
    watches.begin::<TrafficTrace>("the watch of traces", Event::Trace);
    watches.begin::<TrafficTraceReport>("the watch of reports", Event::Report);
    watches.begin::<Pod>("the watch of pods", |change| Event::Pod(change.map(Into::into)));
    watches.begin::<Service>("the watch of services", |change| Event::Service(change.map(Into::into)));
    watches.begin::<Node>("the watch of nodes", |change| Event::Node(change.map(Into::into)));

    let ApiServer { client, url, clock } = server;
    let writer = Writer::new(client, url);
    let mut actions: JoinSet<Option<Finished>> = JoinSet::new();
    let mut state = State::new(peer_names);
    let mut numbers = state.numbers(clock.now());
    loop {
        let now = clock.now();
        state.set_clock_offset(clock.offset_milliseconds());
        for action in state.due(now) {
            let writer = writer.clone();
            actions.spawn(async move { Some(writer.act(action).await) });
        }
        let latest = state.numbers(now);
        if latest != numbers {
            tracing::debug!(?latest, under_way = actions.len(), waiting = changes.len(), "numbers");
            numbers = latest;
        }
        let sleep = state.next_due().map_or(LONGEST_SLEEP, |due| until(now, due));
        tokio::select! {
            () = tokio::time::sleep(sleep) => {}
            Some(change) = changes.recv() => {
                state.apply(change, clock.now());
                // What else is there already belongs to the same round.
                while let Ok(change) = changes.try_recv() {
                    state.apply(change, clock.now());
                }
            }
            Some(finished) = actions.join_next() => match finished {
                Ok(Some(Finished { key, step, outcome, notices, trace })) => {
                    state.done(&key, step, outcome, clock.now());
                    if !notices.is_empty() {
                        let writer = writer.clone();
                        actions.spawn(async move { writer.tell(notices, trace).await; None });
                    }
                }
                Ok(None) => {}
                Err(error) => return ControllerError::TaskEnded { name: "a write", cause: error.to_string() },
            },
            ended = watches.ended() => return ended,
        }
    }
}

/// The watches, each in a task of its own.
struct Watches {
    server: ApiServer,
    told: mpsc::Sender<Event>,
    tasks: JoinSet<()>,
    names: HashMap<Id, &'static str>,
}

impl Watches {
    fn begin<K>(&mut self, name: &'static str, tell: impl Fn(Change<K>) -> Event + Send + Sync + 'static)
    where
        K: Resource<DynamicType = ()>
            + Clone
            + serde::de::DeserializeOwned
            + std::fmt::Debug
            + Send
            + Sync
            + 'static,
    {
        let source = Source::new(self.server.client.clone(), self.server.url.clone());
        let task = self.tasks.spawn(watch::<K, _>(source, self.told.clone(), tell));
        self.names.insert(task.id(), name);
    }

    /// Waits for a watch that ends, which is an error.
    async fn ended(&mut self) -> ControllerError {
        let (id, cause) = match self.tasks.join_next_with_id().await {
            Some(Ok((id, ()))) => (Some(id), "it returned".to_owned()),
            Some(Err(error)) => (Some(error.id()), cause(&error)),
            None => (None, "it does not run".to_owned()),
        };
        let name = id.and_then(|id| self.names.get(&id).copied()).unwrap_or("a watch");
        ControllerError::TaskEnded { name, cause }
    }
}

fn cause(error: &JoinError) -> String {
    if error.is_panic() { "it panicked; the log has the message".to_owned() } else { error.to_string() }
}

/// How long until a moment, a millisecond at least and a minute at most.
fn until(now: Timestamp, due: Timestamp) -> Duration {
    let left = Duration::try_from(due.duration_since(now)).unwrap_or_default();
    left.clamp(Duration::from_millis(1), LONGEST_SLEEP)
}
