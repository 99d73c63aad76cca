//! A recording: on the live screen at the speed at which it was recorded, or printed at once.

use std::{
    path::{Path, PathBuf},
    sync::mpsc::{Sender, channel},
    thread,
    time::Duration,
};

use tokio::{sync::mpsc, task::spawn_blocking};
use traffictrace_view::{
    Snapshot,
    live::{self, Settings, Update},
};

use super::{args::TopArgs, print};
use crate::host::{HostError, Recording};

/// Maximum time between two snapshots on the screen, before it is divided by `--speed`: longer gaps are shortened.
const LONGEST: Duration = Duration::from_secs(60);

/// The snapshots of a recording that is being read.
type Read = mpsc::Receiver<Result<Snapshot, HostError>>;

/// Shows the recording.
pub(super) async fn run(
    args: &TopArgs,
    file: &Path,
    has_screen: bool,
    mut stopped: impl Future<Output = ()> + Unpin,
) -> Result<(), HostError> {
    let mut recording = read(file.to_owned());
    if has_screen {
        // A file that is not a recording is reported as plain text, before the screen starts.
        let first = tokio::select! {
            first = recording.recv() => first.transpose()?,
            () = &mut stopped => None,
        };
        return match first {
            Some(first) => show(args, first, recording).await,
            None => Ok(()),
        };
    }
    let mut printer = print::printer(args);
    let mut printed = 0;
    while args.count.is_none_or(|count| printed < count) {
        let snapshot = tokio::select! {
            snapshot = recording.recv() => snapshot.transpose()?,
            () = &mut stopped => None,
        };
        let Some(snapshot) = snapshot else { break };
        printer.start(snapshot);
        let wants_more = tokio::select! {
            finished = printer.finish() => finished.map_err(HostError::Output)?,
            () = &mut stopped => false,
        };
        if !wants_more {
            break;
        }
        printed += 1;
    }
    Ok(())
}

/// Opens and reads a recording on its own thread, because opening or reading a pipe may block for any time. The thread
/// ends with the recording, when the receiver is dropped, or with this process.
fn read(file: PathBuf) -> Read {
    let (snapshots, read) = mpsc::channel(1);
    thread::spawn(move || {
        let recording = match Recording::open(&file) {
            Ok(recording) => recording,
            Err(error) => return drop(snapshots.blocking_send(Err(error))),
        };
        for snapshot in recording {
            if snapshots.blocking_send(snapshot).is_err() {
                return;
            }
        }
    });
    read
}

async fn show(args: &TopArgs, first: Snapshot, mut recording: Read) -> Result<(), HostError> {
    let settings = Settings { is_replay: true, ..args.screen(first.subject.clone()) };
    let speed = args.speed;
    let (updates, source) = channel();
    // The thread ends with the screen, which drops the receiver, or with this process.
    thread::spawn(move || {
        let rest = std::iter::from_fn(|| recording.blocking_recv());
        let snapshots = std::iter::once(Ok(first)).chain(rest);
        play(snapshots, speed, &updates);
    });
    let screen = spawn_blocking(move || live::run(settings, &source));
    let exit = screen.await.map_err(|error| HostError::Output(std::io::Error::other(error)))?;
    exit.map(drop).map_err(HostError::Screen)
}

/// Sends each snapshot to the screen when its time has come.
fn play(snapshots: impl Iterator<Item = Result<Snapshot, HostError>>, speed: f64, updates: &Sender<Update>) {
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

#[cfg(test)]
mod tests {
    use std::{fs::File, future::ready};

    use clap::Parser;
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: TopArgs,
    }

    #[tokio::test]
    async fn an_idle_pipe_does_not_keep_a_signal_from_ending_the_replay() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RWXU, 0).unwrap();
        for has_writer in [false, true] {
            let writer = has_writer.then(|| File::options().read(true).write(true).open(&pipe).unwrap());
            for has_screen in [false, true] {
                let cli = Cli::parse_from(["top".into(), "--from".into(), pipe.clone().into_os_string()]);
                run(&cli.args, &pipe, has_screen, ready(())).await.unwrap();
            }
            drop(writer);
        }
        let missing = folder.path().join("missing");
        let cli = Cli::parse_from(["top".into(), "--from".into(), missing.clone().into_os_string()]);
        let error = run(&cli.args, &missing, false, std::future::pending()).await.unwrap_err().to_string();
        assert!(error.contains("missing"), "{error}");
    }
}
