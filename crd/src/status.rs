//! The merged answer: `TrafficTrace.status`, written only by the controller.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::flow::{Flow, Losses, Totals};
use crate::http::HttpStatus;
use crate::report::{Interruption, NotVisible};
use crate::schema;
use crate::stacks::StacksStatus;

/// Types of the conditions of a status.
pub mod condition_type {
    /// The spec is valid.
    pub const ACCEPTED: &str = "Accepted";
    /// Nodes are tracing.
    pub const TRACING: &str = "Tracing";
    /// The trace is over and its numbers are final. Never true for a trace that failed.
    pub const COMPLETE: &str = "Complete";
    /// The trace could not run, and shows nothing.
    pub const FAILED: &str = "Failed";
    /// The numbers lack something that the spec asks for, or a part of the spec is not enforced; the message gives the details.
    pub const DEGRADED: &str = "Degraded";
}

/// Reasons of the conditions of a status.
pub mod condition_reason {
    /// The spec is valid.
    pub const VALID: &str = "Valid";
    /// The spec is not valid; the message names the field.
    pub const INVALID_SPEC: &str = "InvalidSpec";
    /// No pod matches the selector so far.
    pub const NO_PODS: &str = "NoPods";
    /// No node has reported yet.
    pub const WAITING_FOR_NODES: &str = "WaitingForNodes";
    /// At least one node is tracing.
    pub const REPORTING: &str = "Reporting";
    /// The end of the trace has passed, and nothing is traced any more.
    pub const ENDED: &str = "Ended";
    /// The trace has not ended yet.
    pub const RUNNING: &str = "Running";
    /// All nodes have sent their last numbers.
    pub const ALL_NODES_REPORTED: &str = "AllNodesReported";
    /// No agent has reported from the nodes that have selected pods.
    pub const NO_AGENT: &str = "NoAgent";
    /// The trace could not run; the condition Failed gives the reason.
    pub const FAILED: &str = "Failed";
    /// The trace has not failed.
    pub const NOT_FAILED: &str = "NotFailed";
    /// The clock of a node, or the controller's, differs from the API server's.
    pub const CLOCK_SKEW: &str = "ClockSkew";
    /// Some nodes have not reported, or have not sent their last numbers in time.
    pub const NODES_MISSING: &str = "NodesMissing";
    /// Some nodes left the cluster after their pods had gone, but before the agents could report that.
    pub const NODES_LEFT: &str = "NodesLeft";
    /// Every node refused the trace.
    pub const REFUSED: &str = "Refused";
    /// Some nodes refused the trace.
    pub const REFUSED_BY_NODES: &str = "RefusedByNodes";
    /// Some nodes have not reported for longer than their interval allows.
    pub const NODES_SILENT: &str = "NodesSilent";
    /// A part of the spec is not enforced on some node.
    pub const NOT_ENFORCED: &str = "NotEnforced";
    /// Some traffic cannot be seen because it is in a sandboxed runtime or inside TLS.
    pub const NOT_VISIBLE: &str = "NotVisible";
    /// Tracing was interrupted on a node, for example because its agent restarted.
    pub const INTERRUPTED: &str = "Interrupted";
    /// Some traffic was lost and is in no flow, or some requests could not be observed.
    pub const LOST: &str = "Lost";
    /// Nothing is missing: the numbers are what the spec asks for.
    pub const AS_ASKED: &str = "AsAsked";
}

/// Stage of the trace's life: Pending (no node has reported yet), Running, Completed or Failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum Phase {
    /// No node has reported yet.
    #[default]
    Pending,
    /// Nodes are tracing.
    Running,
    /// The trace is over; its numbers are final.
    Completed,
    /// The trace could not run; the conditions give the reason.
    Failed,
}

