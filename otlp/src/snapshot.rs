//! The numbers of a status that are exported.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use jiff::Timestamp;
use traffictrace_crd::{Flow, Phase, Protocol, TrafficTrace, human};

use crate::book::TraceId;

/// Hash function for [`Row::id`]. Its keys are random, so that no names can be chosen that collide.
static ROWS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
/// Maximum length of an attribute's value in characters, which is the longest name in Kubernetes.
const LONGEST: usize = 253;

/// Bytes received and bytes sent, in this order.
pub(crate) type Io = [i64; 2];

/// The numbers of a trace at one time.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) start: Timestamp,
    pub(crate) updated: Option<Timestamp>,
    pub(crate) end: Option<Timestamp>,
    pub(crate) over: bool,
    pub(crate) top_flows: usize,
    pub(crate) totals: Io,
    pub(crate) rows: Vec<Row>,
}

/// A flow of a status.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// Identifies the same flow in every status of a trace.
    pub(crate) id: u64,
    pub(crate) pod: String,
    pub(crate) container: String,
    pub(crate) command: String,
    pub(crate) protocol: Protocol,
    pub(crate) bytes: Io,
}

impl Snapshot {
    /// Returns the numbers of a trace; `None` if it has not begun.
    #[must_use]
    pub fn of(trace: &TrafficTrace) -> Option<Self> {
        let status = trace.status.as_ref()?;
        Some(Self {
            namespace: text(trace.metadata.namespace.as_deref()),
            name: text(trace.metadata.name.as_deref()),
            uid: text(trace.metadata.uid.as_deref()),
            start: status.start_time.as_ref()?.0,
            updated: status.update_time.as_ref().map(|time| time.0),
            end: status.end_time.as_ref().map(|time| time.0),
            over: matches!(status.phase, Some(Phase::Completed | Phase::Failed)),
            top_flows: usize::try_from(trace.spec.top_flows).unwrap_or(1).max(1),
            totals: [status.totals.rx_bytes.max(0), status.totals.tx_bytes.max(0)],
            rows: status.top_flows.iter().map(Row::of).collect(),
        })
    }

    /// The identity of the trace.
    #[must_use]
    pub fn id(&self) -> TraceId {
        TraceId { namespace: self.namespace.clone(), name: self.name.clone(), uid: self.uid.clone() }
    }

    /// The UID of the trace.
    #[must_use]
    pub fn uid(&self) -> &str {
        &self.uid
    }

    /// Time at which the newest of the numbers were read.
    #[must_use]
    pub fn updated(&self) -> Option<Timestamp> {
        self.updated
    }

    /// End of the trace, if it is over and these are its last numbers.
    #[must_use]
    pub fn end(&self) -> Option<Timestamp> {
        self.over.then(|| self.end.unwrap_or(self.start))
    }
}

impl Row {
    fn of(flow: &Flow) -> Self {
        let id = ROWS.hash_one((
            (&flow.pod, &flow.container, &flow.caller_container, flow.pid, &flow.command),
            (flow.protocol, flow.direction),
            (&flow.local_address, flow.local_port, &flow.remote_address, flow.remote_port),
        ));
        Self {
            id,
            pod: text(Some(&flow.pod)),
            container: text(flow.container.as_deref()),
            command: text(flow.command.as_deref()),
            protocol: flow.protocol,
            bytes: [flow.rx_bytes.max(0), flow.tx_bytes.max(0)],
        }
    }
}

/// Makes a text fit for an attribute: without control characters, and at most [`LONGEST`] characters.
fn text(text: Option<&str>) -> String {
    human::printable(text.unwrap_or_default()).chars().take(LONGEST).collect()
}
