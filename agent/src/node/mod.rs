//! `traffictrace agent`: traces the pods of one node.
//!
//! * [`state`] decides: traces, pods and cgroups are its input, reports its output. Both of the following use it.
//! * [`cluster`] reads from the API server and writes to it.
//! * [`standalone`] reads and writes files.

mod cluster;
mod counter;
mod folders;
mod packing;
mod session;
mod standalone;
mod state;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};

use self::state::{Settings, State};
use crate::cgroups::{CgroupError, find_root};
use crate::engine::{Engine, EngineOptions};
use crate::kernel::{Readable, TierChoice, may_look_into_processes, sees_all_processes};
use crate::kubeapi::ConnectError;
use crate::logging;
use crate::server::metrics::{AgentMetrics, FIGURES};
use crate::server::{Health, ServerArgs, ServerError};
use crate::tasks::{TaskEnded, Tasks};

/// Interval at which counts are read from the kernel and due reports are made.
const TICK: Duration = Duration::from_millis(200);

/// Trace the pods of this node, as the TrafficTraces of the cluster ask for.
#[derive(Debug, Clone, Args)]
pub(crate) struct NodeArgs {
    /// Name of this node in the cluster [default with --standalone: the host's name].
    #[arg(long, env = "NODE_NAME", value_name = "NAME", required_unless_present = "standalone",
          value_parser = NonEmptyStringValueParser::new())]
    node_name: Option<String>,

    /// Work without a cluster: take TrafficTrace manifests (*.yaml) from this folder, and write each trace's status
    /// beside it as NAME.status.yaml.
    #[arg(long, value_name = "DIR")]
    standalone: Option<PathBuf>,

    /// With --standalone: the file that lists the pods [default: pods.yaml in the folder]. A list of
    /// {name, namespace, labels, cgroup}, or with containers: [{name, cgroup}] in place of cgroup.
    #[arg(long, value_name = "FILE", requires = "standalone")]
    pods: Option<PathBuf>,

    /// Path at which the host's cgroup2 tree is mounted [default: found in /proc/self/mountinfo].
    #[arg(long, value_name = "PATH")]
    cgroup_root: Option<PathBuf>,

    /// Cgroup below which this node's kubelet has its pods (its cgroupRoot), needed if several nodes share one kernel
    /// [default: anywhere].
    #[arg(long, value_name = "PATH", conflicts_with = "standalone")]
    kubelet_cgroup: Option<PathBuf>,

    /// The DaemonSet of the agents, as NAMESPACE/NAME. It gives the number of nodes: in a large cluster, agents spread
    /// over time the requests that all of them make [default: the cluster counts as small].
    #[arg(long, value_name = "NAMESPACE/NAME", conflicts_with = "standalone")]
    daemonset: Option<cluster::DaemonSetName>,

    /// Maximum number of flows that are kept at once, in the kernel and for each trace; about 200 bytes of kernel memory
    /// each, while any trace runs.
    #[arg(long, default_value_t = 131_072, value_parser = clap::value_parser!(u32).range(1024..=4_194_304))]
    max_flows: u32,

    /// Kernel hooks that count: tp_btf, fexit or kretprobe; auto takes the first of these that works (see
    /// `traffictrace check`).
    #[arg(long, value_name = "TIER", default_value_t = TierChoice::Auto)]
    hook_tier: TierChoice,

    /// Features that traces may not use here, even if this process has the rights for them.
    #[arg(long, value_name = "WHAT", value_delimiter = ',')]
    deny: Vec<Deny>,

    #[command(flatten)]
    server: ServerArgs,
}

/// A feature that can be denied to traces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Deny {
    /// Requests inside TLS.
    Tls,
    /// Stacks of the processes that send and receive.
    Stacks,
}

/// Features denied to traces on this node.
#[derive(Debug, Clone)]
struct Denied(Vec<Deny>);

impl Denied {
    /// Returns the settings of a node's state, including the reasons why this agent cannot or may not read TLS and take
    /// stacks.
    fn settings(&self, node: String, max_rows: usize) -> Settings {
        let obstacle = |of: Deny, value: &str| obstacle(self.0.contains(&of), value);
        Settings {
            node,
            max_rows,
            without_tls: obstacle(Deny::Tls, "agent.tls"),
            without_stacks: obstacle(Deny::Stacks, "agent.stacks"),
            denies_tls: self.0.contains(&Deny::Tls),
        }
    }
}

