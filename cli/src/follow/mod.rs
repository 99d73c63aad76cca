//! Following a trace: its progress until the first numbers come, then the live screen or plain output, to its end.

mod followed;
mod functions;
mod lines;
mod printer;
mod progress;
mod screen;
mod watch;

use std::time::Duration;

use clap::Args;
use kube::ResourceExt as _;
use tokio::time::Instant;
use traffictrace_view::{args::ViewArgs, filter::Filter, live};

pub(crate) use self::{
    followed::{Ending, Seen},
    printer::Output,
    watch::{Event, Watch},
};
use self::{
    followed::{Followed, News},
    functions::Functions,
    lines::{First, Outage, first_numbers, print},
    printer::Printer,
};
use crate::{cluster::Cluster, error::CliError, stop::Stop};

/// Time without numbers after which the plugin looks for the reason. The user sees it within 5 s, including the time for
/// requests.
const LATE: Duration = Duration::from_secs(4);

/// Options of the commands that follow a trace.
#[derive(Debug, Clone, Args)]
pub(crate) struct FollowArgs {
    /// End after this many tables, one for each report [default: continue until the trace ends or Ctrl-C].
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..), help_heading = "View")]
    count: Option<u64>,

    /// Maximum number of rows, those with the most bytes first; in JSON and CSV, of flows [default: 20 in a table; all in
    /// JSON and CSV].
    #[arg(long, value_name = "ROWS", help_heading = "View")]
    top: Option<usize>,

    #[command(flatten)]
    view: ViewArgs,
}

/// The way in which a trace is followed.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) args: &'a FollowArgs,
    pub(crate) output: Output,
    /// Filter of the flows that are shown, in the language that the user types.
    pub(crate) filter: String,
    /// Maximum time to follow the trace.
    pub(crate) limit: Option<Duration>,
}

/// Follows a trace until its end, or until the user asks to end.
///
/// # Errors
///
/// [`CliError`] if the output cannot be written or the filter cannot be parsed.
pub(crate) async fn follow(
    cluster: &Cluster,
    seen: &mut Seen,
    plan: &Plan<'_>,
    stop: &mut Stop,
) -> Result<Ending, CliError> {
    let view = &plan.args.view;
    let filter = Filter::parse(&plan.filter).map_err(|error| CliError::Usage(error.to_string()))?;
    let mut table = view.table(plan.args.top.unwrap_or(20));
    table.choice.filter = filter.clone();
    let printer = Printer::new(plan.output, table, plan.args.top.unwrap_or(usize::MAX));
    let now = Instant::now();
    let mut settings = view.screen(format!("trace {}/{}", cluster.namespace, seen.trace.name_any()));
    settings.choice.filter = filter;
    settings.filter.clone_from(&plan.filter);
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

/// Follows a trace until its end, or until the user asks to end, without showing it.
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
