//! Output as lines: messages until the first numbers come, and plain output from then on.

use tokio::time::Instant;
use traffictrace_crd::Phase;
use traffictrace_view::{Snapshot, losses};

use super::{
    LATE, Output,
    followed::{Ending, Followed, News},
    printer::Printer,
    progress::{self, Progress},
};
use crate::{error::CliError, text::say};

/// The first numbers of a trace, or its end if that comes before any numbers.
pub(super) enum First {
    Numbers(Snapshot),
    Over(Ending, Option<Snapshot>),
}

/// Prints the progress of a trace until a node has reported.
pub(super) async fn first_numbers(followed: &mut Followed<'_>) -> First {
    let mut progress = Progress::default();
    let mut outage = Outage::default();
    loop {
        match followed.next().await {
            News::Numbers(snapshot) => {
                outage.over();
                if let Some(news) = progress.news(&followed.seen.trace) {
                    say(&news);
                    // Each step of the trace (accepted, waiting for nodes, …) has [`LATE`] for itself.
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
pub(super) async fn print(
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
                () = followed.stop.asked() => false,
            };
            let is_last = ending.is_some() || !wants_more || printer.printed >= count;
            // CSV has no line for losses, which belong to no flow.
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

/// A time without the API server, which is reported once.
#[derive(Debug, Default)]
pub(super) struct Outage {
    is_told: bool,
}

impl Outage {
    pub(super) fn begin(&mut self, error: &CliError) {
        if !std::mem::replace(&mut self.is_told, true) {
            say(&format!("{error}. Trying again."));
        }
    }

    pub(super) fn over(&mut self) {
        if std::mem::take(&mut self.is_told) {
            say("The server answers again.");
        }
    }
}