/// The reason why the agent ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NodeError {
    /// The cgroup tree cannot be used.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// No cluster is configured, or the cluster cannot be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Signals cannot be received.
    #[error("cannot listen for signals: {source}")]
    Signal {
        /// The system's error.
        source: io::Error,
    },
    /// The folder of a standalone agent cannot be read.
    #[error("cannot read the folder {path} with the TrafficTraces: {source}")]
    Folder {
        /// Path of the folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// This process lacks capabilities without which nothing can be traced.
    #[error(
        "this process lacks {missing}, without which the kernel loads no programs: run it as root, or grant it"
    )]
    Capabilities {
        /// Names of the capabilities.
        missing: String,
    },
    /// Metrics and health cannot be served.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// A part of the agent ended unexpectedly.
    #[error(transparent)]
    Task(#[from] TaskEnded),
    /// The kernel's records of HTTP cannot be waited for.
    #[error("cannot wait for the kernel's HTTP records: {source}")]
    Records {
        /// The system's error.
        source: io::Error,
    },
    /// inotify has stopped working.
    #[error("cannot follow the cgroups of pods any more: {source}")]
    Watch {
        /// The system's error.
        source: io::Error,
    },
}

/// Metrics and health of the agent, and the background tasks that must not end.
struct Watched {
    metrics: AgentMetrics,
    health: Health,
    tasks: Tasks,
}

/// Runs the agent until SIGINT or SIGTERM.
///
/// # Errors
///
/// [`NodeError`] if the agent cannot begin or continue. An unreachable API server is not an error.
pub(crate) async fn run(args: NodeArgs) -> Result<(), NodeError> {
    logging::init(logging::LevelFilter::INFO);
    let max_rows = args.max_flows as usize;
    let root = find_root(args.cgroup_root.as_deref())?;
    let engine = Engine::new(EngineOptions {
        slots: max_rows,
        cgroup_root: root.path().to_owned(),
        hook_tier: args.hook_tier,
    });
    let denied = Denied(args.deny);
    let needed: &[&str] = if args.standalone.is_some() { &[] } else { &cluster::NEEDED };
    let (metrics, registry) = AgentMetrics::new();
    let mut watched = Watched { metrics, health: Health::new(needed), tasks: Tasks::default() };
    args.server.start(registry, watched.health.clone(), &mut watched.tasks).await?;
    match args.standalone {
        Some(folder) => {
            let pods_file = args.pods.unwrap_or_else(|| standalone::default_pods_file(&folder));
            let node = args.node_name.unwrap_or_else(host_name);
            let settings = standalone::Settings { node, folder, pods_file, root, engine, max_rows, denied };
            standalone::run(settings, watched).await
        }
        None => {
            let node = args.node_name.unwrap_or_default();
            let kubelet_cgroup = args.kubelet_cgroup.unwrap_or_default();
            let daemon_set = args.daemonset;
            let settings =
                cluster::Settings { node, root, kubelet_cgroup, engine, max_rows, denied, daemon_set };
            cluster::run(settings, watched).await
        }
    }
}

/// Updates the metrics of traces and of the kernel programs.
fn show(state: &mut State<Engine>, metrics: &AgentMetrics) {
    let (counting, refused) = state.standing();
    metrics.set_state(counting, refused, state.pods().count());
    let engine = state.counter();
    metrics.set_engine(&engine.stats());
    engine.take_drains().into_iter().for_each(|took| metrics.drained(took));
}

/// Makes `records` wait for the kernel's ring buffers, from which the main loop reads before they fill up. There are
/// none unless a trace asks for requests or stacks.
fn follow_records(records: &mut Readable, state: &mut State<Engine>) -> Result<(), NodeError> {
    records.follow(state.counter().records_readable()).map_err(|source| NodeError::Records { source })
}

/// Returns the reason why this agent cannot or may not read programs and libraries of processes in other containers, if
/// there is one. `value` names the chart's setting that allows it.
fn obstacle(is_denied: bool, value: &str) -> Option<String> {
    if is_denied {
        return Some(format!("the agents are not allowed to: set {value}=true in the values of the chart"));
    }
    let missing = match (sees_all_processes(), may_look_into_processes()) {
        (true, true) => return None,
        (true, false) => "the capability SYS_PTRACE",
        (false, true) => "the host's process ids",
        (false, false) => "the host's process ids and the capability SYS_PTRACE",
    };
    Some(format!(
        "the agent cannot look into the processes of containers without {missing}: set {value}=true in the \
         values of the chart"
    ))
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Returns a future that resolves when the process is asked to stop.
fn stopped() -> Result<impl Future<Output = ()>, NodeError> {
    let listen = |kind| signal(kind).map_err(|source| NodeError::Signal { source });
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
    })
}
