//! `kubectl traffictrace report`: a trace as one HTML file, to send to a colleague.

use std::{path::PathBuf, process::ExitCode};

use kube::ResourceExt as _;
use traffictrace_crd::{Phase, TrafficTrace, human};
use traffictrace_profile::{By, Graph, file};
use traffictrace_view::report::{MAX_PICTURE, Report, Series, html};

use crate::{
    around::Around,
    asked,
    cluster::{Cluster, ClusterArgs},
    error::CliError,
    profiles, snapshot,
    text::say,
};

/// Write a trace as one HTML page that opens offline and prints, to send to a colleague.
///
/// The page has what was asked, when and on which nodes; losses first; who talks to whom; tables of flows, HTTP endpoints and functions
/// that sort and filter; the flame graph of a trace with stacks; and the command that makes the same trace again. It loads nothing
/// and is smaller than 1 MiB.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  # The trace checkout of the namespace shop, as a page
  kubectl traffictrace report checkout -n shop -o checkout.html --title 'Who floods the uplink?'")]
pub(crate) struct Args {
    /// Name of the trace.
    #[arg(value_name = "TRACE")]
    name: String,

    /// Write to this file. One of that name is replaced.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,

    /// Heading of the page [default: the name of the trace].
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
}

pub(crate) async fn run(args: &Args, cluster: &ClusterArgs) -> Result<ExitCode, CliError> {
    let failed = |error| CliError::Failed(format!("cannot write {}: {error}", args.output.display()));
    file::check(&args.output).map_err(failed)?;
    let cluster = cluster.connect().await?;
    let trace = cluster.trace(&args.name).await?;
    let page = page(&cluster, &trace, args.title.as_deref(), Series::default()).await?;
    file::write(&args.output, page.as_bytes()).map_err(failed)?;
    say(&written(&args.output, &page));
    Ok(ExitCode::SUCCESS)
}

/// What was written, in a sentence.
pub(crate) fn written(path: &std::path::Path, page: &str) -> String {
    format!("{} of report in {}: open it in a browser.", human::bytes(page.len() as u64), path.display())
}

/// The page of a trace, with its totals over time as far as they were followed.
pub(crate) async fn page(
    cluster: &Cluster,
    trace: &TrafficTrace,
    title: Option<&str>,
    series: Series,
) -> Result<String, CliError> {
    let around = Around::of(cluster, trace).await?;
    let graph = match trace.spec.stacks {
        Some(_) => Some(profiles::of(cluster, trace).await?).filter(|profiles| profiles.count > 0),
        None => None,
    };
    let graph = graph.map(|profiles| profiles.graph);
    let report = report(trace, &around, title, series, graph.as_ref());
    html(&report).map_err(|error| CliError::Failed(error.to_string()))
}

fn report(
    trace: &TrafficTrace,
    around: &Around,
    title: Option<&str>,
    series: Series,
    graph: Option<&Graph>,
) -> Report {
    let mut snapshot = snapshot::of(trace);
    if let Some(reports) = &around.reports {
        snapshot::add_nodes(&mut snapshot, reports);
    }
    // A picture without bytes is none.
    let flame_graph = graph.and_then(|graph| graph.svg_within(By::Bytes, MAX_PICTURE).ok());
    if let (Some(functions), Some(graph)) = (&mut snapshot.functions, graph) {
        functions.functions = profiles::functions(graph).functions;
    }
    let name = || format!("Trace {}/{}", trace.namespace().unwrap_or_default(), trace.name_any());
    let is_over = trace.status.as_ref().is_some_and(|status| status.phase == Some(Phase::Completed));
    Report {
        title: title.map_or_else(name, str::to_owned),
        asked: asked::pairs(trace),
        command: asked::command(trace),
        began: snapshot.start_time,
        ended: snapshot.end_time.filter(|_| is_over),
        series,
        flame_graph,
        snapshot,
    }
}

#[cfg(test)]
mod tests {
    use traffictrace_profile::{Way, testing::graph};

    use super::*;
    use crate::testing::{HOSTILE, completed, created, hostile, running};

    fn written_page(trace: &TrafficTrace, graph: Option<&Graph>) -> String {
        html(&report(trace, &Around::default(), None, Series::default(), graph)).unwrap()
    }

    #[test]
    fn a_page_has_everything_of_the_trace() {
        let graph = graph(&[(Way::Sent, &["main", "write_all"], 5000, 1)]);
        let page = written_page(&running(), Some(&graph));
        for part in [
            "Trace shop/checkout",
            "trace shop/checkout (app=web)",
            "app=web",
            "49.0 MiB",
            "182 MiB",
            "php-fpm",
            "pod shop/db-0",
            "/cart.Cart/Add",
            "7 calls found the table of flows full",
            "node-c",
            "64 traces run here; delete one",
            "write_all",
            "data:image/svg+xml;base64,",
            "kubectl traffictrace run -n shop -l app=web",
            "2 of 4 reported",
        ] {
            assert!(page.contains(part), "{part}");
        }
        assert!(page.len() < 1 << 20);
    }

    #[test]
    fn a_trace_that_is_over_ended_and_one_without_numbers_is_a_page_too() {
        let page = written_page(&completed(), None);
        assert!(page.contains("2026-11-23 14:10:00 UTC") && page.contains("10 min"), "no end");
        assert!(!page.contains("data:image"));
        let report = report(&created(), &Around::default(), Some("Why?"), Series::default(), None);
        assert_eq!((report.title.as_str(), report.ended), ("Why?", None));
        html(&report).unwrap();
    }

    #[test]
    fn hostile_names_run_nothing() {
        for name in HOSTILE {
            let graph = graph(&[(Way::Sent, &[name, name], 5000, 1)]);
            let page = written_page(&hostile(name), Some(&graph));
            assert!(
                !page.contains("<script>alert") && !page.contains('\u{1b}') && !page.contains('\u{202e}')
            );
        }
    }
}
