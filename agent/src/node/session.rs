//! One trace on this node, and where it stands.

use std::time::Duration;

use jiff::Timestamp;
use traffictrace_crd::{NotVisible, PROFILE_INTERVAL, Refused, StackTotals, TrafficTraceReportSpec};

use super::state::{Now, Settings};
use crate::engine::EngineError;
use crate::report::History;
use crate::session::{Trace, Uid};

/// The first report comes this long after the trace was armed: soon enough for a person who waits, late enough to
/// have something to say. Spread, because all nodes see a new trace at once.
const FIRST_REPORT: (Duration, Duration) = (Duration::from_millis(800), Duration::from_millis(2500));
/// How long a trace that the kernel refused waits for another try.
const RETRY: Duration = Duration::from_secs(30);

/// The stand of a trace on this node. `state/mod.rs` has the transitions.
#[derive(Debug)]
pub(super) enum Stand {
    /// Nothing is to be done for it here.
    Idle,
    /// Its bytes are counted in the kernel.
    Counting(Session),
    /// Its bytes should be counted and are not.
    Refused(Session, Refusal),
    /// Over here for good: its last report is made.
    Ended,
}

/// A trace that is reported on.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) history: History,
    /// The number of pods that it selects now.
    pub(super) active_pods: usize,
    pub(super) not_visible: Vec<NotVisible>,
    /// When the next report is due.
    pub(super) due: Duration,
    /// Until when no report may come before its interval is over: one has, and pods may come and go all the time.
    unhurried_until: Duration,
    /// The next report needs all rows.
    pub(super) all_rows: bool,
    /// The report that its next one goes on from. Not at once: only when the containers of its pods have been looked at
    /// can rows of before be told to be of the same container as what is counted now.
    pub(super) goes_on: Option<GoesOn>,
    /// The profile of this run of counting.
    pub(super) profile: ProfileState,
}

/// What is known of the profile of a run of counting.
#[derive(Debug)]
pub(super) struct ProfileState {
    /// The beginning of the run.
    pub(super) began: Timestamp,
    /// The same, by the agent's own time.
    begin: Duration,
    /// When the last profile was made.
    made: Option<Duration>,
    /// A part of the interval at random, so that nodes do not all write at once.
    part: f64,
    /// The sums of the last one.
    pub(super) last: Option<StackTotals>,
}

impl ProfileState {
    /// Of a run that begins now.
    pub(super) fn new(now: Now) -> Self {
        Self { began: now.time, begin: now.running, made: None, part: fastrand::f64(), last: None }
    }

    /// The time of the next profile, of which there is one in an interval that can change. The first ones of all nodes, which
    /// begin at one time, are spread over the whole of it.
    pub(super) fn due(&self, interval: Duration) -> Duration {
        let quarter = self.part / 4.0;
        match self.made {
            Some(made) => made + interval.mul_f64(1.0 + quarter),
            None => {
                let spread = interval.saturating_sub(PROFILE_INTERVAL);
                self.begin + PROFILE_INTERVAL.mul_f64(1.0 + quarter) + spread.mul_f64(self.part)
            }
        }
    }

    /// Notes that a profile is made.
    pub(super) fn made(&mut self, now: Now) {
        (self.made, self.part) = (Some(now.running), fastrand::f64());
    }
}

/// A report of before that is gone on from.
#[derive(Debug)]
pub(super) struct GoesOn {
    pub(super) kept: Box<TrafficTraceReportSpec>,
    /// Why tracing was interrupted.
    pub(super) reason: String,
    /// The time at which tracing went on.
    pub(super) at: Timestamp,
}

/// Why and since when a trace does not count.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) why: Refused,
    pub(super) since: Timestamp,
    /// The moment of another try; without it, as soon as the planner has room.
    pub(super) retry: Option<Duration>,
    /// The last report of when it counted, which is shown on.
    pub(super) kept: Option<Box<TrafficTraceReportSpec>>,
}

impl Session {
    /// Of a trace that begins now. `spread`: how long its nodes' first reports are spread over.
    pub(super) fn new(trace: &Trace, epoch: i64, spread: Duration, now: Now) -> Self {
        let (earliest, latest) = FIRST_REPORT;
        Self {
            history: History::new(now.time, epoch),
            active_pods: 0,
            not_visible: Vec::new(),
            due: now.running + earliest + (latest - earliest + spread).mul_f64(fastrand::f64()),
            unhurried_until: Duration::ZERO,
            all_rows: !trace.containers.is_empty(),
            goes_on: None,
            profile: ProfileState::new(now),
        }
    }