/// The answer so far, merged over all nodes.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[schemars(transform = schema::without_defaults)]
pub struct TrafficTraceStatus {
    /// Generation of the spec from which this status was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Pending (no node has reported yet), Running, Completed or Failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// Accepted: the spec is valid. Tracing: nodes are tracing. Complete: the trace is over and its numbers are final. Failed: the trace could not run. Degraded: something is missing from the numbers; the message says what.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
    /// Time at which the trace began. Set once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// Time at which the trace ends by itself, or ended. Every node stops by then, even without the API server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_time: Option<Time>,
    /// Time of the last change of protocols, ports, remoteCIDRs or direction while the trace ran. Counts from before the change are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filters_changed_time: Option<Time>,
    /// Number of pods that are or were traced.
    #[schemars(range(min = 0))]
    pub pods_matched: i32,
    /// Number of containers that are or were traced.
    #[schemars(range(min = 0))]
    pub containers_matched: i32,
    /// Number of nodes that have, or had, selected pods.
    #[schemars(range(min = 0))]
    pub nodes_matched: i32,
    /// Number of nodes whose agent traces, or has traced, and has reported.
    #[schemars(range(min = 0))]
    pub nodes_reporting: i32,
    /// Interval in seconds at which nodes report now: spec.interval, or more in a large cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub report_interval_seconds: Option<i32>,
    /// Time at which the newest of these numbers were read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update_time: Option<Time>,
    /// Time at which the oldest of these numbers were read, among the nodes that still trace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_update_time: Option<Time>,
    /// Sums over all flows, listed or not.
    pub totals: Totals,
    /// The flows with the most bytes in both directions, in descending order, at most spec.topFlows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), extend("x-kubernetes-list-type" = "atomic"))]
    pub top_flows: Vec<Flow>,
    /// Number of flows seen, listed or not.
    #[schemars(range(min = 0))]
    pub flows_total: i64,
    /// True if the list is shorter than requested, to keep the object small. Totals are exact all the same.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
    /// HTTP requests, if spec.http asks for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpStatus>,
    /// Sums that show how much of the traffic has a known stack, if spec.stacks asks for stacks. Nodes write profiles at most once a minute, and at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stacks: Option<StacksStatus>,
    /// Losses of flows by reason. A value is a number of events, or of bytes if the reason's name ends with Bytes. Absent: nothing was lost. Losses of HTTP are in http.totals.
    #[serde(skip_serializing_if = "Losses::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub lost: Losses,
    /// The last interruptions of tracing on a node, at most 8, each with the reason. Bytes that moved during an interruption may be missing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "atomic"))]
    pub interruptions: Vec<Interruption>,
    /// Nodes that do not trace, each with the reason; the first 8 by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "atomic"))]
    pub refused_nodes: Vec<RefusedNode>,
    /// Nodes whose clock differs from the API server's by more than 2 s, the first 8 by name. They trace by the API server's time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "atomic"))]
    pub skewed_clocks: Vec<SkewedClock>,
    /// Nodes with selected pods whose numbers are missing: no agent has reported from the node, or its last report has not come. The first 16 by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub missing_nodes: Vec<String>,
    /// Selected pods whose traffic cannot be seen, each with the reason; the first 8.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "atomic"))]
    pub not_visible: Vec<NotVisible>,
    /// Names of the kinds of traffic that some nodes cannot see, whatever the trace asks for; `traffictrace check` on a node explains each: CallsUnderWay, SocketsHandedBefore, SocketsPassedLater, SplicedFirst, SplicedBy, SplicedUrgent, KernelTlsSplice, MptcpSplice, SkippedEvents, SkippedCalls, FastOpenFirstBytes, UrgentBytes, ConcurrentCalls, KernelTlsOneWay, KernelTlsLoadedLater.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub not_seen: Vec<String>,
    /// Texts for people, shown as columns by kubectl get.
    pub summary: Summary,
}

/// A node that does not trace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct RefusedNode {
    /// Name of the node.
    pub node_name: String,
    /// Reason in one word, such as TooManySessions or KernelNotSupported.
    pub reason: String,
    /// A sentence that says what is wrong and what to do.
    pub message: String,
}

/// A node whose clock differs from the API server's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct SkewedClock {
    /// Name of the node.
    pub node_name: String,
    /// Seconds by which the node's clock is ahead of the API server's; negative: behind. Accurate to about a second.
    pub offset_seconds: i64,
}

/// Texts for the columns of kubectl get, which cannot format numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline, transform = schema::without_defaults)]
pub struct Summary {
    /// Bytes received, such as 1.2 GiB.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub rx: String,
    /// Bytes sent, such as 1.2 GiB.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tx: String,
    /// Number of nodes that report / number of nodes with selected pods.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub nodes: String,
    /// The flow with the most bytes: pod, command, peer and bytes.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub top_talker: String,
    /// Number of HTTP requests and of failed ones among them, such as 1,234 requests, 5 5xx.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub http: String,
    /// Losses in words, or none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub lost: String,
    /// The most important message, in a sentence.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}
