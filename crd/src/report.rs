//! `TrafficTraceReport`: the numbers of one node for one trace, written only by that node's agent.

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
/// Each flow is one text, because a write costs the API server in proportion to the number of JSON values in
/// the object.
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
    /// UID of the trace. A report with the same trace name and another UID belongs to another trace.
    #[serde(rename = "traceUID")]
    pub trace_uid: String,
    /// Name of the node.
    pub node_name: String,
    /// Generation of the trace's spec that the node has applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Time at which this node began to trace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// Time at which these numbers were read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update_time: Option<Time>,
    /// Number of the write. Grows by one with each write.
    #[schemars(range(min = 0))]
    pub sequence: i64,
    /// True on the last report: the trace is over on this node and the numbers stay as they are.
    #[serde(rename = "final")]
    pub is_final: bool,
    /// Number of the agent's run that counted. Grows from one run to the next, so that the controller can distinguish a run that continues from one that started anew.
    #[schemars(range(min = 0))]
    pub epoch: i64,
    /// The part of totals that was counted by earlier runs of the node's agent. Absent: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<Totals>,
    /// Milliseconds by which the node's clock is ahead of the API server's; negative: behind. Absent: not known yet, or less than 2 s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_offset_milliseconds: Option<i64>,
    /// Number of pods of this node that are traced now. If 0, nothing more can be counted.
    #[schemars(range(min = 0))]
    pub active_pods: i32,
    /// Number of pods of this node that are or were traced.
    #[schemars(range(min = 0))]
    pub pods_matched: i32,
    /// Number of containers of this node that are or were traced.
    #[schemars(range(min = 0))]
    pub containers_matched: i32,
    /// Kind of kernel hooks in use on this node, such as tp_btf, fexit or kretprobe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hook_tier: Option<String>,
    /// True: all processes of the node were searched for connections older than the trace. False: such connections count from their next call on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub older_sockets_found: Option<bool>,
    /// Names of the kinds of traffic that this node cannot see, whatever the trace asks for; `traffictrace check` there explains each: CallsUnderWay, SocketsHandedBefore, SocketsPassedLater, SplicedFirst, SplicedBy, SplicedUrgent, KernelTlsSplice, MptcpSplice, SkippedEvents, SkippedCalls, FastOpenFirstBytes, UrgentBytes, ConcurrentCalls, KernelTlsOneWay, KernelTlsLoadedLater.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub not_seen: Vec<String>,
    /// Sums over all flows of this node, listed or not.
    pub totals: Totals,
    /// Names of the values of a flow, in their order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    pub columns: Vec<String>,
    /// The flows with the most bytes, in descending order. Each is a JSON array of the values named by columns; null means not known or folded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), extend("x-kubernetes-list-type" = "atomic"))]
    pub flows: Vec<String>,
    /// Number of flows seen, listed or not.
    #[schemars(range(min = 0))]
    pub flows_total: i64,
    /// True if the list is shorter than requested, to keep the object small. Totals are exact all the same.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
    /// HTTP requests. Absent: the trace does not ask for them, or this node cannot show them (see notEnforced).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpReport>,
    /// Sums of this node's last profile. Absent: the trace does not ask for stacks, there is no profile yet, or this node cannot take stacks (see notEnforced).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stacks: Option<StackTotals>,
    /// The reason why this node does not trace. Absent: it traces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refused>,
    /// Parts of the newest spec that this node cannot enforce, each with the reason, such as "ports: 90-80: ...".
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub not_enforced: Vec<String>,
    /// Selected pods of this node whose traffic cannot be seen, each with the reason; the first 8.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "atomic"))]
    pub not_visible: Vec<NotVisible>,
    /// The last interruptions of tracing on this node, at most 8.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "atomic"))]
    pub interruptions: Vec<Interruption>,
    /// Losses by reason. A value is a number of events, or of bytes if the reason's name ends with Bytes. Absent: nothing was lost.
    #[serde(skip_serializing_if = "Losses::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub lost: Losses,
}

/// The reason why a node does not trace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct Refused {
    /// Reason in one word, such as TooManySessions, InvalidSpec or KernelNotSupported.
    pub reason: String,
    /// A sentence that says what is wrong and what to do.
    #[schemars(length(max = 512))]
    pub message: String,
}

/// A pod whose traffic cannot be seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct NotVisible {
    /// Name of the pod, in the trace's namespace.
    pub pod: String,
    /// Reason in one word, such as SandboxedRuntime.
    pub reason: String,
}

/// An interruption of tracing on a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline, transform = schema::without_defaults)]
pub struct Interruption {
    /// Time at which tracing continued.
    pub time: Time,
    /// Time of the last numbers read before the interruption. Bytes that moved between since and time may be missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// Name of the node. Absent in a report, which is of one node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    /// Reason in one word, such as AgentRestarted.
    pub reason: String,
}

/// Maximum length of a refusal's message, in characters.
pub const REFUSED_MESSAGE: usize = 512;

/// Label of a report or a profile: the UID of its trace.
pub const TRACE_UID_LABEL: &str = "traffictrace.dev/trace-uid";
/// Label of a report or a profile: its node, as [`node_label`] writes it.
pub const NODE_LABEL: &str = "traffictrace.dev/node";
/// Label that the controller puts on a trace that has finished, so that agents stop watching the trace.
pub const FINISHED_LABEL: &str = "traffictrace.dev/finished";
/// Annotation of a trace: its start, if that is not its creation. An annotation, because agents watch only the metadata of traces.
pub const START_TIME_ANNOTATION: &str = "traffictrace.dev/start-time";
/// Annotation of a trace: interval in seconds at which its nodes have to report, if longer than `spec.interval`.
pub const REPORT_INTERVAL_ANNOTATION: &str = "traffictrace.dev/report-interval-seconds";
/// Annotation of a trace that asks for stacks: interval in seconds at which its nodes have to write profiles, if longer than a
/// minute.
pub const PROFILE_INTERVAL_ANNOTATION: &str = "traffictrace.dev/profile-interval-seconds";
/// Annotation of a trace that asks for stacks: maximum size of the profile of each node, in KiB of base64, if smaller than
/// `MAX_PROFILE_KIBIBYTES`.
pub const PROFILE_SIZE_ANNOTATION: &str = "traffictrace.dev/profile-kibibytes";

/// Maximum length of a label's value in Kubernetes, in bytes.
const LABEL_VALUE: usize = 63;

/// Returns a node's name as the value of a label. A name longer than 63 bytes is cut and ends with ten hexadecimal
/// digits of its hash.
#[must_use]
pub fn node_label(node_name: &str) -> String {
    label_value(node_name)
}

/// Returns an object's name as the value of a label; see [`node_label`].
pub(crate) fn label_value(name: &str) -> String {
    if name.len() <= LABEL_VALUE {
        return name.to_owned();
    }
    let digest: String = Sha256::digest(name).iter().take(5).map(|byte| format!("{byte:02x}")).collect();
    // Kubernetes allows only ASCII in names, but a manifest read from a file may have other characters: the cut must not
    // split one.
    let cut = name.floor_char_boundary(LABEL_VALUE - digest.len() - 1);
    // A dot or a hyphen before the joining hyphen would look odd.
    format!("{}-{digest}", name[..cut].trim_end_matches(['.', '-']))
}

/// Returns the name of a trace's report and profile on a node: the trace's UID, a dot and the node's label.
///
/// The report itself has both parts of the name, so the API server can verify that an agent does not use the name of
/// another node's report. A trace that is deleted and created again with the same name has another UID, so its reports
/// have other names.
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
