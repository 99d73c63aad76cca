//! The page: the texts that its template shows.

use askama::Template;
use traffictrace_crd::human;

use super::{
    Report,
    bars::{Bar, bars},
    flame::{self, Flame},
    format,
    sankey::Sankey,
    tables::{self, Table},
    timeline::Timeline,
};
use crate::{Snapshot, endpoints, losses, names, snapshot::State, units};

const STYLE: &str = include_str!("../../templates/report.css");
const SCRIPT: &str = include_str!("../../templates/report.js");
/// Maximum number of entries in a list, and maximum length of an entry and of the command, in characters.
const LIST: usize = 40;
const VALUE: usize = 400;
const COMMAND: usize = 4000;

#[derive(Template)]
#[template(path = "report.html")]
pub(super) struct Page {
    policy: String,
    style: &'static str,
    script: &'static str,
    title: String,
    subject: String,
    state: &'static str,
    facts: Vec<(String, String)>,
    asked: Vec<(String, String)>,
    command: Option<String>,
    losses: Vec<String>,
    notices: Vec<String>,
    not_seen: Vec<String>,
    tiles: Vec<Tile>,
    timeline: Option<Timeline>,
    bars: Vec<Bar>,
    sankey: Option<Sankey>,
    tables: Vec<Section>,
    flame: Option<Flame>,
    written: String,
}

/// One of the large numbers at the top of the page.
struct Tile {
    name: &'static str,
    value: String,
    detail: String,
    class: &'static str,
}

/// A table with its heading and a sentence that explains it.
struct Section {
    heading: &'static str,
    note: String,
    table: Table,
}

impl Page {
    /// Makes the page of a report, without its tables.
    pub(super) fn new(report: &Report) -> Self {
        let snapshot = &report.snapshot;
        let flame = report.flame_graph.as_deref().map(Flame::new);
        let subject = format::short(&human::printable(&snapshot.subject), 200);
        let title = format::short(&human::printable(&report.title), 200);
        let pairs = |pairs: &[(String, String)]| {
            let pair = |(name, value): &(String, String)| {
                (format::name(name), format::short(&human::printable(value), VALUE))
            };
            pairs.iter().take(LIST).map(pair).collect::<Vec<_>>()
        };
        Self {
            policy: policy(flame.as_ref()),
            style: STYLE,
            script: SCRIPT,
            title: if title.is_empty() { "Traffic report".to_owned() } else { title },
            subject,
            state: names::state(snapshot.state),
            facts: facts(report),
            asked: pairs(&report.asked),
            command: report
                .command
                .as_deref()
                .map(|command| format::short(&human::printable(command), COMMAND)),
            losses: sentences(losses::in_words(snapshot)),
            notices: sentences(notices(report)),
            not_seen: sentences(snapshot.not_seen.clone()),
            tiles: tiles(report),
            timeline: Timeline::new(&report.series),
            bars: bars(snapshot),
            sankey: Sankey::new(snapshot),
            tables: Vec::new(),
            flame,
            written: format::time(snapshot.time),
        }
    }

    /// Fills the page's tables, with at most `rows` rows each.
    pub(super) fn set_tables(&mut self, report: &Report, rows: usize) {
        self.tables = sections(report, rows);
    }
}

/// The content security policy: nothing is loaded or sent, and only the scripts and styles whose hashes are listed
/// are active.
fn policy(flame: Option<&Flame>) -> String {
    let with = |own: &str, others: Option<&Vec<String>>| {
        let mut sources = vec![flame::source(own)];
        sources.extend(others.into_iter().flatten().cloned());
        sources.join(" ")
    };
    let frames = if flame.is_some_and(|flame| flame.address.is_some()) { "data:" } else { "'none'" };
    format!(
        "default-src 'none'; script-src {}; style-src {}; frame-src {frames}; img-src {frames}; base-uri 'none'; form-action 'none'",
        with(SCRIPT, flame.map(|flame| &flame.scripts)),
        with(STYLE, flame.map(|flame| &flame.styles)),
    )
}

/// Returns a bounded number of sentences; the last one gives the number of those left out.
fn sentences(all: Vec<String>) -> Vec<String> {
    let more = all.len().saturating_sub(LIST);
    let mut kept: Vec<String> =
        all.iter().take(LIST).map(|text| format::short(&human::printable(text), VALUE)).collect();
    if more > 0 {
        kept.push(format!("{more} more."));
    }
    kept
}

fn notices(report: &Report) -> Vec<String> {
    let snapshot = &report.snapshot;
    let mut all = snapshot.notices.clone();
    match snapshot.state {
        State::Unreachable => all.push(
            "The source of the numbers could not be reached: they are the last that were read.".to_owned(),
        ),
        State::Deleted => {
            all.push("The trace was deleted: the numbers are the last that were read.".to_owned());
        }
        State::Failed => all.push("The trace failed.".to_owned()),
        _ => {}
    }
    for node in &snapshot.nodes {
        match (&node.notice, node.update_time) {
            (Some(notice), _) => all.push(format!("Node {}: {notice}", node.name)),
            (None, None) => all.push(format!("Node {} has not reported: its traffic is missing.", node.name)),
            (None, Some(_)) => {}
        }
    }
    if snapshot.older_sockets_found == Some(false) {
        all.push("Sockets that were open before the trace may be missing: not all processes could be searched for them.".to_owned());
    }
    all
}

