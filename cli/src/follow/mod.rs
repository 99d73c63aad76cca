//! Following a trace: its progress until the first numbers are there, then the live screen or plain output, to its end.

mod functions;
mod printer;
mod progress;
mod screen;
mod watch;

use std::{process::ExitCode, time::Duration};

use clap::Args;
use kube::ResourceExt as _;
use tokio::time::{Instant, sleep_until};
use traffictrace_crd::{Phase, TrafficTrace};
use traffictrace_view::{
    Snapshot,
    args::ViewArgs,
    live, losses,
    report::{Moment, Series},
    snapshot::State,
};

use self::{functions::Functions, printer::Printer, progress::Progress};
pub(crate) use self::{
    printer::Output,
    watch::{Event, Watch},
};
use crate::{cluster::Cluster, error::CliError, snapshot, stop::Stop, text::say};

/// Time after which a trace without numbers is told what it lacks: it is known within 5 s, that of the requests included.
const LATE: Duration = Duration::from_secs(4);

/// Options of the commands that follow a trace.
#[derive(Debug, Clone, Args)]
pub(crate) struct FollowArgs {
    /// End after this many tables, one for each report [default: go on until the trace ends or Ctrl-C].
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..), help_heading = "View")]
    count: Option<u64>,

    /// Show this many rows, those with the most bytes; in JSON and CSV this many flows [default: 20 in a table; all in JSON
    /// and CSV].
    #[arg(long, value_name = "ROWS", help_heading = "View")]
    top: Option<usize>,

    #[command(flatten)]
    view: ViewArgs,
}

/// How a trace is followed.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) args: &'a FollowArgs,
    pub(crate) output: Output,
    /// The flows that are shown.
    pub(crate) filter: String,
    /// Longest time to follow.
    pub(crate) limit: Option<Duration>,
}

/// The way in which following a trace ended.
#[derive(Debug)]
pub(crate) enum Ending {
    /// The trace is over.
    Completed,
    /// The trace could not be done, for this reason.
    Failed(String),
    /// Somebody has deleted the trace.
    Deleted,
    /// The user has seen enough.
    Asked,
    /// The API server does not let the trace be watched any more.
    Refused(CliError),
}

impl Ending {
    /// The sentence at the end of the live screen.
    fn on_screen(&self) -> String {
        match self {
            Self::Completed | Self::Asked => String::new(),
            Self::Failed(why) => why.clone(),
            Self::Deleted => "The trace was deleted.".to_owned(),
            Self::Refused(error) => error.to_string(),
        }
    }

    /// The exit status: that of an error for what ended too early.
    pub(crate) fn result(self, trace: &str) -> Result<ExitCode, CliError> {
        match self {
            Self::Completed | Self::Asked => Ok(ExitCode::SUCCESS),
            Self::Failed(why) => Err(CliError::Failed(format!("trace {trace} failed: {why}"))),
            Self::Deleted => Err(CliError::Failed(format!("trace {trace} was deleted"))),
            Self::Refused(error) => Err(error),
        }
    }
}

/// News for whoever shows a trace.
#[derive(Debug)]
enum News {
    /// The trace has changed.
    Numbers(Snapshot),
    /// The API server cannot be reached. The numbers are the last ones.
    Unreachable(Snapshot, CliError),
    /// Nothing has changed for some seconds.
    Late,
    /// Nothing more will come. The numbers are the last ones, where they have changed.
    Over(Ending, Option<Snapshot>),
}

/// The last state of a trace that is followed, and its totals over time.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) trace: TrafficTrace,
    pub(crate) series: Series,
}

impl Seen {
    /// A trace that was just read.
    pub(crate) fn new(trace: TrafficTrace) -> Self {
        let mut seen = Self { trace, series: Series::default() };
        seen.note();
        seen
    }

    /// Adds the totals of the trace as it is now.
    fn note(&mut self) {
        let status = self.trace.status.as_ref();
        let Some(status) = status.filter(|status| status.update_time.is_some()) else { return };
        if let Some(start) = &status.start_time {
            // A trace begins without bytes. Once there are later moments, this adds nothing.
            self.series.add(Moment { time: start.0, ..Moment::default() });
        }
        self.series.add(Moment::from(&snapshot::of(&self.trace)));
    }
}

/// A trace that is followed.
struct Followed<'a> {
    watch: Watch,
    stop: &'a mut Stop,
    seen: &'a mut Seen,
    functions: Functions,
    late: Option<Instant>,
    end: Option<Instant>,
}

