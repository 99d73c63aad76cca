//! The parts that all commands for one host share: the target (containers, a cgroup or a process), the filters, and the
//! engine's settings.

mod args;
mod containers;
mod error;
mod filter;
mod printer;
mod recording;
mod snapshot;
mod table;
mod target;
mod traced;

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::signal::unix::{Signal, SignalKind, signal};

pub(crate) use self::{
    args::{EngineArgs, TRACING, TargetArgs, duration, interval, some_time},
    containers::Names,
    error::HostError,
    filter::{FilterArgs, TrafficArgs},
    printer::Printer,
    recording::Recording,
    table::table,
    target::Target,
    traced::{Listed, Plan, Traced},
};

/// Time after a signal within which another signal is part of the same request: `timeout` signals the command, and then the
/// process group of the command.
const SAME_REQUEST: Duration = Duration::from_millis(100);

/// Receives Ctrl-C and SIGTERM. Each wait ends with the next signal.
#[derive(Debug)]
pub(crate) struct Interruption {
    interrupt: Signal,
    terminate: Signal,
    last: Option<Instant>,
}

impl Future for Interruption {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        while (self.interrupt.poll_recv(cx), self.terminate.poll_recv(cx)) != (Poll::Pending, Poll::Pending) {
            if self.last.is_none_or(|last| last.elapsed() >= SAME_REQUEST) {
                self.last = Some(Instant::now());
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }
}

/// Installs handlers for Ctrl-C and SIGTERM.
pub(crate) fn interruption() -> Result<Interruption, HostError> {
    let interrupt = signal(SignalKind::interrupt()).map_err(HostError::Signal)?;
    let terminate = signal(SignalKind::terminate()).map_err(HostError::Signal)?;
    Ok(Interruption { interrupt, terminate, last: None })
}
