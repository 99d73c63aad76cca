//! Summaries of the requests of an interval or of the whole session, by endpoint.

use std::time::{Duration, Instant};

use jiff::{Timestamp, tz::TimeZone};
use traffictrace_crd::human;
use traffictrace_http::endpoint::{Class, Interval, Latency, Row, Sums, Table};

use super::{
    names::{Containers, command, side},
    selection::SelectionArgs,
    tally::{Tally, by_class},
    text::{container, microseconds},
};
use crate::{
    engine::{Engine, HttpExchange, HttpInterval, HttpOwner, HttpSnapshot, SessionId},
    host,
};

const COLUMNS: [&str; 15] = [
    "REQUESTS",
    "1xx",
    "2xx",
    "3xx",
    "4xx",
    "5xx",
    "NONE",
    "P50",
    "P90",
    "P99",
    "MAX",
    "SIDE",
    "CONTAINER",
    "PROCESS",
    "REQUEST",
];
/// Columns that contain text instead of numbers.
const TEXTS: [&str; 4] = ["SIDE", "CONTAINER", "PROCESS", "REQUEST"];
/// The columns with numbers of requests, each with the status classes that it sums. A column that is zero in every row
/// is left out.
const CLASSES: [(&str, &[Class]); 6] = [
    ("1xx", &[Class::Informational]),
    ("2xx", &[Class::Success]),
    ("3xx", &[Class::Redirection]),
    ("4xx", &[Class::ClientError]),
    ("5xx", &[Class::ServerError]),
    ("NONE", &[Class::NoResponse, Class::Unknown]),
];

/// The requests of an interval, or since the session began, by endpoint.
#[derive(Debug)]
pub(super) struct Summary {
    /// The endpoints with requests, those with the most requests first; at most `--top`.
    pub(super) rows: Vec<Row<HttpOwner>>,
    /// Number of endpoints with requests, including those that are not in `rows`.
    pub(super) rows_total: usize,
    /// Sums of all requests that pass the filters.
    pub(super) totals: Sums,
    /// Length of the interval or the session.
    pub(super) elapsed: Duration,
    /// Time of day at the end of the interval or the session.
    pub(super) ended: Timestamp,
    /// The names of the containers of the rows' owners.
    pub(super) containers: Containers,
}

/// Counts requests for summaries, and makes the summaries.
#[derive(Debug)]
pub(super) struct Summaries {
    /// The endpoints of the requests that pass the filters; `None` without filters, because the engine counts endpoints
    /// itself then.
    filtered: Option<Table<HttpOwner>>,
    session_began: Instant,
    interval_began: Instant,
}

impl Summaries {
    pub(super) fn new(selection: &SelectionArgs) -> Self {
        let now = Instant::now();
        let filtered = (!selection.takes_all()).then(Table::default);
        Self { filtered, session_began: now, interval_began: now }
    }

    /// Counts those of the requests that pass the filters; does nothing without filters.
    pub(super) fn record(&mut self, requests: &[HttpExchange], selection: &SelectionArgs) {
        let Some(table) = &mut self.filtered else { return };
        for request in requests.iter().filter(|request| selection.takes(&request.exchange)) {
            table.record(&request.owner, &request.exchange);
        }
    }

    /// Returns the requests of up to `top` endpoints since the last call. Without filters, also updates
    /// [`Tally::missing`]. Returns `None` if the session has ended.
    pub(super) fn take(
        &mut self,
        engine: &mut Engine,
        session: &SessionId,
        top: usize,
        tally: &mut Tally,
    ) -> Option<Summary> {
        let interval = match &mut self.filtered {
            Some(table) => table.take_interval(),
            None => {
                let HttpInterval { interval, missing } = engine.take_http_interval(session)?;
                tally.missing = missing;
                interval
            }
        };
        let elapsed = self.interval_began.elapsed();
        self.interval_began = Instant::now();
        Some(Summary::of_interval(interval, top, elapsed))
    }

    /// Returns the requests of up to `top` endpoints since the session began. `requests` is the engine's snapshot with
    /// at most `top` endpoints, too.
    pub(super) fn whole(&self, requests: HttpSnapshot, top: usize) -> Summary {
        let (rows, rows_total, totals) = match &self.filtered {
            Some(table) => (table.top(top), table.len(), table.totals()),
            None => (requests.rows, requests.rows_total, requests.totals),
        };
        let elapsed = self.session_began.elapsed();
        let (ended, containers) = (Timestamp::now(), Containers::new());
        Summary { rows, rows_total, totals: totals.sums, elapsed, ended, containers }
    }
}

impl Summary {
    fn of_interval(interval: Interval<HttpOwner>, top: usize, elapsed: Duration) -> Self {
        let Interval { mut rows, totals, .. } = interval;
        let rows_total = rows.len();
        rows.truncate(top);
        let (ended, containers) = (Timestamp::now(), Containers::new());
        Self { rows, rows_total, totals: totals.sums, elapsed, ended, containers }
    }

    /// Formats the summary of an interval: a line of sums, the endpoints, and what is missing since the session began.
    pub(super) fn text(&self, tally: &Tally, zone: &TimeZone) -> String {
        let time = self.ended.to_zoned(zone.clone()).strftime("%H:%M:%S").to_string();
        let requests = human::number_of(self.totals.requests(), "request");
        let seconds = self.elapsed.as_secs_f64();
        let mut text = format!("{time}  {requests} in {seconds:.1} s{}\n", by_class(&self.totals));
        self.write_endpoints(&mut text);
        for sentence in tally.sentences() {
            text.push_str(&format!("! {sentence}\n"));
        }
        text.push('\n');
        text
    }

