//! Access to the real cluster that `KUBECONFIG` names, which has the product installed.

pub mod access;
pub mod attempt;
pub mod http;
pub mod levers;
mod metrics;
mod namespace;
pub mod plugin;
pub mod requests;
pub mod rows;
mod trace;

use std::{env, time::Duration};

use k8s_openapi::api::{apps::v1::DaemonSet, core::v1::Node};
use kube::{Api, Client, api::ListParams};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::{Result, TestError, needs, wait};

use access::Accounts;
pub use namespace::{Container, Counted, Namespace, PodPlan};
pub use trace::{NeverFalls, Trace, profile_of, report_of, report_rows, spec};

/// Label of all objects that belong to the product.
const PRODUCT: &str = "app.kubernetes.io/name=traffictrace";

/// Maximum time for a cluster to recover from the faults of the test before.
const RECOVERED: Duration = Duration::from_secs(180);

/// Lock of the cluster: tests that break or measure something hold it alone; the others share it.
static TURNS: RwLock<()> = RwLock::const_new(());

/// The cluster, while it is this test's turn.
pub struct Cluster {
    client: Client,
    nodes: Vec<String>,
    _turn: Turn,
}

#[derive(Debug)]
#[expect(dead_code, reason = "held until the test ends")]
enum Turn {
    Shared(RwLockReadGuard<'static, ()>),
    Alone(RwLockWriteGuard<'static, ()>),
}

impl Cluster {
    /// Returns the cluster for a test that may run beside others; `None` if the test was [skipped](needs::skip).
    ///
    /// # Errors
    ///
    /// Fails when there is a cluster, but it does not answer or does not have the product.
    pub async fn shared() -> Result<Option<Self>> {
        Self::take(Turn::Shared(TURNS.read().await)).await
    }

    /// Returns the cluster for a test that must run alone; `None` if the test was [skipped](needs::skip).
    ///
    /// # Errors
    ///
    /// Fails as [`Cluster::shared`] does.
    pub async fn alone() -> Result<Option<Self>> {
        Self::take(Turn::Alone(TURNS.write().await)).await
    }

    async fn take(turn: Turn) -> Result<Option<Self>> {
        let Some(client) = connect().await? else { return Ok(None) };
        // After the faults of the test before, nodes become ready again and agents restart.
        wait::until_async("the agents of all nodes to be ready", RECOVERED, async || {
            installed(&client).await
        })
        .await?;
        let nodes =
            wait::until_async("all nodes to be ready", RECOVERED, async || ready(&client).await).await?;
        if nodes.len() < 2 {
            needs::skip(format!("the suite needs two nodes that take pods, this cluster has {nodes:?}"));
            return Ok(None);
        }
        Ok(Some(Self { client, nodes, _turn: turn }))
    }

    /// The API client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Names of two different nodes.
    pub fn two_nodes(&self) -> (&str, &str) {
        (&self.nodes[0], &self.nodes[1])
    }
}

/// An API server with the product's definitions, policies and accounts. Its cluster may have no nodes, or nothing that
/// runs on them: tests that need only the API server run on every supported version of Kubernetes.
pub struct ApiServer {
    client: Client,
    accounts: Accounts,
    _turn: Turn,
}

impl ApiServer {
    /// Returns the API server for a test that may run beside others; `None` if the test was [skipped](needs::skip).
    ///
    /// # Errors
    ///
    /// Fails when there is an API server, but it does not answer or does not have the product.
    pub async fn shared() -> Result<Option<Self>> {
        let turn = Turn::Shared(TURNS.read().await);
        let Some(client) = connect().await? else { return Ok(None) };
        let accounts = Accounts::find(&client).await?;
        Ok(Some(Self { client, accounts, _turn: turn }))
    }

    /// The API client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Service accounts of the product.
    pub fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// Creates a namespace for one test, in which no pod may start.
    ///
    /// # Errors
    ///
    /// Fails when the API server refuses the namespace.
    pub async fn namespace(&self) -> Result<Namespace> {
        Namespace::create(&self.client).await
    }
}

/// Connects to the API server of `KUBECONFIG`; `None` if the test was [skipped](needs::skip).
async fn connect() -> Result<Option<Client>> {
    if env::var_os("KUBECONFIG").is_none_or(|path| path.is_empty()) {
        needs::skip("no cluster: KUBECONFIG is not set (make test-e2e brings one up)");
        return Ok(None);
    }
    Client::try_default().await.map(Some).map_err(TestError::kube("use the cluster of KUBECONFIG"))
}

/// Returns the names of the nodes that accept ordinary pods, if all of them are ready.
async fn ready(client: &Client) -> Result<Result<Vec<String>, String>> {
    let nodes: Api<Node> = Api::all(client.clone());
    let nodes = nodes.list(&ListParams::default()).await.map_err(TestError::kube("list the nodes"))?;
    let nodes: Vec<_> = nodes.items.into_iter().filter(takes_pods).collect();
    let mut names: Vec<_> = nodes.iter().filter_map(|node| node.metadata.name.clone()).collect();
    names.sort();
    Ok(if nodes.iter().all(is_ready) { Ok(names) } else { Err(format!("not all of {names:?}")) })
}

/// Returns whether no taint keeps ordinary pods away. Taints of a node's temporary conditions do not count.
fn takes_pods(node: &Node) -> bool {
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    taints.into_iter().all(|taint| {
        let passing = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];
        taint.effect == "PreferNoSchedule" || passing.contains(&taint.key.as_str())
    })
}

fn is_ready(node: &Node) -> bool {
    let tainted = node.spec.as_ref().and_then(|spec| spec.taints.as_ref()).is_some_and(|t| !t.is_empty());
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ready =
        conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    ready && !tainted
}

/// Checks that the product is installed and an agent is ready on every node that should have one.
async fn installed(client: &Client) -> Result<Result<(), String>> {
    let agents: Api<DaemonSet> = Api::all(client.clone());
    let ours = ListParams::default().labels(PRODUCT);
    let agents = agents.list(&ours).await.map_err(TestError::kube("list the product's DaemonSets"))?;
    let agents = agents.items.first();
    let agents = agents
        .ok_or_else(|| TestError::unexpected("the cluster", "without TrafficTrace; run `make deploy`"))?;
    let status = agents.status.clone().unwrap_or_default();
    let all = status.number_ready == status.desired_number_scheduled && status.number_ready > 0;
    Ok(if all { Ok(()) } else { Err(format!("{status:?}")) })
}
