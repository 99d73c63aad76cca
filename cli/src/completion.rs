//! `kubectl traffictrace completion`: scripts with which a shell completes what is typed.

use std::{io, io::Write as _, process::ExitCode};

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::{Cli, error::CliError};

/// Print the script with which a shell completes `kubectl-traffictrace`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "kubectl-traffictrace", &mut script);
    io::stdout().write_all(&script)?;
    Ok(ExitCode::SUCCESS)
}
