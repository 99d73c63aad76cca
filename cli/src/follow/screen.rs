//! The live screen of a trace. The screen has its own thread; this task goes on watching the trace.

use std::{io, sync::mpsc::channel, time::Duration};

use tokio::{task::spawn_blocking, time::timeout};
use traffictrace_view::{
    Snapshot,
    live::{self, Exit, LiveError, Update},
};

use super::followed::{Ending, Followed, News};
use crate::error::CliError;

/// Maximum time for the screen to end after a signal.
const LAST: Duration = Duration::from_secs(2);

/// Shows the screen until the user quits. If the trace ends earlier, its last numbers stay on the screen.
pub(super) async fn run(
    followed: &mut Followed<'_>,
    settings: live::Settings,
    first: Snapshot,
) -> Result<Ending, CliError> {
    let (updates, source) = channel();
    // Sending fails only if the screen has ended, which is handled below.
    let send = |update| drop(updates.send(update));
    send(Update::Snapshot(Box::new(first)));
    let mut screen = spawn_blocking(move || live::run(settings, &source));
    let ending = loop {
        let news = tokio::select! {
            exit = &mut screen => return quit(exit),
            news = followed.next() => news,
        };
        let (snapshot, over) = match news {
            News::Numbers(snapshot) => (Some(snapshot), None),
            News::Unreachable(snapshot, _) => (Some(snapshot), None),
            News::Late => (None, None),
            News::Over(ending, snapshot) => (snapshot, Some(ending)),
        };
        if let Some(snapshot) = snapshot {
            send(Update::Snapshot(Box::new(snapshot)));
        }
        if let Some(ending) = over {
            break ending;
        }
    };
    if matches!(ending, Ending::Completed) {
        tokio::select! {
            exit = &mut screen => return quit(exit),
            last = followed.with_last_functions() => send(Update::Snapshot(Box::new(last))),
        }
    }
    send(Update::End(ending.on_screen()));
    if matches!(ending, Ending::Asked) {
        // The screen receives the same signal and ends by itself.
        return match timeout(LAST, screen).await {
            Ok(exit) => quit(exit),
            Err(_) => Ok(Ending::Asked),
        };
    }
    quit(screen.await)?;
    Ok(ending)
}

fn quit(exit: Result<Result<Exit, LiveError>, tokio::task::JoinError>) -> Result<Ending, CliError> {
    let exit = exit.map_err(|error| CliError::Output(io::Error::other(error)))?;
    exit.map(|_| Ending::Asked).map_err(CliError::Screen)
}
