//! The table of HTTP endpoints.

use traffictrace_crd::human;

use super::grid;
use crate::{
    endpoints::{Column, errors, errors_of_all, title, unlisted},
    losses, names,
    rows::Owner,
    snapshot::{Endpoint, Http},
    units,
};

/// Maximum width in terminal columns of an endpoint's title; the middle of a longer one is cut out.
const TITLE: usize = 72;

/// Returns the table of the first `most` endpoints, sorted by a column, and the sums of the others. `wide` adds all columns that
/// have values. The rows add up to the total.
#[must_use]
pub fn endpoints(http: &Http, order: Column, most: usize, wide: bool, headers: bool) -> String {
    let mut columns = vec![("ENDPOINT", true), ("SIDE", true), ("PROCESS", true), ("POD", true)];
    if wide {
        columns.extend([("CONTAINER", true), ("NAMESPACE", true), ("PROTOCOL", true)]);
    }
    columns.extend([("REQUESTS", false), ("ERRORS", false), ("STATUS", true), ("P50", false)]);
    columns.extend(wide.then_some(("P90", false)));
    columns.push(("P99", false));
    columns.extend(wide.then_some(("MAX", false)));
    columns.extend([("ASKED", false), ("ANSWERED", false)]);

    let ranked = order.sorted(http);
    let (shown, cut) = ranked.split_at(most.min(ranked.len()));
    let mut cells: Vec<Vec<String>> = shown.iter().map(|endpoint| row(endpoint, wide)).collect();
    let mut other = unlisted(http);
    cut.iter().for_each(|endpoint| add(&mut other, endpoint));
    let unlisted = http.endpoints_total.unwrap_or(0).saturating_sub(http.endpoints.len() as u64);
    let others = unlisted.saturating_add(cut.len() as u64);
    if other.requests > 0 || others > 0 {
        cells.push(sums(
            &format!("(other, {})", human::number_of(others, "endpoint")),
            &other,
            errors(&other),
            wide,
        ));
    }
    let all = Endpoint {
        requests: http.requests,
        by_class: http.by_class.clone(),
        grpc_failed: http.grpc_failed,
        request_bytes: http.request_bytes,
        response_bytes: http.response_bytes,
        ..Endpoint::default()
    };
    cells.push(sums("TOTAL", &all, errors_of_all(http), wide));
    grid(&columns, cells, headers)
}

fn row(endpoint: &Endpoint, wide: bool) -> Vec<String> {
    let shown = |name: &Option<String>| names::shown(name.as_deref());
    let owner = Owner { command: endpoint.command.clone(), ..Owner::default() };
    let title = names::cut(&human::printable(&title(endpoint)), TITLE);
    let mut cells = vec![title, human::printable(&endpoint.side).to_lowercase()];
    cells.extend([names::process(&owner), shown(&endpoint.pod)]);
    if wide {
        let protocol = names::shown(Some(&endpoint.protocol));
        cells.extend([shown(&endpoint.container), shown(&endpoint.namespace), protocol]);
    }
    cells.extend([human::count(endpoint.requests), human::count(errors(endpoint)), classes(endpoint)]);
    cells.push(units::duration(endpoint.p50_microseconds));
    cells.extend(wide.then(|| units::duration(endpoint.p90_microseconds)));
    cells.push(units::duration(endpoint.p99_microseconds));
    cells.extend(wide.then(|| units::duration(endpoint.max_microseconds)));
    cells.extend([human::bytes(endpoint.request_bytes), human::bytes(endpoint.response_bytes)]);
    cells
}

/// Makes a row of sums.
fn sums(name: &str, sums: &Endpoint, errors: u64, wide: bool) -> Vec<String> {
    let none = |number: usize| vec![names::NONE.to_owned(); number];
    let mut cells = vec![name.to_owned()];
    cells.extend(none(if wide { 6 } else { 3 }));
    cells.extend([human::count(sums.requests), human::count(errors), classes(sums)]);
    cells.extend(none(if wide { 4 } else { 2 }));
    cells.extend([human::bytes(sums.request_bytes), human::bytes(sums.response_bytes)]);
    cells
}

fn add(sum: &mut Endpoint, more: &Endpoint) {
    for (sum, more) in [
        (&mut sum.requests, more.requests),
        (&mut sum.grpc_failed, more.grpc_failed),
        (&mut sum.request_bytes, more.request_bytes),
        (&mut sum.response_bytes, more.response_bytes),
    ] {
        *sum = sum.saturating_add(more);
    }
    for (class, number) in &more.by_class {
        let sum = sum.by_class.entry(class.clone()).or_default();
        *sum = sum.saturating_add(*number);
    }
}

/// Formats the number of requests by class: `2xx 18,231, 5xx 31`.
fn classes(endpoint: &Endpoint) -> String {
    let mut told: Vec<String> = endpoint
        .by_class
        .iter()
        .filter(|(_, number)| **number > 0)
        .map(|(class, number)| {
            let is_code = class.starts_with(|first: char| first.is_ascii_digit());
            let class = if is_code { human::printable(class).into_owned() } else { losses::words(class) };
            format!("{class} {}", human::count(*number))
        })
        .collect();
    if endpoint.grpc_failed > 0 {
        told.push(format!("gRPC failed {}", human::count(endpoint.grpc_failed)));
    }
    if told.is_empty() { names::NONE.to_owned() } else { told.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::testing::{full, hostile};

    #[test]
    fn endpoints_and_what_is_not_listed_add_up() {
        let mut http = full().http.unwrap();
        http.endpoints_total = Some(7);
        (http.requests, http.request_bytes, http.response_bytes) = (129_363, 40_100_000, 659_700_000);
        (http.endpoints[0].grpc_failed, http.grpc_failed) = (3, 5);
        http.by_class = [("2xx", 128_880), ("5xx", 443), ("noResponse", 20)]
            .map(|(class, number)| (class.to_owned(), number))
            .into();
        let narrow = endpoints(&http, Column::default(), usize::MAX, false, true);
        let wide = endpoints(&http, Column::P99, 1, true, true);
        insta::assert_snapshot!(format!("{narrow}\n{wide}"));
        assert!(!endpoints(&http, Column::default(), 9, false, false).contains("ENDPOINT"));
    }

    #[test]
    fn hostile_names_keep_to_their_lines() {
        let snapshot = hostile();
        let http = snapshot.http.unwrap();
        let text = endpoints(&http, Column::default(), 9, true, true);
        assert_eq!(text.lines().count(), 1 + http.endpoints.len() + 1, "{text}");
        assert!(!text.contains(|c: char| c != '\n' && (c.is_control() || c == '\u{202e}')), "{text:?}");
    }
}
