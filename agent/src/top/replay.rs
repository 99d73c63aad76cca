//! A recording, on the live screen at the pace at which it was made, or printed at once.

use std::{
    path::Path,
    sync::mpsc::{Sender, channel},
    thread,
    time::Duration,
};

use tokio::task::spawn_blocking;
use traffictrace_view::live::{self, Settings, Update};

use super::{args::TopArgs, print};
use crate::host::{HostError, Recording};

/// Longest time between two snapshots on the screen, at the pace of the recording.
const LONGEST: Duration = Duration::from_secs(60);

/// Shows the recording.
pub(super) async fn run(
    args: &TopArgs,
    file: &Path,
    has_screen: bool,
    mut stopped: impl Future<Output = ()> + Unpin,
) -> Result<(), HostError> {
    let recording = Recording::open(file)?;
    if has_screen {
        return show(args, recording).await;
    }
    let mut printer = print::printer(args);
    for (at, snapshot) in recording.enumerate() {
        if args.count.is_some_and(|count| at as u64 >= count) {
            break;
        }
        printer.start(snapshot?);
        let wants_more = tokio::select! {
            finished = printer.finish() => finished.map_err(HostError::Output)?,
            () = &mut stopped => false,
        };
        if !wants_more {
            break;
        }
    }
    Ok(())
}

async fn show(args: &TopArgs, mut recording: Recording) -> Result<(), HostError> {
    // What is no recording is told in plain words, not on a screen.
    let Some(first) = recording.next().transpose()? else { return Ok(()) };
    let settings = Settings { is_replay: true, ..args.screen(first.subject.clone()) };
    let speed = args.speed;
    let (updates, source) = channel();
    // The thread ends with the screen, which takes no more then, or with this process.
    thread::spawn(move || {
        let snapshots = std::iter::once(Ok(first)).chain(recording);
        play(snapshots, speed, &updates);
    });
    let screen = spawn_blocking(move || live::run(settings, &source));
    let exit = screen.await.map_err(|error| HostError::Output(std::io::Error::other(error)))?;
    exit.map(drop).map_err(HostError::Screen)
}

/// Sends the screen each snapshot when its time has come.
fn play(
    snapshots: impl Iterator<Item = Result<traffictrace_view::Snapshot, HostError>>,
    speed: f64,
    updates: &Sender<Update>,
) {
    let mut before = None;
    for snapshot in snapshots {
        let update = match snapshot {
            Ok(snapshot) => {
                if let Some(before) = before.replace(snapshot.time) {
                    let pause = Duration::try_from(snapshot.time.duration_since(before)).unwrap_or_default();
                    thread::sleep(pause.min(LONGEST).div_f64(speed));
                }
                Update::Snapshot(Box::new(snapshot))
            }
            Err(error) => Update::End(format!("{error}.")),
        };
        if updates.send(update).is_err() {
            return;
        }
    }
    let _ = updates.send(Update::End("End of the recording.".to_owned()));
}
