//! `kubectl traffictrace completion`: completion scripts for shells.

use std::{io, io::Write as _, process::ExitCode};

use clap::{CommandFactory as _, ValueEnum};
use clap_complete::Shell;

use crate::{Cli, complete, error::CliError};

/// Print a completion script.
///
/// kubectl completes with a program named kubectl_complete-traffictrace in the PATH, which also completes names of traces. The
/// scripts for shells complete kubectl-traffictrace, typed with a hyphen.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  # For kubectl traffictrace, in every shell that completes kubectl
  kubectl traffictrace completion kubectl > ~/.local/bin/kubectl_complete-traffictrace
  chmod +x ~/.local/bin/kubectl_complete-traffictrace

  # For kubectl-traffictrace, in this bash
  source <(kubectl traffictrace completion bash)")]
pub(crate) struct Args {
    /// Program that uses the script.
    #[arg(value_enum)]
    program: Program,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Program {
    Kubectl,
    Bash,
    Elvish,
    Fish,
    #[value(name = "powershell")]
    PowerShell,
    Zsh,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode, CliError> {
    let shell = match args.program {
        Program::Kubectl => None,
        Program::Bash => Some(Shell::Bash),
        Program::Elvish => Some(Shell::Elvish),
        Program::Fish => Some(Shell::Fish),
        Program::PowerShell => Some(Shell::PowerShell),
        Program::Zsh => Some(Shell::Zsh),
    };
    let mut script = Vec::new();
    match shell {
        None => script
            .extend(format!("#!/bin/sh\nexec kubectl-traffictrace {} -- \"$@\"\n", complete::NAME).bytes()),
        Some(shell) => {
            clap_complete::generate(shell, &mut Cli::command(), "kubectl-traffictrace", &mut script);
        }
    }
    io::stdout().write_all(&script)?;
    Ok(ExitCode::SUCCESS)
}
