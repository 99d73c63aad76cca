//! Logging to standard error.

use std::{
    env,
    io::{self, IsTerminal as _},
};

use tracing_subscriber::EnvFilter;
pub(crate) use tracing_subscriber::filter::LevelFilter;

/// Begins to write log lines to standard error: those of `level` and above, unless RUST_LOG sets another level, and
/// those of single modules that RUST_LOG names.
pub(crate) fn init(level: LevelFilter) {
    let asked = env::var(EnvFilter::DEFAULT_ENV).unwrap_or_default();
    let filter = EnvFilter::builder().with_default_directive(level.into()).parse_lossy(&asked);
    // A word that is not a level, for example a misspelt one, counts as a module name, and would switch off everything
    // else.
    let filter = if names_level(&asked) { filter } else { filter.add_directive(level.into()) };
    // These modules log every failed request as an error, without advice. The sender of the request logs it better.
    let filter = ["kube_client::client::builder=off", "kube_runtime::watcher=off"]
        .iter()
        .filter_map(|directive| directive.parse().ok())
        .fold(filter, EnvFilter::add_directive);
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    // Fails, without effect, if this process has called it before, as tests do.
    let _ = lines.with_ansi(io::stderr().is_terminal()).try_init();
}

/// Returns true if a filter in the form of RUST_LOG sets a level for all modules.
fn names_level(filter: &str) -> bool {
    // Empty words are skipped, because an empty text parses as a level.
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
