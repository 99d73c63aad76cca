//! What the commands that trace one host share: the container, cgroup or process that is traced, the filters, and the
//! engine's settings.

mod args;
mod container;
mod error;
mod filter;
mod table;
mod target;

use tokio::signal::unix::{SignalKind, signal};

pub(crate) use self::{
    args::{EngineArgs, TargetArgs, duration, interval, some_time},
    error::HostError,
    filter::FilterArgs,
    table::table,
    target::Target,
};

/// Begins to catch Ctrl-C and SIGTERM; the returned future ends with the first of them.
pub(crate) fn interruption() -> Result<impl Future<Output = ()>, HostError> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(HostError::Signal)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(HostError::Signal)?;
    Ok(async move {
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
    })
}
