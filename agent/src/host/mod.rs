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

use tokio::signal::unix::{SignalKind, signal};

pub(crate) use self::{
    args::{EngineArgs, TargetArgs, duration, interval, some_time},
    containers::Names,
    error::HostError,
    filter::FilterArgs,
    printer::Printer,
    recording::Recording,
    table::table,
    target::Target,
    traced::{Plan, Traced},
};

/// Begins to catch Ctrl-C and SIGTERM; the returned future ends with the first of them.
pub(crate) fn interruption() -> Result<impl Future<Output = ()>, HostError> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(HostError::Signal)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(HostError::Signal)?;
    Ok(async move {
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
    })
}