fn facts(report: &Report) -> Vec<(String, String)> {
    let snapshot = &report.snapshot;
    let mut facts = Vec::new();
    let mut fact = |name: &str, value: String| facts.push((name.to_owned(), value));
    if let Some(began) = report.began {
        fact("Began", format::time(began));
    }
    match report.ended {
        Some(ended) => fact("Ended", format::time(ended)),
        None => fact("Last numbers", format::time(snapshot.time)),
    }
    if let Some(seconds) = seconds(report) {
        fact("Lasted", units::lasted(seconds));
    }
    if let Some((reporting, matched)) = snapshot.number_of_nodes() {
        fact(if matched == 1 { "Node" } else { "Nodes" }, nodes(snapshot, reporting, matched));
    }
    if let Some(pods) = snapshot.pods {
        fact("Pods", human::count(pods));
    }
    if let Some(containers) = snapshot.containers {
        fact("Containers", human::count(containers));
    }
    fact("Flows", human::count(snapshot.flows_total));
    if let Some(tier) = &snapshot.hook_tier {
        fact("Counted by", format::name(tier));
    }
    facts
}

/// The names of the nodes, if all are known, and the number of nodes that reported.
fn nodes(snapshot: &Snapshot, reporting: u64, matched: u64) -> String {
    let mut names: Vec<&str> = snapshot.nodes.iter().map(|node| node.name.as_str()).collect();
    names.sort_unstable();
    let reported = format!("{reporting} of {matched} reported");
    if (names.len() as u64) < matched {
        return reported;
    }
    let shown = names.iter().take(6).map(|name| format::name(name)).collect::<Vec<_>>().join(", ");
    let more = if names.len() > 6 { ", …" } else { "" };
    let count = if reporting == matched { String::new() } else { format!(" ({reported})") };
    format!("{shown}{more}{count}")
}

/// Seconds from the start of the trace to its last numbers.
fn seconds(report: &Report) -> Option<i64> {
    let end = report.ended.unwrap_or(report.snapshot.time);
    Some(end.duration_since(report.began?).as_secs()).filter(|seconds| *seconds > 0)
}

fn tiles(report: &Report) -> Vec<Tile> {
    let totals = &report.snapshot.totals;
    let mean = |bytes: u64| match seconds(report).and_then(|seconds| u64::try_from(seconds).ok()) {
        Some(seconds) => format!("{} on average", human::bytes_per_second(bytes / seconds)),
        None => String::new(),
    };
    let tile = |name, value, detail| Tile { name, value, detail, class: "" };
    let mut tiles = vec![
        Tile { class: "rx", ..tile("Received", human::bytes(totals.rx_bytes), mean(totals.rx_bytes)) },
        Tile { class: "tx", ..tile("Sent", human::bytes(totals.tx_bytes), mean(totals.tx_bytes)) },
        tile(
            "Connections",
            human::count(totals.connections),
            format!(
                "{} open, {} failed",
                human::count(totals.connections_open),
                human::count(totals.connect_failures)
            ),
        ),
        tile("Retransmits", human::count(totals.retransmits), "TCP segments sent again".to_owned()),
    ];
    if let Some(http) = &report.snapshot.http {
        let detail = format!("{} failed", human::count(endpoints::errors_of_all(http)));
        tiles.push(tile("HTTP requests", human::count(http.requests), detail));
    }
    tiles
}

fn sections(report: &Report, rows: usize) -> Vec<Section> {
    let snapshot = &report.snapshot;
    let mut sections = vec![Section {
        heading: "Flows",
        note: format!(
            "The bytes of the traced processes' sockets since the trace began, as the applications sent and received them. \
             Rates are of the last {} s.",
            snapshot.interval_seconds.0
        ),
        table: tables::flows(snapshot, rows),
    }];
    if let Some(http) = &snapshot.http {
        sections.push(Section {
            heading: "HTTP endpoints",
            note: "Errors are answers 5xx, requests without an answer, and calls of gRPC that failed. Of 100 requests, 50, 90 and 99 took no longer than \
                   p50, p90 and p99; asked and answered are bytes."
                .to_owned(),
            table: tables::endpoints(http, rows / 2),
        });
    }
    if let Some(functions) = snapshot.functions.as_ref().filter(|functions| functions.bytes > 0) {
        sections.push(Section {
            heading: "Functions",
            note: "The bytes that a function moved by itself or by what it called, so the rows overlap."
                .to_owned(),
            table: tables::functions(functions, rows / 2),
        });
    }
    if snapshot.nodes.len() > 1 {
        let note = String::new();
        sections.push(Section { heading: "Nodes", note, table: tables::nodes(snapshot, rows / 2) });
    }
    sections
}
