//! What goes to the standard error beside a command's last word.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;
pub(crate) use tracing_subscriber::filter::LevelFilter;

/// Begins to write log lines to the standard error: those that RUST_LOG asks for, else those of `level` and graver.
pub(crate) fn init(level: LevelFilter) {
    let filter = EnvFilter::builder().with_default_directive(level.into()).from_env_lossy();
    // They call every failed request an error, and lack the remedy. Whoever sent the request says more.
    let filter = ["kube_client::client::builder=off", "kube_runtime::watcher=off"]
        .iter()
        .filter_map(|directive| directive.parse().ok())
        .fold(filter, EnvFilter::add_directive);
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    // A second call in one process (tests) changes nothing.
    let _ = lines.with_ansi(io::stderr().is_terminal()).try_init();
}
