//! `traffictrace controller`: merges the nodes' reports into the status of each trace. One of it runs in a cluster.
//!
//! `run` has the map: watches tell `State` what is, `State` says what to do, `write` does it at the API server.

mod pace;
mod peers;
mod pods;
mod state;
mod trace;
mod watch;
mod write;

use std::io;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use traffictrace_crd::{TrafficTrace, TrafficTraceReport};

use self::state::{State, Told};
use crate::kubeapi::{ConnectError, connect, wait_until_listed};
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
pub(crate) struct ControllerArgs {}

/// The controller could not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ControllerError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("cannot listen to signals: {0}")]
    Signal(#[source] io::Error),
}

/// Runs until SIGTERM or SIGINT.
pub(crate) async fn run(_: ControllerArgs) -> Result<(), ControllerError> {
    logging::init(logging::LevelFilter::INFO);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ControllerError::Signal)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(ControllerError::Signal)?;
    let (client, url) = connect().await?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        () = control(client, url) => {}
    }
    tracing::info!("controller ends");
    Ok(())
}

/// Watches, merges and writes, for ever.
async fn control(client: kube::Client, url: String) {
    wait_until_listed::<TrafficTrace>(&client, &url).await;
    wait_until_listed::<TrafficTraceReport>(&client, &url).await;
    tracing::info!("controller begins, with the API server at {url}");

    let (told, mut changes) = mpsc::channel(QUEUE);
    let mut watches = JoinSet::new();
    let of = |told: &mpsc::Sender<Told>| (client.clone(), url.clone(), told.clone());
    let (c, u, t) = of(&told);
    watches.spawn(watch::watch::<TrafficTrace, _>(c, u, t, Told::Trace));
    let (c, u, t) = of(&told);
    watches.spawn(watch::watch::<TrafficTraceReport, _>(c, u, t, Told::Report));
    let (c, u, t) = of(&told);
    watches.spawn(watch::watch::<Pod, _>(c, u, t, |change| Told::Pod(change.map(Into::into))));
    let (c, u, t) = of(&told);
    watches.spawn(watch::watch::<Service, _>(c, u, t, |change| Told::Service(change.map(Into::into))));
    let (c, u, t) = of(&told);
    watches.spawn(watch::watch::<Node, _>(c, u, t, |change| Told::Node(change.map(Into::into))));

    let writer = write::Writer::new(client, url);
    let (finished, mut outcomes) = mpsc::unbounded_channel();
    let mut state = State::default();
    loop {
        let now = Timestamp::now();
        for action in state.due(now) {
            writer.start(action, finished.clone());
        }
        let sleep = state.next_due(now).map_or(LONGEST_SLEEP, |due| until(now, due));
        tokio::select! {
            () = tokio::time::sleep(sleep) => {}
            Some(change) = changes.recv() => {
                state.tell(change);
                // What else is there already belongs to the same round.
                while let Ok(change) = changes.try_recv() {
                    state.tell(change);
                }
            }
            Some((uid, outcome)) = outcomes.recv() => state.done(&uid, outcome, Timestamp::now()),
        }
    }
}

/// How long until a moment, a millisecond at least and a minute at most.
fn until(now: Timestamp, due: Timestamp) -> Duration {
    let left = Duration::try_from(due.duration_since(now)).unwrap_or_default();
    left.clamp(Duration::from_millis(1), LONGEST_SLEEP)
}
