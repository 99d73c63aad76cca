//! The findings of `check`.

use k8s_openapi::apimachinery::pkg::version::Info;
use serde::Serialize;

/// Oldest supported minor version of Kubernetes 1.
pub(super) const OLDEST: u32 = 30;
/// Resources that tracing needs.
pub(super) const RESOURCES: [&str; 3] = ["traffictraces", "traffictracereports", "traffictraceprofiles"];

/// The result of `check`. Its JSON is the document that scripts read.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Findings {
    /// True if tracing works, as far as this account can see.
    pub(super) works: bool,
    /// The conclusion in one sentence.
    pub(super) conclusion: String,
    pub(super) server: Server,
    pub(super) definitions: Definitions,
    /// Namespace to which the rights apply.
    pub(super) namespace: String,
    pub(super) rights: Vec<Right>,
    /// The controller; `None` if this account may not read its Deployment.
    pub(super) controller: Option<Controller>,
    /// The agents; `None` if this account may not read their DaemonSet.
    pub(super) agents: Option<Agents>,
    /// The trace that was tried; `None` without `--try`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) attempt: Option<Attempt>,
    /// Sentences that say what is missing and what to do, the most important first.
    pub(super) advice: Vec<String>,
}

/// The API server.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Server {
    pub(super) url: String,
    pub(super) version: String,
    pub(super) is_supported: bool,
}

impl Server {
    pub(super) fn new(url: String, version: &Info) -> Self {
        // Some providers write 30+ for the minor version.
        let minor = version.minor.trim_end_matches('+').parse::<u32>();
        let is_supported = version.major == "1" && minor.is_ok_and(|minor| minor >= OLDEST);
        Self { url, version: version.git_version.clone(), is_supported }
    }
}

/// The custom resource definitions.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Definitions {
    /// API versions that the API server has.
    pub(super) versions: Vec<String>,
    /// Resources that are missing in the API version that this plugin uses.
    pub(super) missing: Vec<&'static str>,
}

impl Definitions {
    /// Compares the definitions with what this plugin needs. `served` lists the resources that the API server has in
    /// the plugin's API version.
    pub(super) fn new(served: &[String], versions: Vec<String>) -> Self {
        let missing = RESOURCES.into_iter().filter(|name| !served.iter().any(|served| served == name));
        Self { versions, missing: missing.collect() }
    }
}

/// The permission of this account for one verb on one resource in the namespace.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Right {
    pub(super) verb: &'static str,
    pub(super) resource: &'static str,
    pub(super) allowed: bool,
}

/// The controller and the agents, as far as this account may read them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Parts {
    pub(super) controller: Option<Controller>,
    pub(super) agents: Option<Agents>,
}

/// The controller.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Controller {
    /// Namespace and name of the Deployment. Absent: there is no Deployment.
    pub(super) deployment: Option<String>,
    pub(super) image: Option<String>,
    pub(super) is_ready: bool,
    /// Reason why the controller is not ready.
    pub(super) reason: Option<String>,
}

/// The agents.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Agents {
    /// Namespace and name of the DaemonSet. Absent: there is no DaemonSet.
    pub(super) daemon_set: Option<String>,
    pub(super) images: Vec<String>,
    /// Number of nodes with an agent that is ready.
    pub(super) ready: usize,
    /// Number of all nodes or, if this account may not list nodes, of those that should have an agent.
    pub(super) nodes: usize,
    /// Nodes without an agent that is ready, in the order of their names.
    pub(super) not_ready: Vec<NotReady>,
}

/// A node without an agent that is ready.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NotReady {
    pub(super) node: String,
    pub(super) reason: String,
}

/// A trace that was tried.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Attempt {
    /// True if the controller has written a status.
    pub(super) controller_answers: bool,
    pub(super) pods: i32,
    /// Number of nodes with pods of the namespace.
    pub(super) nodes: i32,
    /// Number of these nodes whose agent has reported.
    pub(super) nodes_reporting: i32,
    /// Message of the condition Tracing, if nodes have not reported.
    pub(super) message: Option<String>,
}

impl Findings {
    pub(super) fn new(
        server: Server,
        definitions: Definitions,
        namespace: String,
        rights: Vec<Right>,
        parts: Parts,
    ) -> Self {
        let Parts { controller, agents } = parts;
        let findings = Self {
            works: false,
            conclusion: String::new(),
            server,
            definitions,
            namespace,
            rights,
            controller,
            agents,
            attempt: None,
            advice: Vec::new(),
        };
        findings.concluded()
    }
}
