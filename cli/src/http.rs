//! `kubectl traffictrace http`: the HTTP requests of a trace.

use std::process::ExitCode;

use clap::ValueEnum;
use kube::ResourceExt as _;
use serde::Serialize;
use traffictrace_crd::{
    TrafficTrace,
    human::{bytes, count, number_of, printable},
};
use traffictrace_view::{
    Snapshot, csv,
    endpoints::{Column, errors_of_all},
    losses,
    snapshot::{Http, TlsProcesses},
    text as tables,
};

use crate::{
    cluster::ClusterArgs,
    error::CliError,
    snapshot,
    text::{print, say},
};

/// Show the HTTP requests of a trace by endpoint, with their status and duration.
///
/// Errors are responses 5xx, requests without a response, and failed gRPC calls. P50 and P99 are the durations that 50 % and 99 % of
/// the requests did not exceed. The rows, and the sums of the endpoints without a row, add up to the totals. The trace must ask for
/// requests (run --http).
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  # Which endpoints are slow?
  kubectl traffictrace http checkout -n shop --sort-by p99

  # Which fail? Everything that is known of the first five
  kubectl traffictrace http checkout --sort-by errors --top 5 -o wide

  # For a spreadsheet
  kubectl traffictrace http checkout -o csv > checkout.csv")]
pub(crate) struct Args {
    /// Name of the trace.
    #[arg(value_name = "TRACE")]
    name: String,

    /// Output format.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,

    /// Column to sort by, the largest first.
    #[arg(long, value_enum, value_name = "COLUMN", ignore_case = true, default_value_t = SortBy::Requests)]
    sort_by: SortBy,

    /// Maximum number of endpoints [default: all that the trace lists].
    #[arg(long, value_name = "ENDPOINTS")]
    top: Option<usize>,

    /// Omit the summary and the names of the columns. Losses are printed all the same.
    #[arg(long)]
    no_headers: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    Table,
    /// Like table, with every column.
    Wide,
    /// One object.
    Json,
    /// One line for each endpoint, and one for all endpoints that are not listed.
    Csv,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SortBy {
    Requests,
    Errors,
    P50,
    P90,
    P99,
    Max,
    RequestBytes,
    ResponseBytes,
}

impl From<SortBy> for Column {
    fn from(column: SortBy) -> Self {
        match column {
            SortBy::Requests => Self::Requests,
            SortBy::Errors => Self::Errors,
            SortBy::P50 => Self::P50,
            SortBy::P90 => Self::P90,
            SortBy::P99 => Self::P99,
            SortBy::Max => Self::Max,
            SortBy::RequestBytes => Self::RequestBytes,
            SortBy::ResponseBytes => Self::ResponseBytes,
        }
    }
}

/// The requests as one JSON object.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    time: jiff::Timestamp,
    subject: &'a str,
    #[serde(flatten)]
    http: &'a Http,
}

pub(crate) async fn run(args: &Args, cluster: &ClusterArgs) -> Result<ExitCode, CliError> {
    let cluster = cluster.connect().await?;
    let trace = cluster.trace(&args.name).await?;
    let mut snapshot = requests(&trace).map_err(CliError::Failed)?;
    if matches!(args.output, Output::Json | Output::Csv) {
        sort(&mut snapshot, args);
        // These formats have no line for losses (requests that are in no number), so they go to standard error.
        losses::in_words(&snapshot).iter().for_each(|loss| say(loss));
    }
    print(&text(args, &snapshot)?)?;
    Ok(ExitCode::SUCCESS)
}

/// Returns the numbers of a trace that has requests.
///
/// # Errors
///
/// A sentence if the trace does not ask for requests, or has none yet.
pub(crate) fn requests(trace: &TrafficTrace) -> Result<Snapshot, String> {
    let label = format!("{}/{}", trace.namespace().unwrap_or_default(), trace.name_any());
    let snapshot = snapshot::of(trace);
    match (&trace.spec.http, &snapshot.http) {
        (_, Some(_)) => Ok(snapshot),
        (None, None) => Err(format!(
            "trace {label} counts no HTTP requests: make one that does, with kubectl traffictrace run --http"
        )),
        (Some(_), None) => {
            let why = snapshot.notices.first().map_or("no node has reported yet", String::as_str);
            Err(format!("trace {label} has no HTTP requests to show: {}", printable(why)))
        }
    }
}

/// Sorts the endpoints and removes those beyond the maximum number, whose requests are then in no row.
fn sort(snapshot: &mut Snapshot, args: &Args) {
    if let Some(http) = &mut snapshot.http {
        let sorted = Column::from(args.sort_by).sorted(http).into_iter().cloned();
        http.endpoints = sorted.take(args.top.unwrap_or(usize::MAX)).collect();
    }
}