    /// Formats the summary of the whole session: a line of sums, and the endpoints.
    pub(super) fn whole_text(&self) -> String {
        let requests = human::number_of(self.totals.requests(), "request");
        let seconds = self.elapsed.as_secs_f64();
        let mut text = format!("In all: {requests} in {seconds:.1} s{}\n", by_class(&self.totals));
        self.write_endpoints(&mut text);
        text
    }

    fn write_endpoints(&self, text: &mut String) {
        if !self.rows.is_empty() {
            text.push_str(&self.table());
        }
        let more = self.rows_total.saturating_sub(self.rows.len());
        if more > 0 {
            text.push_str(&format!("({more} more endpoints)\n"));
        }
    }

    fn table(&self) -> String {
        let rows = &self.rows;
        let number = |row: &Row<HttpOwner>, name: &str| {
            let classes = CLASSES.iter().find(|(column, _)| *column == name).map(|(_, classes)| *classes);
            classes.map(|classes| classes.iter().map(|class| row.counts.sums.of(*class)).sum::<u64>())
        };
        let has_containers = !self.containers.is_empty();
        let kept = COLUMNS.map(|name| match name {
            "CONTAINER" => has_containers,
            _ => rows.iter().any(|row| number(row, name) != Some(0)),
        });
        let keep = |cells: Vec<String>| -> Vec<String> {
            cells.into_iter().zip(kept).filter(|(_, kept)| *kept).map(|(cell, _)| cell).collect()
        };
        let cells = |row: &Row<HttpOwner>| -> Vec<String> {
            let Latency { p50, p90, p99, max } = row.counts.durations.latency();
            let class = |name: &str| number(row, name).unwrap_or_default().to_string();
            let numbers = [row.counts.requests().to_string()];
            let classes = CLASSES.map(|(name, _)| class(name));
            let texts = [
                side(row.endpoint.side).to_owned(),
                container(&row.owner, &self.containers),
                command(&row.owner).unwrap_or_else(|| "-".to_owned()),
                endpoint(row),
            ];
            numbers
                .into_iter()
                .chain(classes)
                .chain([p50, p90, p99, max].map(microseconds))
                .chain(texts)
                .collect()
        };
        let names = keep(COLUMNS.map(str::to_owned).to_vec());
        host::table(names, rows.iter().map(|row| keep(cells(row))), &TEXTS)
    }
}

/// Formats method, host and path of an endpoint, with `-` for those that are unknown.
fn endpoint(row: &Row<HttpOwner>) -> String {
    let known =
        |text: &str| if text.is_empty() { "-".to_owned() } else { human::printable(text).into_owned() };
    let (method, host, path) = (row.endpoint.method, &row.endpoint.host, &row.endpoint.path);
    format!("{} {} {}", known(method), known(host), known(path))
}

#[cfg(test)]
mod tests {
    use traffictrace_http::{Exchange, Status};

    use super::*;
    use crate::http_log::testing::{exchange, of_nginx};

    fn summary(exchanges: &[Exchange], top: usize) -> Summary {
        let selection = SelectionArgs::default();
        let requests: Vec<_> = exchanges.iter().cloned().map(of_nginx).collect();
        let mut summaries = Summaries { filtered: Some(Table::default()), ..Summaries::new(&selection) };
        summaries.record(&requests, &selection);
        let interval = summaries.filtered.as_mut().unwrap().take_interval();
        Summary::of_interval(interval, top, Duration::from_secs(5))
    }

    #[test]
    fn endpoints_are_rows_and_classes_without_requests_no_columns() {
        let failed = Exchange { status: Status::Code(503), ..exchange() };
        let other = Exchange { path: "/carts/8".into(), ..exchange() };
        let health = Exchange { path: "/health".into(), ..exchange() };
        let exchanges = [exchange(), failed, other, health];
        let text = summary(&exchanges, 20).text(&Tally::default(), &TimeZone::UTC);
        let lines: Vec<_> = text.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
        let lines: Vec<Vec<&str>> = lines;
        assert_eq!(
            lines[0],
            ["REQUESTS", "2xx", "5xx", "P50", "P90", "P99", "MAX", "SIDE", "PROCESS", "REQUEST"]
        );
        assert_eq!(lines[1][..3], ["3", "2", "1"]);
        assert_eq!(lines[1][11..], ["Server", "nginx", "GET", "shop.example:8080", "/carts/{id}"]);
        assert_eq!(lines[2][..3], ["1", "1", "0"]);
        assert!(text.contains("4 requests in 5.0 s: 3 2xx, 1 5xx"), "{text}");
        let cut = summary(&exchanges, 1).whole_text();
        assert!(cut.contains("(1 more endpoints)") && !cut.contains("/health"), "{cut}");
    }

    #[test]
    fn an_interval_without_requests_is_one_line() {
        let text = summary(&[], 20).text(&Tally::default(), &TimeZone::UTC);
        assert_eq!(text.trim_end().lines().count(), 1, "{text}");
        assert!(text.contains("0 requests in 5.0 s"), "{text}");
    }

    #[test]
    fn what_is_missing_is_below_the_table() {
        let mut tally = Tally::default();
        tally.missing.connections = 2;
        let text = summary(&[exchange()], 20).text(&tally, &TimeZone::UTC);
        assert!(text.lines().any(|line| line.starts_with("! 2 connections")), "{text}");
    }
}
