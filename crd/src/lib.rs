//! API types of TrafficTrace: the objects that users, agents and the controller exchange.
//!
//! * [`TrafficTrace`]: the trace that a user applies; its status has the merged answer.
//! * [`TrafficTraceReport`]: the numbers of one node for one trace.
//! * [`TrafficTraceProfile`]: the code that moved the bytes of one trace on one node.
//!
//! The doc comments of the types here are shown by `kubectl explain`, so they give units and have no links. This
//! crate depends on neither Kubernetes clients nor the kernel. The schema, its rules and the generated YAML come from
//! here alone.

mod columns;
pub mod duration;
pub mod endpoint_row;
pub mod flow;
pub mod http;
pub mod human;
pub mod ports;
#[expect(clippy::duplicated_attributes, reason = "columns share attributes of their own")]
pub mod profile;
#[expect(clippy::duplicated_attributes, reason = "columns share attributes of their own")]
pub mod report;
pub mod row;
mod schema;
pub mod stacks;
pub mod status;
#[expect(
    unreachable_pub,
    reason = "KubeSchema derives a private copy of the struct that keeps its visibility"
)]
pub mod trace;
pub mod validate;
pub mod yaml;

pub use columns::RowError;
pub use duration::{Duration, DurationError};
pub use endpoint_row::{ENDPOINT_COLUMNS, EndpointRow, Percentiles, decode_endpoints, endpoint_column_names};
pub use flow::{Direction, Flow, FlowState, Losses, Protocol, Totals};
pub use http::{
    ClassCounts, Endpoint, HTTP_LOSSES, HttpProtocol, HttpReport, HttpSide, HttpSpec, HttpStatus, HttpTotals,
    REQUEST_CLASSES, TLS_LISTED, TLS_REASON, TlsProcesses, UNOBSERVED_REASONS, by_class,
};
pub use ports::{PortRangeError, parse_port, parse_ports};
pub use profile::{
    MAX_PROFILE_KIBIBYTES, MIN_PROFILE_KIBIBYTES, PROFILE_BYTES, PROFILE_INTERVAL, ProfileBytes, TRACE_LABEL,
    TrafficTraceProfile, TrafficTraceProfileSpec, profile_bytes, trace_label,
};
pub use report::{
    FINISHED_LABEL, Interruption, NODE_LABEL, NotVisible, PROFILE_INTERVAL_ANNOTATION,
    PROFILE_SIZE_ANNOTATION, REFUSED_MESSAGE, REPORT_INTERVAL_ANNOTATION, Refused, START_TIME_ANNOTATION,
    TRACE_UID_LABEL, TrafficTraceReport, TrafficTraceReportSpec, node_label, report_name,
};
pub use row::{COLUMNS, FlowRow, column_names, decode_rows};
pub use stacks::{StackTotals, StacksSpec, StacksStatus};
pub use status::{
    Phase, RefusedNode, SkewedClock, Summary, TrafficTraceStatus, condition_reason, condition_type,
};
pub use trace::{DirectionFilter, GroupBy, TrafficTrace, TrafficTraceSpec};
pub use validate::{FieldError, ValidationFailed};
pub use yaml::all_crds_yaml;

/// API group of all objects.
pub const GROUP: &str = "traffictrace.dev";
/// API version of all objects.
pub const VERSION: &str = "v1alpha1";
