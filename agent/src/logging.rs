//! What the long-running commands say on the standard error.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Begins to write log lines to the standard error: those that RUST_LOG asks for, else what is of interest to an operator.
pub(crate) fn init() {
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).from_env_lossy();
    // They call every failed request an error, and lack the remedy. Whoever sent the request says more.
    let filter = ["kube_client::client::builder=off", "kube_runtime::watcher=off"]
        .iter()
        .filter_map(|directive| directive.parse().ok())
        .fold(filter, EnvFilter::add_directive);
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    // A second call in one process (tests) changes nothing.
    let _ = lines.with_ansi(io::stderr().is_terminal()).try_init();
}
