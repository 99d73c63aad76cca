//! `kubectl traffictrace top`: the live view of an existing trace.

use std::{process::ExitCode, time::Duration};

use crate::{
    cluster::ClusterArgs,
    error::CliError,
    follow::{FollowArgs, Output, Plan, Seen, follow},
    stop::Stop,
};

/// Follow a trace live, until it ends.
///
/// On a terminal this is a live screen: ? shows its keys, q quits. In a pipe, or with --no-tui, a table is printed for each
/// report of the nodes. The trace continues when this command ends. If the trace is over, its last numbers are printed.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  # Look at the trace checkout of the namespace shop
  kubectl traffictrace top checkout -n shop

  # The busiest peers, as plain tables
  kubectl traffictrace top checkout --no-tui --by peer --sort-by TOTAL/s

  # The numbers now, as JSON
  kubectl traffictrace top checkout -o json --count 1")]
pub(crate) struct Args {
    /// Name of the trace.
    #[arg(value_name = "TRACE")]
    name: String,

    /// Output format without the live screen.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,

    /// End after this time, such as 30s or 5m [default: continue until the trace ends or Ctrl-C].
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "count")]
    duration: Option<Duration>,

    #[command(flatten)]
    follow: FollowArgs,
}

fn time(text: &str) -> Result<Duration, String> {
    traffictrace_crd::Duration::new(text).get().map_err(|error| error.to_string())
}

pub(crate) async fn run(args: &Args, cluster: &ClusterArgs) -> Result<ExitCode, CliError> {
    let mut stop = Stop::listen()?;
    let cluster = cluster.connect().await?;
    let trace = cluster.trace(&args.name).await?;
    let plan = Plan { args: &args.follow, output: args.output, filter: String::new(), limit: args.duration };
    let ending = follow(&cluster, &mut Seen::new(trace), &plan, &mut stop).await?;
    ending.result(&format!("{}/{}", cluster.namespace, args.name))
}
