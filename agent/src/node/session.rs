//! A trace on this node, and its state.

use std::time::Duration;

use jiff::Timestamp;
use traffictrace_crd::{NotVisible, PROFILE_INTERVAL, Refused, StackTotals, TrafficTraceReportSpec};

use super::state::{Now, Settings};
use crate::engine::EngineError;
use crate::report::History;
use crate::session::{Trace, Uid};

/// Earliest and latest time of the first report after counting began: soon enough for a waiting user, late enough to
/// contain traffic. The reports are spread, because all nodes see a new trace at the same time. In large clusters the
/// latest time is later, see [`Session::new`].
const FIRST_REPORT: (Duration, Duration) = (Duration::from_millis(800), Duration::from_millis(2500));
/// Pause before the next attempt for a trace that the kernel refused.
const RETRY: Duration = Duration::from_secs(30);

/// State of a trace on this node. `state/mod.rs` has the transitions.
#[derive(Debug)]
pub(super) enum Stand {
    /// Nothing has to be done for the trace here.
    Idle,
    /// The trace's traffic is counted.
    Counting(Session),
    /// The trace's traffic should be counted, but is not.
    Refused(Session, Refusal),
    /// The trace is over on this node, and its last report was passed on for writing.
    Ended,
}

/// A trace that this node reports on.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) history: History,
    /// Number of pods that the trace selects now.
    pub(super) active_pods: usize,
    pub(super) not_visible: Vec<NotVisible>,
    /// Time of the next report. Like all times of type `Duration` in this file, it is counted from the agent's start
    /// ([`Now::running`]).
    pub(super) due: Duration,
    /// Time until which the end of the last pod causes no further early report (see [`Session::select`]), because pods
    /// may come and go all the time.
    unhurried_until: Duration,
    /// Set if reports need all rows, not only the largest `spec.topFlows`: to leave out the rows of other containers,
    /// or to sum up bytes without a process or peer.
    pub(super) all_rows: bool,
    /// An earlier report whose counts this session has not added yet. It adds them when it makes its first report or
    /// profile: by then the pods' containers were found, so that earlier rows can be matched with the rows counted now.
    pub(super) goes_on: Option<GoesOn>,
    /// The profile of this run of counting.
    pub(super) profile: ProfileState,
}

/// State of the profile of one run of counting. A run lasts from the start of a trace's session in the kernel to its
/// stop. The next run, of this agent or a later one, has a larger epoch, and the profiles of both are added up.
#[derive(Debug)]
pub(super) struct ProfileState {
    /// Beginning of the run, by the API server's clock.
    pub(super) began: Timestamp,
    /// Beginning of the run in the agent's running time.
    begin: Duration,
    /// Time of the last profile; `None` if there is none yet.
    made: Option<Duration>,
    /// A random number from 0 to 1 that shifts the next profile, so that not all nodes write at once.
    part: f64,
    /// Sums of the last profile.
    pub(super) last: Option<StackTotals>,
}

impl ProfileState {
    /// Creates the state of a run that begins now.
    pub(super) fn new(now: Now) -> Self {
        Self { began: now.time, begin: now.running, made: None, part: fastrand::f64(), last: None }
    }

    /// Returns the time of the next profile: 1 to 1.25 intervals after the last one. All nodes begin to count at the
    /// same time, so the first profiles are spread over the interval, but come after `PROFILE_INTERVAL` (60 s) at the
    /// earliest. `interval` is the controller's, and can change.
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

    /// Records that a profile was made.
    pub(super) fn made(&mut self, now: Now) {
        (self.made, self.part) = (Some(now.running), fastrand::f64());
    }
}

/// An earlier report that a session continues.
#[derive(Debug)]
pub(super) struct GoesOn {
    pub(super) kept: Box<TrafficTraceReportSpec>,
    /// The reason for the interruption.
    pub(super) reason: String,
    /// The time at which tracing continued.
    pub(super) at: Timestamp,
}

/// The reason why a trace is not counted, and the time since which it is not.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) why: Refused,
    pub(super) since: Timestamp,
    /// Time of the next attempt. If absent, the trace is tried as soon as the planner has room.
    pub(super) retry: Option<Duration>,
    /// The last report that was made while the trace was counted. It is still shown.
    pub(super) kept: Option<Box<TrafficTraceReportSpec>>,
}

impl Session {
    /// Creates the session of a trace that begins now. `spread` is the time over which the first reports of its nodes
    /// are spread.
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

    /// Returns the number of rows that the next report needs.
    pub(super) fn rows(&self, trace: &Trace) -> usize {
        if self.all_rows { usize::MAX } else { trace.top_flows }
    }

    /// Sets the number of selected pods. If the last pod is gone, the node reports soon instead of at the end of the
    /// interval, since a drained node is often deleted next. Reports of several nodes are spread, because all pods of a
    /// Deployment may end at once.
    pub(super) fn select(&mut self, active_pods: usize, interval: Duration, spread: Duration, now: Now) {
        let emptied = self.active_pods > 0 && active_pods == 0;
        self.active_pods = active_pods;
        if emptied && now.running >= self.unhurried_until {
            self.due = self.due.min(now.running + spread.mul_f64(fastrand::f64()));
            self.unhurried_until = now.running + interval;
        }
    }

    /// Sets the time of the next report: after the interval, plus or minus 5 % so that not all nodes write at once.
    pub(super) fn reported(&mut self, report: &TrafficTraceReportSpec, interval: Duration, now: Now) {
        self.due = now.running + interval.mul_f64(0.95 + 0.1 * fastrand::f64());
        // The next report sums up bytes without a process or peer, and needs all rows for that.
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

    /// Adds the last report that was made while the trace was counted.
    pub(super) fn keeping(self, kept: Option<Box<TrafficTraceReportSpec>>) -> Self {
        Self { kept, ..self }
    }
}

impl Stand {
    /// Returns the session, if this node reports on the trace.
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
    /// The part of the newest spec that is not applied here, and the reason.
    pub(super) not_enforced: Option<String>,
    /// The reason why HTTP requests are not counted here, if the kernel refused that. Flows are counted.
    pub(super) without_http: Option<String>,
    /// The reason why no stacks are taken here, if the kernel refused that. Flows are counted.
    pub(super) without_stacks: Option<String>,
}

impl Tracked {
    /// Creates the record of a trace that was not tried yet.
    pub(super) fn new(trace: Trace, stand: Stand) -> Self {
        Self { trace, stand, not_enforced: None, without_http: None, without_stacks: None }
    }

    /// Returns the parts of the newest spec that are not applied here, each with its field and the reason.
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

    /// Returns the pods that the trace selects or has selected.
    pub(super) fn pods(&self) -> impl Iterator<Item = &Uid> {
        self.stand.session().into_iter().flat_map(|session| &session.history.pods)
    }
}
