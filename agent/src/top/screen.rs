//! The live screen for the engine. The screen has its own thread; this task goes on counting, whatever the screen shows.

use std::{
    sync::mpsc::{Sender, channel},
    time::Instant,
};

use tokio::task::{JoinHandle, spawn_blocking};
use traffictrace_view::{
    live::{self, Exit, LiveError, Update},
    snapshot::State,
};

use super::args::TopArgs;
use crate::host::{HostError, Listed, Traced};

/// Maximum number of flows on the screen. More would slow it down, and nobody reads so many. The others are folded by
/// process, and beyond 2,000 processes by cgroup, so that the rows of containers have all of their bytes.
const LISTED: usize = 2000;

/// The screen's thread.
type Screen = JoinHandle<Result<Exit, LiveError>>;

/// Shows the screen until the user quits. If the trace ends earlier, its last numbers stay on the screen.
pub(super) async fn run(
    args: &TopArgs,
    traced: &mut Traced,
    stopped: impl Future<Output = ()> + Unpin,
) -> Result<(), HostError> {
    let (updates, source) = channel();
    let settings = args.screen(traced.subject.clone());
    let mut screen: Screen = spawn_blocking(move || live::run(settings, &source));
    let followed = follow(args, traced, &updates, &mut screen, stopped).await;
    if let Ok(Some(exit)) = followed {
        return ended(exit);
    }
    if let Err(error) = &followed {
        let _ = updates.send(Update::End(format!("{error}.")));
    }
    drop(updates);
    traced.stop();
    // The screen must restore the terminal before an error is printed there.
    let exit = screen.await.map_err(|error| HostError::Output(std::io::Error::other(error)))?;
    followed.and_then(|_| ended(exit))
}

/// Sends the numbers of each interval to the screen. Returns how the screen ended, or `None` if the trace ended.
async fn follow(
    args: &TopArgs,
    traced: &mut Traced,
    updates: &Sender<Update>,
    screen: &mut Screen,
    mut stopped: impl Future<Output = ()> + Unpin,
) -> Result<Option<Result<Exit, LiveError>>, HostError> {
    let mut due = Instant::now() + args.interval();
    let end = args.duration.map(|duration| Instant::now() + duration);
    loop {
        let wake = end.map_or(due, |end| end.min(due));
        let mut over = tokio::select! {
            exit = &mut *screen => {
                return exit.map(Some).map_err(|error| HostError::Output(std::io::Error::other(error)));
            }
            () = &mut stopped => Some(String::new()),
            waited = traced.wait(wake) => waited.map(|()| None)?,
        };
        if end.is_some_and(|end| Instant::now() >= end) {
            over = Some(String::new());
        }
        if let Some(gone) = traced.follow()? {
            over = Some(format!("{gone} is gone."));
        }
        if over.is_some() || Instant::now() >= due {
            let Some(mut snapshot) = traced.snapshot(Listed::Folded(LISTED), args.interval(), over.is_some())
            else {
                return Ok(None);
            };
            if over.is_some() {
                snapshot.state = State::Completed;
            }
            // Sending fails only if the screen has ended, which the next turn of this loop handles.
            let _ = updates.send(Update::Snapshot(Box::new(snapshot)));
            due = (due + args.interval()).max(Instant::now());
        }
        if let Some(reason) = over {
            let _ = updates.send(Update::End(reason));
            return Ok(None);
        }
    }
}

fn ended(exit: Result<Exit, LiveError>) -> Result<(), HostError> {
    exit.map(drop).map_err(HostError::Screen)
}
