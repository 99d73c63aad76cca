//! What the commands that trace one host share: the containers, cgroup or process that are traced, the filters, and the
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

/// Time after a signal in which another one is a part of the same request: `timeout` sends its signal to the command, and
/// then to the group that the command is in.
const SAME_REQUEST: Duration = Duration::from_millis(100);

/// Ctrl-C and SIGTERM. The future ends with the first of them, and can be awaited again for the next.
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

/// Begins to catch Ctrl-C and SIGTERM.
pub(crate) fn interruption() -> Result<Interruption, HostError> {
    let interrupt = signal(SignalKind::interrupt()).map_err(HostError::Signal)?;
    let terminate = signal(SignalKind::terminate()).map_err(HostError::Signal)?;
    Ok(Interruption { interrupt, terminate, last: None })
}