    /// The number of rows that the next report needs.
    pub(super) fn rows(&self, trace: &Trace) -> usize {
        if self.all_rows { usize::MAX } else { trace.top_flows }
    }

    /// Takes the number of pods that are selected now. When the last one is gone, the node says so soon and not at the end
    /// of the interval, since a node that is drained is often deleted next. The reports of several nodes are spread: all
    /// pods of a Deployment may go at once.
    pub(super) fn select(&mut self, active_pods: usize, interval: Duration, spread: Duration, now: Now) {
        let emptied = self.active_pods > 0 && active_pods == 0;
        self.active_pods = active_pods;
        if emptied && now.running >= self.unhurried_until {
            self.due = self.due.min(now.running + spread.mul_f64(fastrand::f64()));
            self.unhurried_until = now.running + interval;
        }
    }

    /// Sets the time of the next report: after the interval, give or take a twentieth, so that nodes do not all write
    /// at once.
    pub(super) fn reported(&mut self, report: &TrafficTraceReportSpec, interval: Duration, now: Now) {
        self.due = now.running + interval.mul_f64(0.95 + 0.1 * fastrand::f64());
        // Bytes without a process or peer are summed over all rows.
        self.all_rows |= report.totals.unattributed_bytes > 0 || !report.lost.is_empty();
    }
}

impl Refusal {
    pub(super) fn too_many(now: Now) -> Self {
        let why = Refused { reason: "TooManySessions".into(), message: EngineError::Full.to_string() };
        Self { why, since: now.time, retry: None, kept: None }
    }

    pub(super) fn failed(error: &EngineError, now: Now) -> Self {
        let reason = match error {
            EngineError::Full => "TooManySessions",
            EngineError::Thread { .. } => "NoResources",
            EngineError::NoSession(_) | EngineError::Kernel(_) => "KernelNotSupported",
        };
        let why = Refused { reason: reason.into(), message: error.to_string() };
        Self { why, since: now.time, retry: Some(now.running + RETRY), kept: None }
    }

    /// The same with what was counted before.
    pub(super) fn keeping(self, kept: Option<Box<TrafficTraceReportSpec>>) -> Self {
        Self { kept, ..self }
    }
}

impl Stand {
    /// Of a trace that this node reports on.
    pub(super) fn session(&self) -> Option<&Session> {
        match self {
            Self::Counting(session) | Self::Refused(session, _) => Some(session),
            Self::Idle | Self::Ended => None,
        }
    }

    pub(super) fn session_mut(&mut self) -> Option<&mut Session> {
        match self {
            Self::Counting(session) | Self::Refused(session, _) => Some(session),
            Self::Idle | Self::Ended => None,
        }
    }
}

/// A trace that this node knows.
#[derive(Debug)]
pub(super) struct Tracked {
    pub(super) trace: Trace,
    pub(super) stand: Stand,
    /// The part of its newest spec that is not done here, and why.
    pub(super) not_enforced: Option<String>,
    /// Why its HTTP requests are not counted here, if the kernel refused that; its flows are.
    pub(super) without_http: Option<String>,
    /// Why no stacks are taken for it here, if the kernel refused that; its flows are counted.
    pub(super) without_stacks: Option<String>,
}

impl Tracked {
    /// A trace of which nothing was tried yet.
    pub(super) fn new(trace: Trace, stand: Stand) -> Self {
        Self { trace, stand, not_enforced: None, without_http: None, without_stacks: None }
    }

    /// The parts of its newest spec that are not done here, each with its field and the reason.
    pub(super) fn all_not_enforced(&self, settings: &Settings) -> Vec<String> {
        let without_tls = settings.without_tls.as_deref();
        let asks_for_tls = self.trace.http.as_ref().is_some_and(|http| http.tls);
        let http = match (&self.without_http, without_tls) {
            (Some(why), _) => Some(format!("http: {why}")),
            (None, Some(why)) if asks_for_tls => Some(format!("http.tls: {why}")),
            (None, _) => None,
        };
        let stacks = settings.without_stacks.as_ref().or(self.without_stacks.as_ref());
        let stacks = stacks.filter(|_| self.trace.stacks.is_some()).map(|why| format!("stacks: {why}"));
        self.not_enforced.iter().cloned().chain(http).chain(stacks).collect()
    }

    /// The pods that it selects or has selected.
    pub(super) fn pods(&self) -> impl Iterator<Item = &Uid> {
        self.stand.session().into_iter().flat_map(|session| &session.history.pods)
    }
}
