//! `kubectl traffictrace flamegraph`: the code that moved the bytes of a trace.

use std::process::ExitCode;

use kube::ResourceExt as _;
use traffictrace_crd::{Phase, TrafficTrace, human};
use traffictrace_profile::{By, Output};

use crate::{
    cluster::ClusterArgs,
    error::CliError,
    profiles::{self, Profiles},
    text::say,
};

/// Draw a flame graph of the code that sends and receives the bytes of a trace's pods.
///
/// The picture has two trees: bytes sent and bytes received. Each begins with the pod, the process and the thread; above them are
/// the functions, each above its caller. The wider a function is, the more bytes it moved. The profiles of all nodes are merged into
/// one picture. Nodes write them at most once a minute, and when the trace ends. The trace must ask for stacks (run --stacks).
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  # A picture for a browser, which searches and zooms by itself
  kubectl traffictrace flamegraph checkout -n shop -o checkout.svg

  # By calls, as a profile for pprof
  kubectl traffictrace flamegraph checkout --by calls -o checkout.pb.gz

  # The stacks with most bytes, as text
  kubectl traffictrace flamegraph checkout -o - | sort -nr -k2 | head")]
pub(crate) struct Args {
    /// Name of the trace.
    #[arg(value_name = "TRACE")]
    name: String,

    /// Write to this file. Its name determines the format: .svg, a picture for every browser that searches and zooms;
    /// .folded, text with one stack per line; .pb.gz, a profile for `go tool pprof` and speedscope. `-` writes .folded to
    /// standard output.
    #[arg(short, long, value_name = "FILE")]
    output: Output,

    /// Number that the width of a stack stands for in .svg and .folded; .pb.gz has both.
    #[arg(long, value_enum, default_value_t = By::Bytes)]
    by: By,
}

pub(crate) async fn run(args: &Args, cluster: &ClusterArgs) -> Result<ExitCode, CliError> {
    args.output.check().map_err(|error| CliError::Failed(error.to_string()))?;
    let cluster = cluster.connect().await?;
    let trace = cluster.trace(&args.name).await?;
    let (profiles, awaited) = profiles::settled(&cluster, &trace).await?;
    found(&trace, &profiles).map_err(CliError::Failed)?;
    say(&format!("{} read.", human::number_of(profiles.count as u64, "profile")));
    if awaited > 0 {
        let nodes = human::number_of(awaited, "node");
        say(&format!("The last profile of {nodes} is not there: what moved at the end may be missing."));
    }
    if !profiles.empty.is_empty() {
        say(&without_stacks(&profiles.empty));
    }
    args.output.write(&profiles.graph, args.by).map_err(|error| CliError::Failed(error.to_string()))?;
    say(&args.output.conclusion(&profiles.graph));
    Ok(ExitCode::SUCCESS)
}

/// Checks that there is something to draw.
///
/// # Errors
///
/// A sentence that says why there is no profile.
fn found(trace: &TrafficTrace, profiles: &Profiles) -> Result<(), String> {
    if profiles.count > 0 {
        return Ok(());
    }
    let (namespace, name) = (trace.namespace().unwrap_or_default(), trace.name_any());
    if trace.spec.stacks.is_none() {
        return Err(format!(
            "trace {namespace}/{name} takes no stacks, so there is nothing to draw: make one that does, with kubectl traffictrace run --stacks"
        ));
    }
    let phase = trace.status.as_ref().and_then(|status| status.phase);
    let why = if matches!(phase, Some(Phase::Completed | Phase::Failed)) {
        format!(
            "it is over, and no node wrote any: kubectl traffictrace describe {name} -n {namespace} says what is missing"
        )
    } else {
        "nodes write the first a minute after they begin: try again then, or when the trace is over"
            .to_owned()
    };
    Err(format!("trace {namespace}/{name} has no profiles: {why}"))
}

/// Makes a sentence about the nodes whose agents had no stacks to write.
fn without_stacks(nodes: &[String]) -> String {
    let names: Vec<_> = nodes.iter().take(3).map(|name| human::printable(name)).collect();
    let more = nodes.len().saturating_sub(names.len());
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!("The profiles of {}{more} have no stacks, and are left out.", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{completed, created, running};

    #[test]
    fn nothing_to_draw_is_told_with_what_to_do() {
        let none = Profiles::default();
        let told = |trace: &TrafficTrace| found(trace, &none).unwrap_err();
        assert_eq!(
            told(&created()),
            "trace shop/new takes no stacks, so there is nothing to draw: make one that does, with kubectl traffictrace run \
             --stacks"
        );
        assert!(told(&running()).contains("a minute after they begin"), "{}", told(&running()));
        assert!(
            told(&completed()).ends_with("describe checkout -n shop says what is missing"),
            "{}",
            told(&completed())
        );
        found(&running(), &Profiles { count: 1, ..Profiles::default() }).unwrap();
    }

    #[test]
    fn nodes_without_stacks_are_named() {
        let names = |count: usize| (0..count).map(|n| format!("n{n}")).collect::<Vec<_>>();
        assert_eq!(without_stacks(&names(1)), "The profiles of n0 have no stacks, and are left out.");
        assert!(without_stacks(&names(5)).contains("n0, n1, n2 and 2 more"));
    }
}
