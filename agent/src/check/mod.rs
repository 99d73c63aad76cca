//! `traffictrace check`: reports if and how tracing works on this machine, and what to do if it does not.

mod findings;
mod text;

use std::{
    io::{self, Write as _},
    path::PathBuf,
};

use clap::{Args, ValueEnum};

use self::findings::Findings;
use crate::logging;

/// Check whether this machine can be traced, by loading and attaching the kernel programs and removing them again.
#[derive(Debug, Clone, Args)]
pub(crate) struct CheckArgs {
    /// Output format.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,

    /// Path at which the host's cgroup2 tree is mounted [default: found in /proc/self/mountinfo].
    #[arg(long, value_name = "PATH")]
    cgroup_root: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// Text for people.
    Text,
    /// One JSON document for programs.
    Json,
}

/// The reason why `check` fails.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckError {
    /// Tracing does not work on this machine.
    #[error("tracing does not work here: {0}")]
    DoesNotWork(String),
    /// The result could not be written.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
}

/// Checks this machine and prints the findings.
///
/// # Errors
///
/// [`CheckError::DoesNotWork`], after everything was printed, so that scripts can use the exit status.
pub(crate) fn run(args: &CheckArgs) -> Result<(), CheckError> {
    logging::init(logging::LevelFilter::WARN);
    let findings = Findings::gather(args.cgroup_root.as_deref());
    let text = match args.output {
        Output::Text => text::text(&findings),
        Output::Json => serde_json::to_string(&findings).map_err(io::Error::from)? + "\n",
    };
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()?;
    if findings.works { Ok(()) } else { Err(CheckError::DoesNotWork(findings.conclusion)) }
}
