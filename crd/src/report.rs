//! `TrafficTraceReport`: what one node measured for one trace, written by that node's agent alone.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::flow::{Losses, Totals};
use crate::http::HttpReport;
use crate::schema;
use crate::stacks::StackTotals;

/// The numbers of one node for one trace.
///
/// Flows are one text each, since the cost of a write on the API server is the number of JSON values in it.
#[derive(CustomResource, JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "traffictrace.dev",
    version = "v1alpha1",
    kind = "TrafficTraceReport",
    plural = "traffictracereports",
    singular = "traffictracereport",
    shortname = "ttr",
    category = "traffic",
    namespaced,
    no_spec,
    derive = "PartialEq",
    doc = "What one node measured for one TrafficTrace: a private format between agent and controller that may change with every version. Read the TrafficTrace's status instead: it has all nodes, and it stays, while reports are deleted when their trace has finished.",
    selectable = ".traceName",
    selectable = ".nodeName",
    printcolumn(name = "Trace", type_ = "string", json_path = ".traceName"),
    printcolumn(name = "Node", type_ = "string", json_path = ".nodeName"),
    printcolumn(name = "Pods", type_ = "integer", json_path = ".podsMatched"),
    printcolumn(name = "Flows", type_ = "integer", json_path = ".flowsTotal"),
    printcolumn(name = "RX bytes", type_ = "integer", json_path = ".totals.rxBytes"),
    printcolumn(name = "TX bytes", type_ = "integer", json_path = ".totals.txBytes"),
    printcolumn(name = "Updated", type_ = "date", json_path = ".updateTime"),
    printcolumn(name = "Final", type_ = "boolean", json_path = ".final"),
    printcolumn(name = "Hook tier", type_ = "string", json_path = ".hookTier", priority = 1),
    printcolumn(name = "Requests", type_ = "integer", json_path = ".http.totals.requests", priority = 1),
    printcolumn(name = "Refused", type_ = "string", json_path = ".refused.reason", priority = 1)
)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["traceName", "traceUID", "nodeName"]), transform = schema::without_defaults)]
pub struct TrafficTraceReportSpec {
    /// Name of the trace.
    pub trace_name: String,
    /// UID of the trace. A report of another trace with the same name is not this trace's.
    #[serde(rename = "traceUID")]
    pub trace_uid: String,
    /// Name of the node.
    pub node_name: String,
    /// The generation of the trace's spec that the node works by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// When this node began to trace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// When these numbers were read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update_time: Option<Time>,
    /// Grows by one with each write.
    #[schemars(range(min = 0))]
    pub sequence: i64,
    /// True on the last report: the trace is over on this node and the numbers stay as they are.
    #[serde(rename = "final")]
    pub is_final: bool,
    /// Which run of an agent counted, so that the controller can tell one that goes on from one that began again. Grows from one run to the next.
    #[schemars(range(min = 0))]
    pub epoch: i64,
    /// The part of totals that runs before this one counted. Absent: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<Totals>,
    /// By how many milliseconds the node's clock is ahead of the API server's; negative: behind. Absent: not known yet, or less than the 2 s that are told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_offset_milliseconds: Option<i64>,
    /// Pods of this node that are traced now. With none, nothing more can be counted.
    #[schemars(range(min = 0))]
    pub active_pods: i32,
    /// Pods of this node that are or were traced.
    #[schemars(range(min = 0))]
    pub pods_matched: i32,
    /// Containers of this node that are or were traced.
    #[schemars(range(min = 0))]
    pub containers_matched: i32,
    /// How the kernel is observed on this node, such as tp_btf, fexit or kretprobe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hook_tier: Option<String>,
    /// Whether connections older than the trace were looked for in all processes of the node. False: they count from their next call on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub older_sockets_found: Option<bool>,
    /// What this node cannot see, whatever the trace asks for; `traffictrace check` there explains each: CallsUnderWay, SocketsHandedBefore, SocketsPassedLater, SplicedFirst, SplicedBy, SplicedUrgent, KernelTlsSplice, MptcpSplice, SkippedEvents, SkippedCalls, FastOpenFirstBytes, UrgentBytes, ConcurrentCalls, KernelTlsOneWay, KernelTlsLoadedLater.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub not_seen: Vec<String>,
    /// Sums over all flows of this node, listed or not.
    pub totals: Totals,
    /// What the values of a flow mean, in their order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    pub columns: Vec<String>,
    /// The flows with the most bytes, most first. Each is a JSON array of the values named by columns; null is unknown or folded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), extend("x-kubernetes-list-type" = "atomic"))]
    pub flows: Vec<String>,
    /// Flows seen, listed or not.
    #[schemars(range(min = 0))]
    pub flows_total: i64,
    /// True when the list is shorter than asked for, so that the object stays small. Totals are exact all the same.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
    /// The HTTP requests. Absent: the trace does not ask for them, or this node cannot show them (see notEnforced).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpReport>,
    /// The sums of this node's last profile. Absent: the trace does not ask for stacks, there is no profile yet, or this node cannot take stacks (see notEnforced).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stacks: Option<StackTotals>,
    /// Why this node does not trace, if it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refused>,
    /// What of the newest spec this node does not do, and why, such as "ports: 90-80: ...".
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub not_enforced: Vec<String>,
    /// Selected pods of this node whose traffic cannot be seen, and why, the first 8.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "atomic"))]
    pub not_visible: Vec<NotVisible>,
    /// The last times at which tracing was interrupted on this node.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "atomic"))]
    pub interruptions: Vec<Interruption>,
    /// How often something was lost, by reason. Absent: nothing was.
    #[serde(skip_serializing_if = "Losses::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub lost: Losses,
}

