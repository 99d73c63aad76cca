//! `kubectl traffictrace describe`: a trace in words.

mod nodes;
mod numbers;
mod text;

use std::process::ExitCode;

use jiff::Timestamp;
use terminal_size::{Width, terminal_size};

use crate::{
    around::Around,
    cluster::{Cluster, ClusterArgs},
    error::CliError,
    text::{print, say},
};

/// Show what a trace was asked for, what happened on each node, what is missing and what to do, and its numbers.
///
/// Nodes that trace are named if you may read their TrafficTraceReports, which exist while the trace runs. Nodes that do not trace are
/// always named.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  # What does the trace checkout of the namespace shop show, and is anything missing?
  kubectl traffictrace describe checkout -n shop")]
pub(crate) struct Args {
    /// Names of the traces.
    #[arg(value_name = "TRACE", required = true)]
    names: Vec<String>,
}

pub(crate) async fn run(args: &Args, cluster: &ClusterArgs) -> Result<ExitCode, CliError> {
    let cluster = cluster.connect().await?;
    let mut missing = None;
    for (number, name) in args.names.iter().enumerate() {
        match described(&cluster, name).await {
            Ok(text) => {
                let gap = if number > 0 { "\n\n" } else { "" };
                print(format!("{gap}{text}").as_bytes())?;
            }
            // As in kubectl, an error for one trace does not stop the others.
            Err(error) => {
                if let Some(earlier) = missing.replace(error) {
                    say(&earlier.to_string());
                }
            }
        }
    }
    missing.map_or(Ok(ExitCode::SUCCESS), Err)
}

async fn described(cluster: &Cluster, name: &str) -> Result<String, CliError> {
    let trace = cluster.trace(name).await?;
    let around = Around::of(cluster, &trace).await?;
    Ok(text::of(&trace, &around, Timestamp::now(), columns()))
}

/// Width of sentences in columns: that of the terminal, up to a width that is still easy to read.
fn columns() -> usize {
    let (narrowest, widest) = (40, 100);
    terminal_size().map_or(widest, |(Width(columns), _)| usize::from(columns).clamp(narrowest, widest))
}
