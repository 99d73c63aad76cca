//! `traffictrace`: who uses the network, by pod, process and peer, and for which requests.

mod cgroups;
mod check;
mod controller;
mod crd_command;
mod elf;
mod engine;
mod flamegraph;
mod flows;
mod foreign;
mod host;
mod http_log;
mod kernel;
mod kubeapi;
mod logging;
mod merge;
mod node;
mod record;
mod report;
mod report_command;
mod server;
mod session;
mod stacks;
mod tasks;
#[cfg(test)]
mod testing;
mod tls;
mod top;

use std::{error::Error, process::ExitCode, sync::mpsc::channel, thread, time::Duration};

use clap::{Parser, Subcommand};
use tokio::runtime::Builder;

/// Time limit for printing the error that ends the process.
const LAST_WORD: Duration = Duration::from_secs(1);

/// Find out what uses the network: which pod, which process, talking to whom.
#[derive(Debug, Parser)]
#[command(name = "traffictrace", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Agent(node::NodeArgs),
    Top(top::TopArgs),
    Record(record::RecordArgs),
    Report(report_command::ReportArgs),
    Http(http_log::HttpArgs),
    Flamegraph(flamegraph::FlamegraphArgs),
    Check(check::CheckArgs),
    Crd(crd_command::CrdArgs),
    Controller(controller::ControllerArgs),
}

async fn run(command: Command) -> Result<(), Box<dyn Error>> {
    match command {
        Command::Agent(args) => node::run(args).await.map_err(Into::into),
        Command::Top(args) => top::run(args).await.map_err(Into::into),
        Command::Record(args) => record::run(args).await.map_err(Into::into),
        Command::Report(args) => report_command::run(args).await.map_err(Into::into),
        Command::Http(args) => http_log::run(args).await.map_err(Into::into),
        Command::Flamegraph(args) => flamegraph::run(args).await.map_err(Into::into),
        Command::Check(args) => check::run(&args).map_err(Into::into),
        Command::Controller(args) => controller::run(args).await.map_err(Into::into),
        Command::Crd(args) => crd_command::run(&args).map_err(Into::into),
    }
}

fn main() -> ExitCode {
    let command = Cli::parse().command;
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("traffictrace: cannot start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(run(command));
    // The process ends without waiting for blocked threads, such as one that writes into a full pipe.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(format!("traffictrace: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Prints the error that ends the process. A reader of standard error that has stopped does not keep the process from
/// ending.
fn report(error: String) {
    let (printing, printed) = channel::<()>();
    thread::spawn(move || {
        let _printing = printing;
        eprintln!("{error}");
    });
    // The thread sends nothing; the wait ends when the thread ends and drops its sender, or after `LAST_WORD`.
    let _ = printed.recv_timeout(LAST_WORD);
}
