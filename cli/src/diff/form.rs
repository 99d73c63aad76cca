//! A comparison as a table, as JSON and as CSV.

use serde::Serialize;
use serde_json::{Map, Value, json};
use traffictrace_crd::human::{bytes, count, printable};
use traffictrace_view::{csv, losses, rows::View, text::grid, units::lasted};

use super::compare::{Change, Comparison, Measure, Pair, Row, Side};
use crate::error::CliError;

/// Columns of numbers as [`grid`] takes them: the name, and false because the cells are not texts.
const NUMBERS: [(&str, bool); 7] = [
    ("A", false),
    ("B", false),
    ("DIFFERENCE", false),
    ("RATIO", false),
    ("A/s", false),
    ("B/s", false),
    ("RATIO/s", false),
];

/// Formats the comparison for people, with at most `most` rows; the others are summed up in one row.
pub(super) fn table(comparison: &Comparison, most: usize) -> String {
    let Comparison { a, b, .. } = comparison;
    let mut text = format!("{}{}", heading("A", a), heading("B", b));
    if comparison.lasted_differently() {
        text.push_str(
            "The traces lasted differently: the columns of what was moved each second tell more.\n",
        );
    }
    text.push('\n');
    let mut columns = vec![("TOTAL", true)];
    columns.extend(NUMBERS);
    let totals = comparison.totals.iter().map(|(measure, pair)| {
        let mut cells = vec![measure.label().to_owned()];
        cells.extend(numbers(comparison, *pair, measure.is_of_bytes()));
        cells
    });
    text.push_str(&grid(&columns, totals.collect(), true));
    if comparison.rows.is_empty() {
        return text;
    }
    let has_details = comparison.rows.iter().any(|row| row.detail.is_some());
    let mut columns = vec![(kind(comparison.view).0, true)];
    columns.extend(has_details.then_some((kind(comparison.view).1, true)));
    columns.extend(NUMBERS);
    columns.push(("", true));
    let shown = most.min(comparison.rows.len());
    let (rows, others) = comparison.rows.split_at(shown);
    let row = |row: &Row| {
        let mut cells = vec![row.name.clone()];
        cells.extend(has_details.then(|| row.detail.clone().unwrap_or_else(|| "-".to_owned())));
        cells.extend(numbers(comparison, row.bytes(), true));
        cells.push(in_words(row.change).to_owned());
        cells
    };
    let mut cells: Vec<Vec<String>> = rows.iter().map(row).collect();
    if !others.is_empty() {
        let sum = |of: fn(&Row) -> u64| others.iter().map(of).fold(0, u64::saturating_add);
        let pair = Pair { a: sum(|row| row.a.bytes()), b: sum(|row| row.b.bytes()) };
        let mut other = vec![format!("({} more)", others.len())];
        other.extend(has_details.then(|| "-".to_owned()));
        other.extend(numbers(comparison, pair, true));
        other.push(String::new());
        cells.push(other);
    }
    text.push_str("\nBytes received and sent:\n");
    text.push_str(&grid(&columns, cells, true));
    text
}

/// Describes a trace in one or more lines.
fn heading(name: &str, side: &Side) -> String {
    let snapshot = &side.snapshot;
    let state = format!("{:?}", snapshot.state).to_lowercase();
    let mut text = format!("{name}: {}, {state}", printable(&snapshot.subject));
    if let (Some(seconds), Some(start)) = (side.seconds, snapshot.start_time) {
        let lasted = lasted(i64::try_from(seconds).unwrap_or(i64::MAX));
        text.push_str(&format!(", {lasted} from {}", start.strftime("%F %T UTC")));
    }
    text.push('\n');
    for loss in losses::in_words(snapshot) {
        text.push_str(&format!("   LOST: {loss}\n"));
    }
    for notice in &snapshot.notices {
        text.push_str(&format!("   {}\n", printable(notice)));
    }
    text
}

fn kind(view: View) -> (&'static str, &'static str) {
    match view {
        View::Process => ("PROCESS", "CONTAINER"),
        View::Pod => ("POD", "NAMESPACE"),
        View::Peer => ("PEER", ""),
        View::Endpoint | View::Connection => ("ENDPOINT", "CONTAINER"),
    }
}

fn in_words(change: Change) -> &'static str {
    match change {
        Change::Same => "same",
        Change::Changed => "",
        Change::New => "new",
        Change::Gone => "gone",
        Change::UnlistedInA => "not listed in A",
        Change::UnlistedInB => "not listed in B",
    }
}

fn numbers(comparison: &Comparison, pair: Pair, is_of_bytes: bool) -> Vec<String> {
    let text = |number: u64| if is_of_bytes { bytes(number) } else { count(number) };
    let difference = pair.difference();
    let size = text(u64::try_from(difference.unsigned_abs()).unwrap_or(u64::MAX));
    let difference = match difference {
        0 => size,
        more if more > 0 => format!("+{size}"),
        _ => format!("-{size}"),
    };
    let (a, b) = (comparison.a.per_second(pair.a), comparison.b.per_second(pair.b));
    let rate = |rate: Option<f64>| match rate {
        None => "-".to_owned(),
        Some(rate) if is_of_bytes => bytes(rate.round() as u64),
        Some(rate) => format!("{rate:.1}"),
    };
    let rates = a.zip(b).and_then(|(a, b)| (a > 0.0).then_some(b / a));
    vec![text(pair.a), text(pair.b), difference, ratio(pair.ratio()), rate(a), rate(b), ratio(rates)]
}

