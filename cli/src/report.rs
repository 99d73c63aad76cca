//! `kubectl traffictrace report`: a trace as one HTML file.

use std::{
    io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use kube::ResourceExt as _;
use traffictrace_crd::{Phase, TrafficTrace, human};
use traffictrace_profile::{By, Graph, file};
use traffictrace_view::report::{MAX_PICTURE, Report, Series, html};

use crate::{
    around::Around,
    asked,
    cluster::{Cluster, ClusterArgs},
    error::CliError,
    follow::{Seen, await_end},
    profiles, snapshot,
    stop::Stop,
    text::say,
};

/// Write a trace as one HTML page that opens offline and prints, to send to a colleague.
///
/// The page shows the request, its time and its nodes; losses; who talks to whom; tables of flows, HTTP endpoints and functions that
/// sort and filter; the flame graph of a trace with stacks; and the command that makes the same trace again. It loads nothing and is
/// smaller than 1 MiB.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  # The trace checkout of the namespace shop, as a page
  kubectl traffictrace report checkout -n shop -o checkout.html --title 'Who floods the uplink?'

  # The same with the totals over time, when the trace is over
  kubectl traffictrace report checkout -o checkout.html --follow")]
pub(crate) struct Args {
    /// Name of the trace.
    #[arg(value_name = "TRACE")]
    name: String,

    /// Write to this file. An existing file is replaced.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,

    /// Heading of the page [default: the name of the trace].
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,

    /// Wait for the end of the trace, and show the totals from now on over time. Ctrl-C ends earlier, and still writes the
    /// page.
    #[arg(long)]
    follow: bool,
}

pub(crate) async fn run(args: &Args, cluster: &ClusterArgs) -> Result<ExitCode, CliError> {
    check(&args.output)?;
    let cluster = cluster.connect().await?;
    let mut seen = Seen::new(cluster.trace(&args.name).await?);
    let mut result = Ok(ExitCode::SUCCESS);
    if args.follow && !is_over(&seen.trace) {
        let mut stop = Stop::listen()?;
        say("Following the trace to its end. Ctrl-C ends earlier.");
        let ending = await_end(&cluster, &mut seen, &mut stop).await;
        result = ending.result(&format!("{}/{}", cluster.namespace, args.name));
    }
    write(&cluster, seen, args.title.as_deref(), &args.output).await?;
    result
}

fn is_over(trace: &TrafficTrace) -> bool {
    let phase = trace.status.as_ref().and_then(|status| status.phase);
    matches!(phase, Some(Phase::Completed | Phase::Failed))
}

/// Checks that a report can be written to `path`, before a trace is created for it.
pub(crate) fn check(path: &Path) -> Result<(), CliError> {
    file::check(path).map_err(|error| cannot_write(path, &error))
}

fn cannot_write(path: &Path, error: &io::Error) -> CliError {
    CliError::Failed(format!("cannot write {}: {error}", path.display()))
}

/// Writes the report of a trace, and prints its path.
pub(crate) async fn write(
    cluster: &Cluster,
    seen: Seen,
    title: Option<&str>,
    path: &Path,
) -> Result<(), CliError> {
    let Seen { trace, series } = seen;
    // A single status gives only a mean rate, which is not a curve.
    let series = if series.moments().len() > 2 { series } else { Series::default() };
    let around = Around::of(cluster, &trace).await?;
    let graph = match trace.spec.stacks {
        Some(_) => Some(profiles::settled(cluster, &trace).await?.0).filter(|profiles| profiles.count > 0),
        None => None,
    };
    let graph = graph.map(|profiles| profiles.graph);
    let report = report(&trace, &around, title, series, graph.as_ref());
    let page = html(&report).map_err(|error| CliError::Failed(error.to_string()))?;
    file::write(path, page.as_bytes()).map_err(|error| cannot_write(path, &error))?;
    say(&format!(
        "The report is {} ({}): open it in a browser.",
        path.display(),
        human::bytes(page.len() as u64)
    ));
    Ok(())
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
    // A picture without bytes is left out.
    let flame_graph = graph.and_then(|graph| graph.svg_within(By::Bytes, MAX_PICTURE).ok());
    if let (Some(functions), Some(graph)) = (&mut snapshot.functions, graph) {
        functions.functions = profiles::functions(graph).functions;
    }
    let name = || format!("Trace {}/{}", trace.namespace().unwrap_or_default(), trace.name_any());
    Report {
        title: title.map_or_else(name, str::to_owned),
        asked: asked::pairs(trace),
        command: asked::command(trace),
        began: snapshot.start_time,
        ended: snapshot.end_time.filter(|_| is_over(trace)),
        series,
        flame_graph,
        snapshot,
    }
}

#[cfg(test)]
mod tests {
    use traffictrace_profile::{Way, testing::graph};

    use super::*;
    use traffictrace_view::report::Moment;

    use crate::testing::{HOSTILE, cluster, completed, created, hostile, profile, running};

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

    #[tokio::test]
    async fn what_was_followed_is_a_curve_in_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("page.html");
        let uid = running().uid().unwrap();
        let cluster = cluster(move |url| {
            let profile = profile(&uid, "a", &graph(&[(Way::Received, &["main", "recv_all"], 700, 1)]));
            let items = if url.contains("profiles") {
                vec![serde_json::to_value(profile).unwrap()]
            } else {
                Vec::new()
            };
            (200, serde_json::json!({"metadata": {}, "items": items}))
        });
        let mut seen = Seen::new(running());
        write(&cluster, Seen { series: seen.series.clone(), trace: seen.trace.clone() }, None, &path)
            .await
            .unwrap();
        let page = std::fs::read_to_string(&path).unwrap();
        assert!(page.contains("recv_all") && page.contains("No course over time"), "a curve of one status");
        let later =
            Moment { time: crate::testing::at("14:07:00"), rx_bytes: 60_000_000, tx_bytes: 190_840_832 };
        seen.series.add(later);
        write(&cluster, seen, None, &path).await.unwrap();
        assert!(!std::fs::read_to_string(&path).unwrap().contains("No course over time"), "no curve");
        let error = check(&folder.path().join("none/x.html")).unwrap_err().to_string();
        assert!(error.starts_with("error: cannot write ") && error.contains("x.html"), "{error}");
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