/// Formats the requests as the options ask.
fn text(args: &Args, snapshot: &Snapshot) -> Result<Vec<u8>, CliError> {
    let Some(http) = &snapshot.http else { return Ok(Vec::new()) };
    let mut out = Vec::new();
    match args.output {
        Output::Json => {
            let document = Document { time: snapshot.time, subject: &snapshot.subject, http };
            out = serde_json::to_vec(&document).map_err(std::io::Error::from)?;
            out.push(b'\n');
        }
        Output::Csv => csv::Writer::new(&mut out, !args.no_headers).write_endpoints(snapshot)?,
        Output::Table | Output::Wide => {
            let mut lines = Vec::new();
            if !args.no_headers {
                lines.push(summary(snapshot, http));
            }
            lines.extend(missing(snapshot, http));
            out.extend(lines.iter().flat_map(|line| format!("# {line}\n").into_bytes()));
            let is_wide = args.output == Output::Wide;
            let most = args.top.unwrap_or(usize::MAX);
            out.extend(
                tables::endpoints(http, args.sort_by.into(), most, is_wide, !args.no_headers).into_bytes(),
            );
        }
    }
    Ok(out)
}

/// Summarises the requests in one line.
fn summary(snapshot: &Snapshot, http: &Http) -> String {
    let endpoints = http.endpoints_total.unwrap_or(http.endpoints.len() as u64);
    let requests = if http.requests == 1 { "request" } else { "requests" };
    format!(
        "{}, {}: {} {requests} at {}, of which {} failed; {} asked, {} answered",
        printable(&snapshot.subject),
        snapshot.time.strftime("%F %T UTC"),
        count(http.requests),
        number_of(endpoints, "endpoint"),
        count(errors_of_all(http)),
        bytes(http.request_bytes),
        bytes(http.response_bytes),
    )
}

/// Returns sentences about the requests that are in no number.
fn missing(snapshot: &Snapshot, http: &Http) -> Vec<String> {
    let of_http = Snapshot { http: snapshot.http.clone(), ..Snapshot::default() };
    let mut all: Vec<String> =
        losses::in_words(&of_http).into_iter().map(|loss| format!("MISSING: {loss}")).collect();
    all.extend(unreadable(http).into_iter().map(|sentence| format!("MISSING: {sentence}")));
    all
}

/// Returns one sentence for each entry of processes whose requests inside TLS are in no number.
pub(crate) fn unreadable(http: &Http) -> Vec<String> {
    let unread = http.tls.iter().filter(|tls| !tls.readable);
    let sentence = |tls: &TlsProcesses| {
        let command = tls.command.as_deref().unwrap_or("a process");
        let why = tls.reason.as_deref().unwrap_or("its library is not known");
        format!(
            "The requests inside the TLS of {} in pod {} cannot be read: {}",
            printable(command),
            printable(&tls.pod),
            printable(why)
        )
    };
    unread.map(sentence).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::Value;

    use super::*;
    use crate::testing::{HOSTILE, assert_harmless, completed, created, hostile, running};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn shown(trace: &TrafficTrace, options: &str) -> String {
        let words = format!("http checkout {options}");
        let args = Line::try_parse_from(words.split_whitespace()).unwrap().args;
        let mut snapshot = requests(trace).unwrap();
        if matches!(args.output, Output::Json | Output::Csv) {
            sort(&mut snapshot, &args);
        }
        String::from_utf8(text(&args, &snapshot).unwrap()).unwrap()
    }

    #[test]
    fn endpoints_with_what_is_missing() {
        let all =
            ["", "--sort-by P99 --top 1 -o wide", "--no-headers"].map(|options| shown(&running(), options));
        insta::assert_snapshot!(all.join("\n"));
        assert!(!shown(&completed(), "").contains("MISSING"));
    }

    #[test]
    fn every_form_has_all_requests() {
        let csv = shown(&running(), "-o csv --sort-by p50 --top 1");
        insta::assert_snapshot!(csv.replace('\r', ""));
        let json: Value = serde_json::from_str(&shown(&running(), "-o json --sort-by p50")).unwrap();
        assert_eq!((&json["requests"], &json["time"]), (&129_343.into(), &"2026-11-23T14:06:10Z".into()));
        assert_eq!(json["endpoints"][0]["path"], "/cart.Cart/Add");
        assert_eq!(json["unobserved"]["malformed"], 2);
    }

    #[test]
    fn a_trace_without_requests_says_why() {
        let told = requests(&created()).unwrap_err();
        assert_eq!(
            told,
            "trace shop/new counts no HTTP requests: make one that does, with kubectl traffictrace run --http"
        );
        let mut trace = running();
        trace.status = None;
        assert!(requests(&trace).unwrap_err().ends_with("to show: no node has reported yet"));
    }

    #[test]
    fn hostile_names_are_harmless() {
        for name in HOSTILE {
            for options in ["", "-o wide"] {
                assert_harmless(&shown(&hostile(name), options));
            }
        }
    }
}
