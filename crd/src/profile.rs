//! `TrafficTraceProfile`: the code that moved the bytes of one trace on one node, written only by that node's
//! agent.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::human;
use crate::report::label_value;
use crate::schema;

/// The stacks of one node for one trace.
#[derive(CustomResource, JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "traffictrace.dev",
    version = "v1alpha1",
    kind = "TrafficTraceProfile",
    plural = "traffictraceprofiles",
    singular = "traffictraceprofile",
    shortname = "ttp",
    category = "traffic",
    namespaced,
    no_spec,
    derive = "PartialEq",
    doc = "Which code sent and received the bytes of one TrafficTrace with spec.stacks on one node, as a profile for pprof. The command in the trace's status.stacks.picture makes a flame graph of all nodes' profiles. It is deleted with its trace.",
    selectable = ".traceName",
    selectable = ".nodeName",
    printcolumn(name = "Trace", type_ = "string", json_path = ".traceName"),
    printcolumn(name = "Node", type_ = "string", json_path = ".nodeName"),
    printcolumn(
        name = "Bytes",
        type_ = "string",
        json_path = ".bytes.text",
        description = "Bytes sent and received"
    ),
    printcolumn(
        name = "Stacks",
        type_ = "integer",
        json_path = ".stacks",
        description = "Calls whose stack was taken"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Final", type_ = "boolean", json_path = ".final", priority = 1),
    printcolumn(name = "Until", type_ = "date", json_path = ".endTime", priority = 1)
)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["traceName", "traceUID", "nodeName"]), transform = schema::without_defaults)]
pub struct TrafficTraceProfileSpec {
    /// Name of the trace.
    pub trace_name: String,
    /// UID of the trace. A profile with the same trace name and another UID belongs to another trace.
    #[serde(rename = "traceUID")]
    pub trace_uid: String,
    /// Name of the node.
    pub node_name: String,
    /// Time from which stacks could be taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub begin_time: Option<Time>,
    /// Time at which the profile was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_time: Option<Time>,
    /// True on the last profile: the trace is over on this node.
    #[serde(rename = "final")]
    pub is_final: bool,
    /// Number of the agent's run that made the profile, as in the node's report. Grows from one run to the next.
    #[schemars(range(min = 0))]
    pub epoch: i64,
    /// True: the agent restarted during the trace, and stacks of its earlier runs may be missing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub interrupted: bool,
    /// Bytes of the profile, including those without a known stack.
    pub bytes: ProfileBytes,
    /// Number of calls whose stack was taken.
    #[schemars(range(min = 0))]
    pub stacks: i64,
    /// Bytes that are attributed to the stack of the very call that moved them. The rest is spread over the stacks of the same process.
    #[schemars(range(min = 0))]
    pub bytes_at_own_call: i64,
    /// Bytes without a known stack. The profile has separate rows for them, with the reason.
    #[schemars(range(min = 0))]
    pub bytes_without_stack: i64,
    /// The stacks: a gzipped pprof in base64. If the profile would be too large, the smallest stacks are left out.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 524_288))]
    pub profile: String,
}

/// The bytes of a profile.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline, transform = schema::without_defaults)]
pub struct ProfileBytes {
    /// Bytes sent.
    #[schemars(range(min = 0))]
    pub sent: i64,
    /// Bytes received.
    #[schemars(range(min = 0))]
    pub received: i64,
    /// Sum of both for people, such as 1.2 GiB.
    #[schemars(length(max = 32))]
    pub text: String,
}

impl ProfileBytes {
    /// Makes the numbers and the text of their sum.
    #[must_use]
    pub fn new(sent: i64, received: i64) -> Self {
        let sum = sent.saturating_add(received);
        Self { sent, received, text: human::bytes(u64::try_from(sum).unwrap_or(0)) }
    }
}

/// Maximum size of a profile that the schema accepts, in KiB of its base64.
pub const MAX_PROFILE_KIBIBYTES: u64 = 512;
/// Lower limit of that size, in KiB, used for traces with very many nodes: room for one or two hundred of the largest stacks.
pub const MIN_PROFILE_KIBIBYTES: u64 = 16;
/// Maximum size of the gzipped pprof in a profile, in bytes. Its base64 is a third larger.
pub const PROFILE_BYTES: usize = profile_bytes(MAX_PROFILE_KIBIBYTES);
/// Minimum time between two profiles of a node, except before the last one.
pub const PROFILE_INTERVAL: Duration = Duration::from_secs(60);

/// Returns the maximum size in bytes of a gzipped pprof whose base64 has `kibibytes` KiB.
#[must_use]
pub const fn profile_bytes(kibibytes: u64) -> usize {
    (kibibytes << 10) as usize / 4 * 3
}

/// Label of a profile: the name of its trace, as [`trace_label`] writes it.
pub const TRACE_LABEL: &str = "traffictrace.dev/trace";

/// Returns a trace's name as the value of a label; a name longer than 63 bytes is cut as in `node_label`.
#[must_use]
pub fn trace_label(trace_name: &str) -> String {
    label_value(trace_name)
}

#[cfg(test)]
mod tests {
    use kube::CustomResourceExt as _;

    use super::*;

    #[test]
    fn the_largest_profile_is_as_long_as_the_schema_lets_it_be() {
        let definition = serde_json::to_value(TrafficTraceProfile::crd()).unwrap();
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        assert_eq!(schema["properties"]["profile"]["maxLength"], PROFILE_BYTES / 3 * 4);
        assert_eq!(PROFILE_BYTES % 3, 0, "without padding");
    }

    #[test]
    fn bytes_have_a_text() {
        let bytes = ProfileBytes::new(1 << 20, 512 << 10);
        assert_eq!((bytes.sent, bytes.received, bytes.text.as_str()), (1_048_576, 524_288, "1.5 MiB"));
    }
}
