//! `TrafficTrace`: the object that a user applies.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::{Duration, DurationError, NEVER};
use crate::flow::Protocol;
use crate::http::HttpSpec;
use crate::schema;
use crate::stacks::StacksSpec;
use crate::status::TrafficTraceStatus;

/// The traffic to trace, and for how long. Pods are selected in the trace's own namespace only.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "traffictrace.dev",
    version = "v1alpha1",
    kind = "TrafficTrace",
    plural = "traffictraces",
    singular = "traffictrace",
    shortname = "tt",
    category = "traffic",
    namespaced,
    status = "TrafficTraceStatus",
    derive = "PartialEq",
    cel,
    doc = "A bounded trace of the network traffic of selected pods. Nodes count bytes per process and peer in the kernel; the top flows appear in the status. Deleting it stops it.",
    validation = Rule::new("!has(oldSelf.status) || !has(oldSelf.status.conditions) || !oldSelf.status.conditions.exists(c, c.type == 'Tracing' && c.reason == 'Ended') || (self.spec.duration == oldSelf.spec.duration && self.spec.interval == oldSelf.spec.interval && self.spec.topFlows == oldSelf.spec.topFlows && self.spec.direction == oldSelf.spec.direction && has(self.spec.protocols) == has(oldSelf.spec.protocols) && (!has(self.spec.protocols) || self.spec.protocols == oldSelf.spec.protocols) && has(self.spec.ports) == has(oldSelf.spec.ports) && (!has(self.spec.ports) || self.spec.ports == oldSelf.spec.ports) && has(self.spec.remoteCIDRs) == has(oldSelf.spec.remoteCIDRs) && (!has(self.spec.remoteCIDRs) || self.spec.remoteCIDRs == oldSelf.spec.remoteCIDRs) && has(self.spec.http) == has(oldSelf.spec.http) && (!has(self.spec.http) || self.spec.http.topEndpoints == oldSelf.spec.http.topEndpoints))")
        .message("spec: a trace whose endTime has passed does not start again, only ttlAfterFinished can still change: delete this TrafficTrace and create a new one")
        .reason(Reason::FieldValueForbidden)
        .field_path(".spec"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase", description = "Pending, Running, Completed or Failed"),
    printcolumn(name = "Pods", type_ = "integer", json_path = ".status.podsMatched", description = "Pods that the selector matches and nodes trace"),
    printcolumn(name = "Nodes", type_ = "string", json_path = ".status.summary.nodes", description = "Nodes reporting / nodes with selected pods"),
    printcolumn(name = "RX", type_ = "string", json_path = ".status.summary.rx", description = "Bytes received since the trace began"),
    printcolumn(name = "TX", type_ = "string", json_path = ".status.summary.tx", description = "Bytes sent since the trace began"),
    printcolumn(name = "Top talker", type_ = "string", json_path = ".status.summary.topTalker", description = "The flow with the most bytes"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Containers", type_ = "integer", json_path = ".status.containersMatched", description = "Containers traced", priority = 1),
    printcolumn(name = "Flows", type_ = "integer", json_path = ".status.flowsTotal", description = "Flows seen, listed or not", priority = 1),
    printcolumn(name = "Connections", type_ = "integer", json_path = ".status.totals.connections", description = "Connections opened since the trace began", priority = 1),
    printcolumn(name = "Retransmits", type_ = "integer", json_path = ".status.totals.retransmits", description = "TCP segments sent again", priority = 1),
    printcolumn(name = "HTTP", type_ = "string", json_path = ".status.summary.http", description = "HTTP requests, with those that failed, if spec.http asks for them", priority = 1),
    printcolumn(name = "Lost", type_ = "string", json_path = ".status.summary.lost", description = "What could not be counted in a flow", priority = 1),
    printcolumn(name = "Oldest", type_ = "date", json_path = ".status.oldestUpdateTime", description = "Age of the oldest of the numbers", priority = 1),
    printcolumn(name = "Ends", type_ = "string", json_path = ".status.endTime", description = "When the trace ends or ended", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.summary.message", description = "What a person should know", priority = 1)
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.containers) == has(oldSelf.containers) && (!has(self.containers) || self.containers == oldSelf.containers)")
        .message("containers: cannot be changed on an existing trace: delete this TrafficTrace and create a new one")
        .reason(Reason::FieldValueForbidden)
        .field_path(".containers"),
    validation = Rule::new("has(self.http) == has(oldSelf.http) && (!has(self.http) || self.http.tls == oldSelf.http.tls)")
        .message("http: cannot be switched on or off on an existing trace, and neither can http.tls, only http.topEndpoints can change: delete this TrafficTrace and create a new one")
        .reason(Reason::FieldValueForbidden)
        .field_path(".http"),
    validation = Rule::new("has(self.stacks) == has(oldSelf.stacks) && (!has(self.stacks) || (self.stacks.everyCall == oldSelf.stacks.everyCall && self.stacks.kernel == oldSelf.stacks.kernel))")
        .message("stacks: cannot be changed, switched on or off on an existing trace: delete this TrafficTrace and create a new one")
        .reason(Reason::FieldValueForbidden)
        .field_path(".stacks"),
    validation = Rule::new("!has(self.http) || !has(self.protocols) || self.protocols.exists(p, p == 'TCP')")
        .message("http: needs TCP, which protocols leaves out: add TCP to protocols, or leave out protocols or http")
        .field_path(".http")
)]
pub struct TrafficTraceSpec {
    /// Labels of the pods to trace, in the trace's own namespace. An empty selector selects all of them. Cannot be changed later.
    #[schemars(schema_with = "schema::selector")]
    #[x_kube(validation = Rule::new("self == oldSelf").message("selector: cannot be changed on an existing trace: delete this TrafficTrace and create a new one").reason(Reason::FieldValueForbidden))]
    pub selector: LabelSelector,

