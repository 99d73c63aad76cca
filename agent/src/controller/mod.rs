//! `traffictrace controller`: merges the nodes' reports into the status of each trace. One controller runs in a
//! cluster.
//!
//! `run` shows the whole: watches report changes to `State`, `State` decides what to do, and `write` does it at the API
//! server.

mod events;
mod filters;
mod metadata;
mod otlp;
mod owners;
mod pace;
mod peers;
mod pods;
mod reports;
mod schedule;
mod services;
mod state;
mod trace;
mod write;

use std::fmt::Debug;
use std::io;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use serde::de::DeserializeOwned;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use traffictrace_crd::{TrafficTrace, TrafficTraceReport};

use self::otlp::{OtlpArgs, OtlpError, OtlpNews};
use self::peers::PeerScope;
use self::state::{State, Told};
use crate::kubeapi::{ApiServer, Change, ConnectError, Source, connect, watch};
use crate::logging;
use crate::server::metrics::{ControllerMetrics, FIGURES};
use crate::server::{Health, ServerArgs, ServerError};
use crate::tasks::{TaskEnded, Tasks};

/// Maximum number of waiting changes. While the queue is full, the watches wait.
const QUEUE: usize = 1024;
/// Maximum sleep of the main loop. It limits the delay if the clock is set while the loop sleeps.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// Merge the nodes' reports into the status of each TrafficTrace; one per cluster
///
/// Finds the cluster by its service account or KUBECONFIG. Waits while the API server is unreachable or lacks the
/// definitions. RUST_LOG sets how much it logs, such as info or debug.
#[derive(Debug, clap::Args)]
pub(crate) struct ControllerArgs {
    /// Peers of flows whose names are shown: pods and Services of all namespaces, or of the trace's own only. For other
    /// peers a status has only the address.
    #[arg(long, value_enum, default_value_t)]
    peer_names: PeerScope,

    #[command(flatten)]
    otlp: OtlpArgs,

    #[command(flatten)]
    server: ServerArgs,
}

/// The reason why the controller ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ControllerError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("cannot listen to signals: {0}")]
    Signal(#[source] io::Error),
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error(transparent)]
    Otlp(#[from] OtlpError),
    #[error(transparent)]
    Task(#[from] TaskEnded),
}

/// Runs the controller until SIGTERM or SIGINT.
pub(crate) async fn run(args: ControllerArgs) -> Result<(), ControllerError> {
    logging::init(logging::LevelFilter::INFO);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ControllerError::Signal)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(ControllerError::Signal)?;
    let api = connect().await?;
    let (metrics, registry) = ControllerMetrics::new();
    let (health, mut tasks) = (Health::new(&["lists"]), Tasks::default());
    args.server.start(registry, health.clone(), &mut tasks).await?;
    let news = args.otlp.start(&api.clock, &metrics.otlp, &mut tasks)?;
    let ended = tokio::select! {
        _ = interrupt.recv() => None,
        _ = terminate.recv() => None,
        ended = control(api, args.peer_names, news, &metrics, &health, tasks) => Some(ended),
    };
    tracing::info!("controller ends");
    ended.map_or(Ok(()), |ended| Err(ended.into()))
}

/// Watches, merges and writes, until a task ends that must not.
async fn control(
    api: ApiServer,
    peer_scope: PeerScope,
    news: Option<OtlpNews>,
    metrics: &ControllerMetrics,
    health: &Health,
    mut tasks: Tasks,
) -> TaskEnded {
    tracing::info!("controller begins, with the API server at {}", api.url);
    let (told, mut changes) = mpsc::channel(QUEUE);
    let source = Source::new(&api, metrics.common.clone());
    let mut watches = Watches { source, told, tasks: &mut tasks };
    watches.add::<TrafficTrace>(Told::Trace);
    watches.add::<TrafficTraceReport>(Told::Report);
    watches.add::<Pod>(|change| Told::Pod(change.map(Into::into)));
    watches.add::<Service>(|change| Told::Service(change.map(Into::into)));
    watches.add::<Node>(|change| Told::Node(change.map(Into::into)));

    let writer = write::Writer::new(api.client.clone(), &api.url, metrics.clone());
    let mut requests = JoinSet::new();
    let mut state = State::new(peer_scope);
    let mut figures = tokio::time::interval(FIGURES);
    let tell = |state: &mut State, change: Told, now| {
        if let (Some(news), Told::Trace(change)) = (&news, &change) {
            news.tell(change, now);
        }
        state.tell(change, now);
    };
    loop {
        let now = api.clock.now();
        health.beat();
        if state.is_complete() {
            health.has("lists");
        }
        state.set_clock_offset(api.clock.offset_milliseconds());
        for action in state.due(now) {
            requests.spawn(writer.clone().start(action));
        }
        let sleep = state.next_due().map_or(LONGEST_SLEEP, |due| until(now, due));
        tokio::select! {
            () = tokio::time::sleep(sleep) => {}
            _ = figures.tick() => {
                let (traces, reports, running) = state.counts();
                metrics.set_state(traces, reports, running, state.oldest_news(now));
                metrics.common.set_state(api.clock.offset_milliseconds(), changes.len());
            }
            Some(change) = changes.recv() => {
                let now = api.clock.now();
                tell(&mut state, change, now);
                // Changes that already wait are recorded, too, before the next actions are decided.
                while let Ok(change) = changes.try_recv() {
                    tell(&mut state, change, now);
                }
            }
            Some(answer) = requests.join_next() => match answer {
                Ok((uid, outcome)) => state.done(&uid, outcome, api.clock.now()),
                // The request's task has panicked, and its trace would wait for the answer forever.
                Err(failed) => {
                    return TaskEnded { name: "a request about a trace".into(), cause: failed.to_string() };
                }
            },
            ended = tasks.ended() => return ended,
        }
    }
}

/// The watches of everything that the controller has to know, with a task for each.
struct Watches<'a> {
    source: Source,
    told: mpsc::Sender<Told>,
    tasks: &'a mut Tasks,
}

impl Watches<'_> {
    fn add<K>(&mut self, tell: impl Fn(Change<K>) -> Told + Send + 'static)
    where
        K: kube::Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        let task = watch(self.source.clone(), self.told.clone(), tell);
        self.tasks.spawn(format!("the watch of {}", K::plural(&())), task);
    }
}

/// Returns the time from `now` until `due`: at least a millisecond, at most [`LONGEST_SLEEP`].
fn until(now: Timestamp, due: Timestamp) -> Duration {
    let left = Duration::try_from(due.duration_since(now)).unwrap_or_default();
    left.clamp(Duration::from_millis(1), LONGEST_SLEEP)
}
