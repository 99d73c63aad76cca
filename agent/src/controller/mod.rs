//! `traffictrace controller`: merges the nodes' reports into the status of each trace. One of it runs in a cluster.
//!
//! `run` has the map: watches tell `State` what is, `State` says what to do, `write` does it at the API server.

mod events;
mod pace;
mod peers;
mod pods;
mod schedule;
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

use self::peers::PeerScope;
use self::state::{State, Told};
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
    /// Which peers of flows are named: pods and Services of all namespaces, or of the trace's own alone. Of others a
    /// status then has only the address.
    #[arg(long, value_enum, default_value_t)]
    peer_names: PeerScope,
}

/// What ends the controller.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ControllerError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("cannot listen to signals: {0}")]
    Signal(#[source] io::Error),
    #[error("the watch of {what} has ended: {cause}; the controller cannot go on without it and begins anew")]
    Watch { what: String, cause: String },
}

/// Runs until SIGTERM or SIGINT.
pub(crate) async fn run(args: ControllerArgs) -> Result<(), ControllerError> {
    logging::init(logging::LevelFilter::INFO);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ControllerError::Signal)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(ControllerError::Signal)?;
    let api = connect().await?;
    let failed = tokio::select! {
        _ = interrupt.recv() => None,
        _ = terminate.recv() => None,
        failed = control(api, args.peer_names) => Some(failed),
    };
    tracing::info!("controller ends");
    failed.map_or(Ok(()), Err)
}

/// Watches, merges and writes, until a watch fails for good.
async fn control(api: ApiServer, peer_scope: PeerScope) -> ControllerError {
    tracing::info!("controller begins, with the API server at {}", api.url);
    let (told, mut changes) = mpsc::channel(QUEUE);
    let mut watches = Watches { api: &api, told, tasks: JoinSet::new() };
    watches.add::<TrafficTrace>(Told::Trace);
    watches.add::<TrafficTraceReport>(Told::Report);
    watches.add::<Pod>(|change| Told::Pod(change.map(Into::into)));
    watches.add::<Service>(|change| Told::Service(change.map(Into::into)));
    watches.add::<Node>(|change| Told::Node(change.map(Into::into)));
    let mut watches = watches.tasks;

    let writer = write::Writer::new(api.client.clone(), &api.url);
    let (finished, mut outcomes) = mpsc::unbounded_channel();
    let mut state = State::new(peer_scope);
    loop {
        let now = api.clock.now();
        state.set_clock_offset(api.clock.offset_milliseconds());
        for action in state.due(now) {
            writer.start(action, finished.clone());
        }
        let sleep = state.next_due().map_or(LONGEST_SLEEP, |due| until(now, due));
        tokio::select! {
            () = tokio::time::sleep(sleep) => {}
            Some(change) = changes.recv() => {
                let now = api.clock.now();
                state.tell(change, now);
                // What else is there already belongs to the same round.
                while let Ok(change) = changes.try_recv() {
                    state.tell(change, now);
                }
            }
            Some((uid, outcome)) = outcomes.recv() => {
                if let Some((trace, before)) = state.done(&uid, outcome, api.clock.now())
                    && let Some(after) = &trace.status
                {
                    writer.tell(&trace, events::events(before.as_ref(), after));
                }
            }
            Some(ended) = watches.join_next() => {
                let (what, cause) = match ended {
                    Ok(what) => (what, "nothing more comes from it".to_owned()),
                    Err(failed) => ("the API server".to_owned(), failed.to_string()),
                };
                return ControllerError::Watch { what, cause };
            }
        }
    }
}

/// The watches of all that the controller must know; a task each, which ends with the name of what it watches.
struct Watches<'a> {
    api: &'a ApiServer,
    told: mpsc::Sender<Told>,
    tasks: JoinSet<String>,
}

impl Watches<'_> {
    fn add<K>(&mut self, tell: impl Fn(Change<K>) -> Told + Send + 'static)
    where
        K: kube::Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        let source = Source::new(self.api.client.clone(), self.api.url.clone());
        let told = self.told.clone();
        self.tasks.spawn(async move {
            watch(source, told, tell).await;
            K::plural(&()).into_owned()
        });
    }
}

/// How long until a moment, a millisecond at least and a minute at most.
fn until(now: Timestamp, due: Timestamp) -> Duration {
    let left = Duration::try_from(due.duration_since(now)).unwrap_or_default();
    left.clamp(Duration::from_millis(1), LONGEST_SLEEP)
}