    /// Names of the containers to trace, at most 32. Absent: all containers, including init, sidecar and ephemeral ones. Cannot be changed later.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::containers")]
    pub containers: Vec<String>,

    /// Protocols to trace: TCP, UDP, ICMP (ICMPv6 too). Absent: all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::protocols")]
    pub protocols: Vec<Protocol>,

    /// Ports to trace, local or remote, at most 15: numbers such as 443, or ranges such as 8000-8100. Absent: all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::port_list")]
    pub ports: Vec<IntOrString>,

    /// Networks of the peers to trace, at most 16, such as 10.0.0.0/8 or 2001:db8::/32. Absent: all of them.
    #[serde(default, rename = "remoteCIDRs", skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::cidrs")]
    pub remote_cidrs: Vec<String>,

    /// The side that began the exchange: Inbound (the peer), Outbound (the container) or Both. Exchanges that began before the trace and whose direction is not known pass every choice.
    #[serde(default)]
    pub direction: DirectionFilter,

    /// The unit that one row of the result stands for, within one container. Connection: local and remote address and port. Endpoint: the same without ephemeral ports. Process: the process only. Cannot be changed later.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self == oldSelf").message("groupBy: cannot be changed on an existing trace: delete this TrafficTrace and create a new one").reason(Reason::FieldValueForbidden))]
    pub group_by: GroupBy,

    /// Maximum number of flows that the status lists, those with the most bytes first, 1 to 100.
    #[serde(default = "default_top_flows")]
    #[schemars(range(min = 1, max = 100))]
    pub top_flows: i32,

    /// Show HTTP requests beside the flows: by endpoint, with their status and duration, and the processes that speak TLS. An empty object, {}, asks for requests outside TLS. Absent: none. Only topEndpoints can be changed later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpSpec>,

    /// Show which code sends and receives, as profiles for flame graphs, one for each node: see status.stacks. An empty object, {}, asks for them. Absent: none. Cannot be changed later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stacks: Option<StacksSpec>,

    /// Interval at which nodes report, at least 5s. In a large cluster they report less often: see status.reportIntervalSeconds.
    #[serde(default = "default_interval")]
    #[schemars(schema_with = "schema::interval")]
    pub interval: Duration,

    /// Length of the trace, 5s to 24h. The trace then completes by itself, and its status stays until ttlAfterFinished has passed.
    #[serde(default = "default_duration")]
    #[schemars(schema_with = "schema::trace_duration")]
    pub duration: Duration,

    /// Time from the end of the trace to its deletion, with its status: a duration such as 1h, or Never.
    #[serde(default = "default_ttl")]
    #[schemars(schema_with = "schema::ttl")]
    pub ttl_after_finished: Duration,
}

impl TrafficTraceSpec {
    /// Returns the time that a finished trace is kept; `None` if it is kept until somebody deletes it.
    ///
    /// # Errors
    ///
    /// [`DurationError`] if `ttlAfterFinished` is neither a duration nor `Never`.
    pub fn ttl(&self) -> Result<Option<std::time::Duration>, DurationError> {
        if self.ttl_after_finished.as_str() == NEVER {
            Ok(None)
        } else {
            self.ttl_after_finished.get().map(Some)
        }
    }
}

/// The directions that a trace counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum DirectionFilter {
    /// Exchanges that the peer began.
    Inbound,
    /// Exchanges that the container began.
    Outbound,
    /// Both directions.
    #[default]
    Both,
}

/// The unit that one row of the result stands for. Every row belongs to one container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum GroupBy {
    /// One row for each connection.
    Connection,
    /// One row for each process, peer and service port; ephemeral ports are folded together.
    #[default]
    Endpoint,
    /// One row for each process.
    Process,
}

fn default_top_flows() -> i32 {
    20
}

fn default_interval() -> Duration {
    Duration::new("10s")
}

fn default_duration() -> Duration {
    Duration::new("10m")
}

fn default_ttl() -> Duration {
    Duration::new("24h")
}

impl Default for TrafficTraceSpec {
    /// The defaults of all fields, with a selector that selects all pods.
    fn default() -> Self {
        Self {
            selector: LabelSelector::default(),
            containers: Vec::new(),
            protocols: Vec::new(),
            ports: Vec::new(),
            remote_cidrs: Vec::new(),
            direction: DirectionFilter::default(),
            group_by: GroupBy::default(),
            top_flows: default_top_flows(),
            http: None,
            stacks: None,
            interval: default_interval(),
            duration: default_duration(),
            ttl_after_finished: default_ttl(),
        }
    }
}
