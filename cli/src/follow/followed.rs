//! A trace that is being followed: its last state, the next event, and the end.

use std::process::ExitCode;

use tokio::time::{Instant, sleep_until};
use traffictrace_crd::{Phase, TrafficTrace};
use traffictrace_view::{
    Snapshot,
    report::{Moment, Series},
    snapshot::State,
};

use super::{
    functions::Functions,
    progress,
    watch::{Event, Watch},
};
use crate::{error::CliError, snapshot, stop::Stop};

/// The way in which following a trace ended.
#[derive(Debug)]
pub(crate) enum Ending {
    /// The trace is over.
    Completed,
    /// The trace could not run, for this reason.
    Failed(String),
    /// Somebody has deleted the trace.
    Deleted,
    /// The user asked to end.
    Asked,
    /// The API server refuses the watch from now on.
    Refused(CliError),
}

impl Ending {
    /// Returns the sentence that the live screen shows at the end.
    pub(super) fn on_screen(&self) -> String {
        match self {
            Self::Completed | Self::Asked => String::new(),
            Self::Failed(why) => why.clone(),
            Self::Deleted => "The trace was deleted.".to_owned(),
            Self::Refused(error) => error.to_string(),
        }
    }

    /// Returns the exit status: that of an error if the trace ended too early.
    pub(crate) fn result(self, trace: &str) -> Result<ExitCode, CliError> {
        match self {
            Self::Completed | Self::Asked => Ok(ExitCode::SUCCESS),
            Self::Failed(why) => Err(CliError::Failed(format!("trace {trace} failed: {why}"))),
            Self::Deleted => Err(CliError::Failed(format!("trace {trace} was deleted"))),
            Self::Refused(error) => Err(error),
        }
    }
}

/// An event for the output of a trace.
#[derive(Debug)]
pub(super) enum News {
    /// The trace has changed.
    Numbers(Snapshot),
    /// The API server cannot be reached. The snapshot has the last numbers.
    Unreachable(Snapshot, CliError),
    /// The trace has not changed for some seconds.
    Late,
    /// No more events will come. The snapshot has the last numbers if they have changed.
    Over(Ending, Option<Snapshot>),
}

/// The last state of the followed trace, and its totals over time.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) trace: TrafficTrace,
    pub(crate) series: Series,
}

impl Seen {
    /// Starts with a trace that was just read.
    pub(crate) fn new(trace: TrafficTrace) -> Self {
        let mut seen = Self { trace, series: Series::default() };
        seen.note();
        seen
    }

    /// Adds the current totals of the trace to the series.
    fn note(&mut self) {
        let status = self.trace.status.as_ref();
        let Some(status) = status.filter(|status| status.update_time.is_some()) else { return };
        if let Some(start) = &status.start_time {
            // A trace begins with 0 bytes. If there are later moments already, this adds nothing.
            self.series.add(Moment { time: start.0, ..Moment::default() });
        }
        self.series.add(Moment::from(&snapshot::of(&self.trace)));
    }
}

/// The trace that is being followed.
pub(super) struct Followed<'a> {
    pub(super) watch: Watch,
    pub(super) stop: &'a mut Stop,
    pub(super) seen: &'a mut Seen,
    pub(super) functions: Functions,
    /// Time at which the trace counts as late if it has not changed.
    pub(super) late: Option<Instant>,
    /// Time at which following ends.
    pub(super) end: Option<Instant>,
}

impl Followed<'_> {
    /// Waits for the next event.
    pub(super) async fn next(&mut self) -> News {
        let moment = |at: Option<Instant>| async move {
            match at {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.stop.asked() => News::Over(Ending::Asked, None),
            () = moment(self.end) => News::Over(Ending::Asked, None),
            () = moment(self.late) => {
                self.late = None;
                News::Late
            }
            () = self.functions.read() => News::Numbers(self.snapshot()),
            event = self.watch.next() => self.apply(event),
        }
    }

    fn apply(&mut self, event: Event) -> News {
        match event {
            Event::Trace(trace) => {
                self.seen.trace = *trace;
                self.seen.note();
                self.functions.look(&self.seen.trace, Instant::now());
            }
            Event::Gone => return News::Over(Ending::Deleted, Some(self.snapshot_in(State::Deleted))),
            Event::Interrupted(error) => {
                return News::Unreachable(self.snapshot_in(State::Unreachable), error);
            }
            Event::Refused(error) => {
                return News::Over(Ending::Refused(error), Some(self.snapshot_in(State::Unreachable)));
            }
        }
        let trace = &self.seen.trace;
        match progress::phase(trace) {
            Some(Phase::Completed) => News::Over(Ending::Completed, Some(self.snapshot())),
            Some(Phase::Failed) => {
                News::Over(Ending::Failed(progress::failure(trace)), Some(self.snapshot()))
            }
            _ => News::Numbers(self.snapshot()),
        }
    }

    /// Returns the last numbers of a trace that is over, with the functions of its last profiles.
    pub(super) async fn with_last_functions(&mut self) -> Snapshot {
        self.functions.read_last(&self.seen.trace).await;
        self.snapshot()
    }

    /// Returns the last numbers.
    fn snapshot(&self) -> Snapshot {
        let mut snapshot = snapshot::of(&self.seen.trace);
        self.functions.add_to(&mut snapshot);
        snapshot
    }

    /// Returns the last numbers with another state.
    fn snapshot_in(&self, state: State) -> Snapshot {
        Snapshot { state, ..self.snapshot() }
    }
}
