//! What goes to the standard error beside a command's last word.

use std::{
    env,
    io::{self, IsTerminal as _},
};

use tracing_subscriber::EnvFilter;
pub(crate) use tracing_subscriber::filter::LevelFilter;

/// Begins to write log lines to the standard error: those of `level` and graver, unless RUST_LOG names another level, and
/// those that RUST_LOG asks for by module.
pub(crate) fn init(level: LevelFilter) {
    let asked = env::var(EnvFilter::DEFAULT_ENV).unwrap_or_default();
    let filter = EnvFilter::builder().with_default_directive(level.into()).parse_lossy(&asked);
    // A word that is no level, such as a misspelt one, passes for a module, and would switch off everything else.
    let filter = if names_level(&asked) { filter } else { filter.add_directive(level.into()) };
    // They call every failed request an error, and lack the remedy. Whoever sent the request says more.
    let filter = ["kube_client::client::builder=off", "kube_runtime::watcher=off"]
        .iter()
        .filter_map(|directive| directive.parse().ok())
        .fold(filter, EnvFilter::add_directive);
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    // A second call in one process (tests) changes nothing.
    let _ = lines.with_ansi(io::stderr().is_terminal()).try_init();
}

/// Whether a filter, as RUST_LOG takes it, names a level for all modules.
fn names_level(filter: &str) -> bool {
    // No text at all passes for a level.
    let mut words = filter.split(',').map(str::trim).filter(|word| !word.is_empty());
    words.any(|word| word.parse::<LevelFilter>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_level_is_none() {
        for filter in ["debug", "kube=trace,warn", " INFO", "off"] {
            assert!(names_level(filter), "{filter}");
        }
        for filter in ["", "verbose", "kube=trace", "warning"] {
            assert!(!names_level(filter), "{filter}");
        }
    }
}
