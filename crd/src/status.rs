//! The merged answer: `TrafficTrace.status`, written by the controller alone.

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
    /// The spec was understood.
    pub const ACCEPTED: &str = "Accepted";
    /// Nodes are tracing.
    pub const TRACING: &str = "Tracing";
    /// The trace is over and its numbers are final. Never true of a trace that failed.
    pub const COMPLETE: &str = "Complete";
    /// The trace could not be done, and shows nothing.
    pub const FAILED: &str = "Failed";
    /// Something asked for is missing from the numbers, or done otherwise than asked; the message says what.
    pub const DEGRADED: &str = "Degraded";
}

/// Reasons of the conditions of a status.
pub mod condition_reason {
    /// The spec was understood.
    pub const VALID: &str = "Valid";
    /// The spec was not understood; the message names the field.
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
    /// The trace could not be done; the condition Failed says why.
    pub const FAILED: &str = "Failed";
    /// The trace has not failed.
    pub const NOT_FAILED: &str = "NotFailed";
    /// The clock of a node, or the controller's, is not the API server's.
    pub const CLOCK_SKEW: &str = "ClockSkew";
    /// Some nodes have not reported, or not sent their last numbers, in time.
    pub const NODES_MISSING: &str = "NodesMissing";
    /// Some nodes left the cluster after their pods had gone and before they had reported that.
    pub const NODES_LEFT: &str = "NodesLeft";
    /// Every node refused the trace.
    pub const REFUSED: &str = "Refused";
    /// Some nodes refused the trace.
    pub const REFUSED_BY_NODES: &str = "RefusedByNodes";
    /// Nothing new has come from some nodes for longer than it should take.
    pub const NODES_SILENT: &str = "NodesSilent";
    /// A part of the spec is not enforced on some node.
    pub const NOT_ENFORCED: &str = "NotEnforced";
    /// Some traffic cannot be seen: of sandboxed runtimes, or inside TLS.
    pub const NOT_VISIBLE: &str = "NotVisible";
    /// An agent restarted, or something else interrupted the trace on a node.
    pub const INTERRUPTED: &str = "Interrupted";
    /// Something was lost and is in no flow, or requests could not be observed.
    pub const LOST: &str = "Lost";
    /// Nothing is missing.
    pub const AS_ASKED: &str = "AsAsked";
}

/// Where a trace is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum Phase {
    /// No node has reported yet.
    #[default]
    Pending,
    /// Nodes are tracing.
    Running,
    /// It is over; its numbers are final.
    Completed,
    /// It could not be done; the conditions say why.
    Failed,
}

/// The answer so far, merged over all nodes.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[schemars(transform = schema::without_defaults)]
pub struct TrafficTraceStatus {
    /// The generation of the spec that this status was made for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Pending (no node has reported yet), Running, Completed or Failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// Accepted: the spec was understood. Tracing: nodes are tracing. Complete: it is over and the numbers are final. Failed: it could not be done. Degraded: something is missing from the numbers; the message says what.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
    /// When the trace began. Set once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// When the trace ends by itself, or ended. Every node stops by this time, also without the API server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_time: Option<Time>,
    /// When protocols, ports, remoteCIDRs or direction last changed while the trace ran. What was counted before stays counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filters_changed_time: Option<Time>,
    /// Pods that are or were traced.
    #[schemars(range(min = 0))]
    pub pods_matched: i32,
    /// Containers that are or were traced.
    #[schemars(range(min = 0))]
    pub containers_matched: i32,
    /// Nodes that have, or had, selected pods.
    #[schemars(range(min = 0))]
    pub nodes_matched: i32,
    /// Nodes whose agent traces, or has traced, and has reported.
    #[schemars(range(min = 0))]
    pub nodes_reporting: i32,
    /// How often nodes report now, in seconds: spec.interval, or more in a large cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub report_interval_seconds: Option<i32>,
    /// When the newest of the numbers were read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update_time: Option<Time>,
    /// When the oldest of the numbers were read, over the nodes that still trace: no node's numbers are older than that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_update_time: Option<Time>,
    /// Sums over all flows, listed or not.
    pub totals: Totals,
    /// The flows with the most bytes in both directions, most first, at most spec.topFlows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), extend("x-kubernetes-list-type" = "atomic"))]
    pub top_flows: Vec<Flow>,
    /// Flows seen, listed or not.
    #[schemars(range(min = 0))]
    pub flows_total: i64,
    /// True when the list is shorter than asked for, so that the object stays small. Totals are exact all the same.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
    /// The HTTP requests, if spec.http asks for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpStatus>,
    /// How much of the traffic is known by its stacks, if spec.stacks asks for them. Nodes make profiles once a minute at most, and at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stacks: Option<StacksStatus>,
    /// How often something was lost of flows, by reason. Absent: nothing was. HTTP's losses are in http.totals.
    #[serde(skip_serializing_if = "Losses::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub lost: Losses,
    /// The last times at which tracing was interrupted on a node, and why. What was moved meanwhile may be missing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "atomic"))]
    pub interruptions: Vec<Interruption>,
    /// Nodes that do not trace, and why, the first 8 by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "atomic"))]
    pub refused_nodes: Vec<RefusedNode>,
    /// Nodes whose clock differs from the API server's by more than 2 s, the first 8 by name. They trace by the API server's time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "atomic"))]
    pub skewed_clocks: Vec<SkewedClock>,
    /// Nodes of whose selected pods numbers are missing, the first 16 by name: from the start, because no agent has reported from there, or the last ones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub missing_nodes: Vec<String>,
    /// Selected pods whose traffic cannot be seen, and why, the first 8.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "atomic"))]
    pub not_visible: Vec<NotVisible>,
    /// What some of the nodes cannot see, whatever the trace asks for; `traffictrace check` on a node explains each: CallsUnderWay, SocketsHandedBefore, SocketsPassedLater, SplicedFirst, SplicedBy, SplicedUrgent, KernelTlsSplice, MptcpSplice, SkippedEvents, SkippedCalls, FastOpenFirstBytes, UrgentBytes, ConcurrentCalls, KernelTlsOneWay, KernelTlsLoadedLater.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub not_seen: Vec<String>,
    /// The same for people: what kubectl get shows.
    pub summary: Summary,
}

/// A node that does not trace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct RefusedNode {
    /// Which node.
    pub node_name: String,
    /// One word, such as TooManySessions or KernelNotSupported.
    pub reason: String,
    /// A sentence with what to do about it.
    pub message: String,
}

/// A node whose clock is not the API server's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct SkewedClock {
    /// Which node.
    pub node_name: String,
    /// By how many seconds its clock is ahead of the API server's; negative: behind. Right to about a second.
    pub offset_seconds: i64,
}

/// Texts for the columns of kubectl get, which shows numbers only as they are.
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
    /// Nodes reporting / nodes with selected pods.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub nodes: String,
    /// The flow with the most bytes: pod, command, peer and bytes.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub top_talker: String,
    /// HTTP requests, with those that failed, such as 1,234 requests, 5 5xx.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub http: String,
    /// What was lost or may be missing, or none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub lost: String,
    /// What a person should know, in a sentence.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}
