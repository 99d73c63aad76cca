//! `traffictrace report`: one HTML page, from a recording or from a new trace.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use clap::{ArgGroup, Args};
use traffictrace_crd::human;
use traffictrace_profile::file;
use traffictrace_view::{
    Snapshot,
    report::{self, Report, ReportError},
    shell,
};

use crate::{
    host::{
        EngineArgs, HostError, Plan, Printer, Recording, TRACING, TargetArgs, Traced, TrafficArgs,
        interruption, some_time,
    },
    logging,
};

/// Interval between two points of the curve, for a new trace.
const INTERVAL: Duration = Duration::from_secs(1);
/// Maximum number of flows taken for the page, which has room for some hundred rows.
const LISTED: usize = 5000;

/// Make one HTML page from a recording or a new trace: who talks to whom, totals over time, tables that sort and filter.
/// The page opens without a network and can be sent to anybody.
#[derive(Debug, Clone, Args)]
#[command(
    mut_group("target", |group| group.required(false)),
    group = ArgGroup::new("source").required(true).args(["container", "all", "host", "cgroup", "pid", "recording"]),
)]
pub(crate) struct ReportArgs {
    /// A recording of `traffictrace record`, or of `traffictrace top -o json`; `-` is standard input.
    #[arg(value_name = "RECORDING", conflicts_with_all = TRACING, conflicts_with_all = ["duration"])]
    recording: Option<PathBuf>,

    #[command(flatten)]
    target: TargetArgs,

    /// Write the page to this file. An existing file is replaced.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,

    /// Heading of the page [default: what was traced].
    #[arg(long)]
    title: Option<String>,

    /// Trace for this time, such as 30s or 5m. Ctrl-C ends earlier, and still writes the page.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = some_time)]
    duration: Duration,

    #[command(flatten)]
    engine: EngineArgs,

    // Must be the last field, since its heading would also apply to the options after it.
    #[command(flatten)]
    filter: TrafficArgs,
}

/// Errors of `traffictrace report`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReportCommandError {
    /// The recording could not be read, or tracing failed.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The page could not be made.
    #[error(transparent)]
    Page(#[from] ReportError),
    /// The page could not be written.
    #[error("cannot write the report to {}: {source}", .path.display())]
    Output {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
}

/// Reads the recording or traces, and writes the page.
pub(crate) async fn run(args: ReportArgs) -> Result<(), ReportCommandError> {
    logging::init(logging::LevelFilter::WARN);
    let failed = |source| ReportCommandError::Output { path: args.output.clone(), source };
    file::check(&args.output).map_err(failed)?;
    let snapshots = match &args.recording {
        Some(path) => thinned(Recording::open(path)?)?,
        None => trace(&args).await?,
    };
    let subject = snapshots.last().map(|last| last.subject.clone()).unwrap_or_default();
    let title = args.title.clone().unwrap_or_else(|| format!("Network traffic of {subject}"));
    let Some(report) = Report::of(&title, snapshots) else { return Ok(()) };
    let report = Report {
        asked: vec![("Traced".to_owned(), subject)],
        command: args.recording.is_none().then(command_line),
        ..report
    };
    let page = report::html(&report)?;
    file::write(&args.output, page.as_bytes()).map_err(failed)?;
    let path = args.output.display();
    eprintln!("The report is {path} ({}): open it in a browser.", human::bytes(page.len() as u64));
    Ok(())
}

/// Traces until Ctrl-C, SIGTERM, `--duration`, or the end of the target.
async fn trace(args: &ReportArgs) -> Result<Vec<Snapshot>, HostError> {
    let mut stopped = interruption()?;
    let filter = args.filter.read()?;
    let Some(mut traced) = Traced::start(&args.target, &args.engine, filter, &mut stopped).await? else {
        return Ok(Vec::new());
    };
    eprintln!("Tracing {} for {} s. Ctrl-C ends.", traced.subject, args.duration.as_secs_f64());
    let kept = Arc::new(Mutex::new(Vec::new()));
    let printer = Printer::new({
        let kept = Arc::clone(&kept);
        move |snapshot, _| {
            keep(&mut kept.lock().unwrap_or_else(PoisonError::into_inner), snapshot);
            Ok(())
        }
    });
    let plan = Plan { interval: INTERVAL, count: None, duration: Some(args.duration), listed: LISTED };
    traced.each_interval(&plan, printer, &mut stopped).await?;
    Ok(std::mem::take(&mut *kept.lock().unwrap_or_else(PoisonError::into_inner)))
}

fn thinned(recording: Recording) -> Result<Vec<Snapshot>, HostError> {
    let mut kept = Vec::new();
    for snapshot in recording {
        keep(&mut kept, snapshot?);
    }
    Ok(kept)
}

/// Adds a snapshot. The page shows the flows of the last one only, and the totals of all.
fn keep(kept: &mut Vec<Snapshot>, snapshot: Snapshot) {
    if let Some(before) = kept.last_mut() {
        *before = Snapshot { time: before.time, totals: before.totals, ..Snapshot::default() };
    }
    kept.push(snapshot);
}

/// Returns the command line of this process, quoted for a shell.
fn command_line() -> String {
    let words = std::env::args_os().skip(1).filter_map(|word| shell::quoted(&word.to_string_lossy()));
    std::iter::once("traffictrace".to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: ReportArgs,
    }

    fn read(line: &str) -> Result<ReportArgs, String> {
        let words = std::iter::once("report").chain(line.split(' '));
        Cli::try_parse_from(words).map(|cli| cli.args).map_err(|error| error.to_string())
    }

    #[test]
    fn a_recording_or_a_target_but_not_both() {
        Cli::command().debug_assert();
        for line in ["a.jsonl -o r.html", "- -o r.html --title x", "--host --duration 5m -o r.html"] {
            assert!(read(line).is_ok(), "{line}: {:?}", read(line));
        }
        for (line, part) in [
            ("-o r.html", "RECORDING"),
            ("a.jsonl", "--output <FILE>"),
            ("a.jsonl --pid 1 -o r.html", "cannot be used with"),
            ("a.jsonl --duration 5s -o r.html", "cannot be used with"),
            ("a.jsonl --port 80 -o r.html", "cannot be used with"),
        ] {
            let error = read(line).unwrap_err();
            assert!(error.contains(part), "{line}: {error}");
        }
    }
}
