//! One trace on this node.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use traffictrace_crd::{NotVisible, Refused, TrafficTraceReport};

use crate::engine::{EngineError, SessionSpec};
use crate::report::{History, Resumed};
use crate::session::{Refusal, Trace};

/// The first report comes this long after the trace was armed: soon enough for a person who waits, late enough to
/// have something to say. Spread, because all nodes see a new trace at once.
const FIRST_REPORT: (Duration, Duration) = (Duration::from_millis(800), Duration::from_millis(2500));
/// How long a trace that the kernel refused waits for another try.
const RETRY: Duration = Duration::from_secs(30);

/// A trace that selects, or selected, pods of this node.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) state: State,
    pub(super) history: History,
    pub(super) not_visible: Vec<NotVisible>,
    /// The report of an agent before this one has not been looked for yet; until then nothing is reported.
    pub(super) waiting: bool,
    /// What an agent before this one had counted, while this one is refused and cannot go on from it.
    pub(super) resumed: Option<Resumed>,
    /// When the next report is due.
    pub(super) due: Instant,
    /// The next report needs all rows.
    pub(super) all_rows: bool,
}

/// What a session does in the kernel.
#[derive(Debug)]
pub(super) enum State {
    /// It counts, by this specification.
    Armed(SessionSpec),
    /// It does not, and why.
    Refused { why: Refused, retry: Instant },
}

impl Session {
    pub(super) fn new(state: State, trace: &Trace, now: Timestamp) -> Self {
        let (earliest, latest) = FIRST_REPORT;
        Self {
            state,
            history: History::new(now),
            not_visible: Vec::new(),
            waiting: true,
            resumed: None,
            due: Instant::now() + earliest + (latest - earliest).mul_f64(fastrand::f64()),
            all_rows: !trace.containers.is_empty(),
        }
    }

    /// Rows that the next report needs.
    pub(super) fn rows(&self, trace: &Trace) -> usize {
        if self.all_rows { usize::MAX } else { trace.top_flows }
    }

    /// Sets the time of the next report: after the interval, give or take a twentieth, so that nodes do not all write
    /// at once.
    pub(super) fn reported(&mut self, report: &TrafficTraceReport, interval: Duration) {
        self.due = Instant::now() + interval.mul_f64(0.95 + 0.1 * fastrand::f64());
        // Bytes without a process or peer are summed over all rows.
        let spec = &report.spec;
        self.all_rows |= spec.totals.unattributed_bytes > 0 || !spec.lost.is_empty();
    }
}

impl State {
    pub(super) fn refused(why: Refused) -> Self {
        Self::Refused { why, retry: Instant::now() + RETRY }
    }

    pub(super) fn too_many(refusal: Refusal) -> Self {
        let Refusal::TooManySessions = refusal;
        let why = Refused { reason: "TooManySessions".into(), message: EngineError::Full.to_string() };
        // Not a matter of time: the planner says when there is room.
        Self::Refused { why, retry: Instant::now() }
    }

    pub(super) fn failed(error: &EngineError) -> Self {
        let reason = match error {
            EngineError::Full => "TooManySessions",
            EngineError::NoSession(_) | EngineError::Kernel(_) => "KernelNotSupported",
        };
        Self::refused(Refused { reason: reason.into(), message: error.to_string() })
    }
}