fn ratio(ratio: Option<f64>) -> String {
    match ratio {
        None => "-".to_owned(),
        Some(large) if large >= 99.95 => format!("x{large:.0}"),
        Some(ratio) => format!("x{ratio:.2}"),
    }
}

/// Formats the comparison as one JSON object on one line.
pub(super) fn json(comparison: &Comparison, most: usize) -> Result<Vec<u8>, CliError> {
    let side = |side: &Side| {
        json!({
            "subject": side.snapshot.subject,
            "state": side.snapshot.state,
            "time": side.snapshot.time,
            "startTime": side.snapshot.start_time,
            "seconds": side.seconds,
            "lost": side.snapshot.lost,
            "notices": side.snapshot.notices,
        })
    };
    let number = |pair: Pair| {
        let (a, b) = (comparison.a.per_second(pair.a), comparison.b.per_second(pair.b));
        json!({
            "a": pair.a, "b": pair.b,
            "difference": i64::try_from(pair.difference()).unwrap_or(if pair.b > pair.a { i64::MAX } else { i64::MIN }),
            "ratio": pair.ratio(),
            "aPerSecond": a, "bPerSecond": b,
            "ratioPerSecond": a.zip(b).and_then(|(a, b)| (a > 0.0).then_some(b / a)),
        })
    };
    let totals: Map<String, Value> =
        comparison.totals.iter().map(|(measure, pair)| (measure.name().to_owned(), number(*pair))).collect();
    let (name, detail) = kind(comparison.view);
    let rows: Vec<Value> = comparison
        .rows
        .iter()
        .take(most)
        .map(|row| {
            let mut object = Map::new();
            object.insert(name.to_lowercase(), row.name.as_str().into());
            if !detail.is_empty() {
                object.insert(detail.to_lowercase(), row.detail.as_deref().into());
            }
            object.insert("change".to_owned(), json_name(row.change).into());
            for (measure, pair) in measures(row) {
                object.insert(measure.name().to_owned(), number(pair));
            }
            object.into()
        })
        .collect();
    let document = json!({
        "a": side(&comparison.a), "b": side(&comparison.b),
        "by": name.to_lowercase(), "totals": totals, "rows": rows, "rowsTotal": comparison.rows.len(),
    });
    Ok(format!("{document}\n").into_bytes())
}

fn json_name(change: Change) -> &'static str {
    match change {
        Change::Same => "Same",
        Change::Changed => "Changed",
        Change::New => "New",
        Change::Gone => "Gone",
        Change::UnlistedInA => "NotListedInA",
        Change::UnlistedInB => "NotListedInB",
    }
}

/// Returns the numbers of a row.
fn measures(row: &Row) -> [(Measure, Pair); 5] {
    let (a, b) = (&row.a, &row.b);
    [
        (Measure::Received, Pair { a: a.rx_bytes, b: b.rx_bytes }),
        (Measure::Sent, Pair { a: a.tx_bytes, b: b.tx_bytes }),
        (Measure::Connections, Pair { a: a.connections, b: b.connections }),
        (Measure::Failures, Pair { a: a.connect_failures, b: b.connect_failures }),
        (Measure::Retransmits, Pair { a: a.retransmits, b: b.retransmits }),
    ]
}

/// A row as a CSV line. Each line repeats the durations of both traces in seconds, so that its reader can compute
/// rates.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    by: &'static str,
    name: String,
    detail: Option<String>,
    change: &'static str,
    seconds_a: Option<u64>,
    seconds_b: Option<u64>,
    rx_bytes_a: u64,
    rx_bytes_b: u64,
    tx_bytes_a: u64,
    tx_bytes_b: u64,
    connections_a: u64,
    connections_b: u64,
    connect_failures_a: u64,
    connect_failures_b: u64,
    retransmits_a: u64,
    retransmits_b: u64,
}

/// Formats the rows as comma-separated values.
pub(super) fn csv(comparison: &Comparison, most: usize) -> Result<Vec<u8>, CliError> {
    let mut out = Vec::new();
    let mut writer = csv::Writer::new(&mut out, true);
    for row in comparison.rows.iter().take(most) {
        writer.line(&Line {
            by: kind(comparison.view).0,
            name: csv::safe(&row.name),
            detail: row.detail.as_deref().map(csv::safe),
            change: json_name(row.change),
            seconds_a: comparison.a.seconds,
            seconds_b: comparison.b.seconds,
            rx_bytes_a: row.a.rx_bytes,
            rx_bytes_b: row.b.rx_bytes,
            tx_bytes_a: row.a.tx_bytes,
            tx_bytes_b: row.b.tx_bytes,
            connections_a: row.a.connections,
            connections_b: row.b.connections,
            connect_failures_a: row.a.connect_failures,
            connect_failures_b: row.b.connect_failures,
            retransmits_a: row.a.retransmits,
            retransmits_b: row.b.retransmits,
        })?;
    }
    drop(writer);
    Ok(out)
}
