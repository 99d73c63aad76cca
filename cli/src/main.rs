//! `kubectl traffictrace`: traces from a shell, with the user's own rights.
//!
//! The plugin creates, follows and reads `TrafficTrace` objects, and talks only to the API server. Each subcommand is a module
//! with its own arguments and a function `run`.

mod around;
mod asked;
mod check;
mod cluster;
mod complete;
mod completion;
mod describe;
mod diff;
mod error;
mod export;
mod flamegraph;
mod follow;
mod get;
mod http;
mod object;
mod profiles;
mod report;
mod run;
mod snapshot;
mod stop;
#[cfg(test)]
mod testing;
mod text;
mod top;

use std::{io, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::{cluster::ClusterArgs, error::CliError};

/// Find out which pods and processes use the network, and with whom they talk.
///
/// Traces are TrafficTrace objects in a namespace. Whoever may edit a namespace may trace its pods. The plugin talks only to the
/// API server.
#[derive(Debug, Parser)]
#[command(
    name = "kubectl-traffictrace",
    bin_name = "kubectl traffictrace",
    version,
    propagate_version = true,
    after_help = "\
Examples:
  # Who uses the network in this namespace, and talking to whom? Live; q quits
  kubectl traffictrace run

  # The pods of a Deployment, with their HTTP requests
  kubectl traffictrace run deploy/web --http -n shop

  # Does tracing work here, and if not, why?
  kubectl traffictrace check -n shop"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    #[command(flatten)]
    cluster: ClusterArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(Box<run::Args>),
    Top(top::Args),
    Get(get::Args),
    Describe(describe::Args),
    Http(http::Args),
    Flamegraph(flamegraph::Args),
    Report(report::Args),
    Export(export::Args),
    Diff(diff::Args),
    Check(check::Args),
    Completion(completion::Args),
    #[command(name = complete::NAME, hide = true)]
    Complete(complete::Args),
}

impl Cli {
    async fn run(&self) -> Result<ExitCode, CliError> {
        let cluster = &self.cluster;
        match &self.command {
            Command::Run(args) => run::run(args, cluster).await,
            Command::Top(args) => top::run(args, cluster).await,
            Command::Get(args) => get::run(args, cluster).await,
            Command::Describe(args) => describe::run(args, cluster).await,
            Command::Http(args) => http::run(args, cluster).await,
            Command::Flamegraph(args) => flamegraph::run(args, cluster).await,
            Command::Report(args) => report::run(args, cluster).await,
            Command::Export(args) => export::run(args, cluster).await,
            Command::Diff(args) => diff::run(args, cluster).await,
            Command::Check(args) => check::run(args, cluster).await,
            Command::Completion(args) => completion::run(args),
            Command::Complete(args) => complete::run(args).await,
        }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            text::say(&format!("error: cannot start threads: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(cli.run());
    // Output that is still being written to a blocked reader must not keep the process from ending.
    runtime.shutdown_background();
    match result {
        Ok(code) => code,
        // The reader of a pipe has closed it, which is not an error.
        Err(CliError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            text::say(&error.to_string());
            error.exit_code()
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::Cli;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