impl Followed<'_> {
    async fn next(&mut self) -> News {
        let moment = |at: Option<Instant>| async move {
            match at {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.stop.asked(1) => News::Over(Ending::Asked, None),
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

    /// The last numbers.
    fn snapshot(&self) -> Snapshot {
        let mut snapshot = snapshot::of(&self.seen.trace);
        self.functions.add_to(&mut snapshot);
        snapshot
    }

    /// The last numbers, in another state.
    fn snapshot_in(&self, state: State) -> Snapshot {
        Snapshot { state, ..self.snapshot() }
    }
}

/// Follows a trace to its end, or until the user has seen enough.
///
/// # Errors
///
/// [`CliError`] when the output cannot be written, or the filter not be read.
pub(crate) async fn follow(
    cluster: &Cluster,
    seen: &mut Seen,
    plan: &Plan<'_>,
    stop: &mut Stop,
) -> Result<Ending, CliError> {
    let view = &plan.args.view;
    let wrong_filter = |error: traffictrace_view::FilterError| CliError::Usage(error.to_string());
    let table = view.table(plan.args.top.unwrap_or(20), &plan.filter).map_err(wrong_filter)?;
    let printer = Printer::new(plan.output, table, plan.args.top.unwrap_or(usize::MAX));
    let now = Instant::now();
    let subject = format!("trace {}/{}", cluster.namespace, seen.trace.name_any());
    let settings = view.screen(subject, &plan.filter).map_err(wrong_filter)?;
    let wants_screen = plan.output == Output::Table && plan.args.count.is_none() && view.wants_screen();
    let on_screen = wants_screen && live::is_possible();
    let mut followed = Followed {
        watch: Watch::new(cluster, &seen.trace),
        stop,
        seen,
        functions: Functions::new(on_screen.then_some(cluster)),
        late: Some(now + LATE),
        end: plan.limit.map(|limit| now + limit),
    };
    let first = match first_numbers(&mut followed).await {
        First::Numbers(snapshot) => snapshot,
        First::Over(ending, snapshot) => {
            if let (Ending::Completed, Some(snapshot)) = (&ending, snapshot) {
                print(&mut followed, printer, snapshot, 1).await?;
            }
            return Ok(ending);
        }
    };
    if on_screen {
        return screen::run(&mut followed, settings, first).await;
    }
    print(&mut followed, printer, first, plan.args.count.unwrap_or(u64::MAX)).await
}

/// Follows a trace to its end, or until the user has waited enough, without showing it.
pub(crate) async fn await_end(cluster: &Cluster, seen: &mut Seen, stop: &mut Stop) -> Ending {
    let watch = Watch::new(cluster, &seen.trace);
    let mut followed = Followed { watch, stop, seen, functions: Functions::new(None), late: None, end: None };
    let mut outage = Outage::default();
    loop {
        match followed.next().await {
            News::Numbers(_) => outage.over(),
            News::Unreachable(_, error) => outage.begin(&error),
            News::Late => {}
            News::Over(ending, _) => return ending,
        }
    }
}

enum First {
    Numbers(Snapshot),
    Over(Ending, Option<Snapshot>),
}

/// Tells of the progress of a trace until a node has reported.
async fn first_numbers(followed: &mut Followed<'_>) -> First {
    let mut progress = Progress::default();
    let mut outage = Outage::default();
    loop {
        match followed.next().await {
            News::Numbers(snapshot) => {
                outage.over();
                if let Some(news) = progress.news(&followed.seen.trace) {
                    say(&news);
                    // What is awaited now has its own time.
                    followed.late = Some(Instant::now() + LATE);
                }
                if progress::phase(&followed.seen.trace) == Some(Phase::Running) {
                    return First::Numbers(snapshot);
                }
            }
            News::Unreachable(_, error) => outage.begin(&error),
            News::Late => {
                if let Some(missing) = progress::missing(&followed.seen.trace, LATE.as_secs()) {
                    say(&missing);
                }
            }
            News::Over(ending, snapshot) => return First::Over(ending, snapshot),
        }
    }
}

/// Prints the numbers whenever they have changed.
async fn print(
    followed: &mut Followed<'_>,
    mut printer: Printer,
    first: Snapshot,
    count: u64,
) -> Result<Ending, CliError> {
    let mut outage = Outage::default();
    let (mut snapshot, mut ending) = (Some(first), None);
    loop {
        if let Some(snapshot) = snapshot.filter(|snapshot| printer.is_news(snapshot)) {
            let wants_more = tokio::select! {
                wants_more = printer.print(&snapshot) => wants_more?,
                () = followed.stop.asked(1) => false,
            };
            let is_last = ending.is_some() || !wants_more || printer.printed >= count;
            // CSV has no line for what is in no flow.
            if is_last && printer.output == Output::Csv {
                losses::in_words(&snapshot).iter().for_each(|loss| say(loss));
            }
            if is_last {
                return Ok(ending.unwrap_or(Ending::Asked));
            }
        }
        if let Some(ending) = ending {
            return Ok(ending);
        }
        (snapshot, ending) = match followed.next().await {
            News::Numbers(snapshot) => {
                outage.over();
                (Some(snapshot), None)
            }
            News::Unreachable(_, error) => {
                outage.begin(&error);
                (None, None)
            }
            News::Late => (None, None),
            News::Over(ending @ Ending::Completed, snapshot) => (snapshot, Some(ending)),
            News::Over(ending, _) => return Ok(ending),
        };
    }
}

/// A time without the API server, which is told once.
#[derive(Debug, Default)]
struct Outage {
    is_told: bool,
}

impl Outage {
    fn begin(&mut self, error: &CliError) {
        if !std::mem::replace(&mut self.is_told, true) {
            say(&format!("{error}. Trying again."));
        }
    }

    fn over(&mut self) {
        if std::mem::take(&mut self.is_told) {
            say("The server answers again.");
        }
    }
}