/// Why a node does not trace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct Refused {
    /// One word, such as TooManySessions, InvalidSpec or KernelNotSupported.
    pub reason: String,
    /// A sentence with what to do about it.
    #[schemars(length(max = 512))]
    pub message: String,
}

/// A pod whose traffic cannot be seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct NotVisible {
    /// Name of the pod, in the trace's namespace.
    pub pod: String,
    /// Why, such as SandboxedRuntime.
    pub reason: String,
}

/// Tracing was interrupted on a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline, transform = schema::without_defaults)]
pub struct Interruption {
    /// When tracing went on.
    pub time: Time,
    /// When the last numbers before it were read: what was moved between then and time may be missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// Which node. Absent in a report, which is of one node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    /// Why, such as AgentRestarted.
    pub reason: String,
}

/// Longest message of a refusal, in characters.
pub const REFUSED_MESSAGE: usize = 512;

/// Label of a report or a profile: the UID of its trace.
pub const TRACE_UID_LABEL: &str = "traffictrace.dev/trace-uid";
/// Label of a report or a profile: its node, as [`node_label`] writes it.
pub const NODE_LABEL: &str = "traffictrace.dev/node";
/// Label that the controller puts on a trace that has finished, so that agents need not watch it any more.
pub const FINISHED_LABEL: &str = "traffictrace.dev/finished";
/// Annotation of a trace: when it began, if not at its creation. Agents watch the metadata alone.
pub const START_TIME_ANNOTATION: &str = "traffictrace.dev/start-time";
/// Annotation of a trace: how often its nodes are to report, in seconds, if less often than `spec.interval` says.
pub const REPORT_INTERVAL_ANNOTATION: &str = "traffictrace.dev/report-interval-seconds";
/// Annotation of a trace that asks for stacks: how often its nodes are to write profiles, in seconds, if less often than once a
/// minute.
pub const PROFILE_INTERVAL_ANNOTATION: &str = "traffictrace.dev/profile-interval-seconds";
/// Annotation of a trace that asks for stacks: the largest profile that each of its nodes is to write, in KiB of base64, if
/// smaller than a profile may be.
pub const PROFILE_SIZE_ANNOTATION: &str = "traffictrace.dev/profile-kibibytes";

/// Longest value of a label, in bytes.
const LABEL_VALUE: usize = 63;

/// A node's name as the value of a label: names of nodes can be longer than values may be, and are cut then, with ten
/// hexadecimal digits of a hash in place of what is missing.
#[must_use]
pub fn node_label(node_name: &str) -> String {
    label_value(node_name)
}

/// The name of an object as the value of a label.
pub(crate) fn label_value(name: &str) -> String {
    if name.len() <= LABEL_VALUE {
        return name.to_owned();
    }
    let digest: String = Sha256::digest(name).iter().take(5).map(|byte| format!("{byte:02x}")).collect();
    // Names of objects are ASCII (DNS subdomains); a cut inside a character would be possible only in a file of one's own.
    let cut = name.floor_char_boundary(LABEL_VALUE - digest.len() - 1);
    // Before the hyphen that joins, a dot or a hyphen would make an invalid or an odd name.
    format!("{}-{digest}", name[..cut].trim_end_matches(['.', '-']))
}

/// The name of the report, and of the profile, of a trace on a node: the trace's UID and the node's label.
///
/// It is made of nothing but what else stands in the report, so that the API server can see to it that no agent takes the
/// name of another node's report. A trace of the same name that is made anew gets other reports.
#[must_use]
pub fn report_name(trace_uid: &str, node_name: &str) -> String {
    format!("{trace_uid}.{}", node_label(node_name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_names_are_valid_and_differ_by_uid_and_node() {
        assert_eq!(report_name("11111111-2222", "node-1"), "11111111-2222.node-1");
        assert_eq!(report_name(&"u".repeat(36), &"x".repeat(253)).len(), 36 + 1 + LABEL_VALUE);
    }

    #[test]
    fn every_name_of_a_node_is_a_label() {
        assert_eq!(node_label("node-1.example"), "node-1.example");
        let (long, other) = (node_label(&"x".repeat(253)), node_label(&"x".repeat(252)));
        assert!(long.len() <= LABEL_VALUE && long != other, "{long} {other}");
        let dotted = node_label(&format!("{}.-.{}", "a".repeat(49), "b".repeat(30)));
        assert_eq!(dotted[..50], format!("{}-", "a".repeat(49)));
    }
}
