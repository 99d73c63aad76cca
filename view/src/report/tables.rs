//! The tables of a report: texts, and numbers by which they can be sorted.

use traffictrace_crd::human;

use super::format;
use crate::{
    Snapshot, endpoints,
    filter::Filter,
    losses, names,
    rows::{Owner, Sums, peer_of},
    snapshot::{Endpoint, Flow, Functions, Http},
    units,
};

/// A table. Its last rows are sums, which stay at the end when the table is sorted.
pub(super) struct Table {
    /// HTML id of the table, unique on the page.
    pub(super) id: &'static str,
    /// Plural of what the table lists, such as `flows`.
    pub(super) things: &'static str,
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Vec<Cell>>,
    pub(super) sums: Vec<Vec<Cell>>,
}

/// A column's heading.
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) is_number: bool,
    /// True if the column is left out on paper.
    pub(super) is_spare: bool,
    /// True if the rows are initially sorted by this column.
    pub(super) is_sorted: bool,
}

/// A cell.
#[derive(Default)]
pub(super) struct Cell {
    pub(super) text: String,
    /// Smaller text below the first one.
    pub(super) detail: String,
    /// Number by which the cell is sorted.
    pub(super) number: Option<u64>,
    /// Width of the cell's bar, in percent.
    pub(super) bar: Option<String>,
}

fn column(name: &'static str) -> Column {
    Column { name, is_number: false, is_spare: false, is_sorted: false }
}

fn number(name: &'static str) -> Column {
    Column { is_number: true, ..column(name) }
}

fn spare(column: Column) -> Column {
    Column { is_spare: true, ..column }
}

fn sorted(column: Column) -> Column {
    Column { is_sorted: true, ..column }
}

fn text(text: impl Into<String>) -> Cell {
    Cell { text: text.into(), ..Cell::default() }
}

fn detailed(text: String, detail: String) -> Cell {
    Cell { text, detail, ..Cell::default() }
}

fn bytes(bytes: u64) -> Cell {
    Cell { text: human::bytes(bytes), number: Some(bytes), ..Cell::default() }
}

fn count(count: u64) -> Cell {
    Cell { text: human::count(count), number: Some(count), ..Cell::default() }
}

fn barred(cell: Cell, whole: u64) -> Cell {
    let bar = cell.number.map(|number| format::percent(number, whole));
    Cell { bar, ..cell }
}

fn name(name: Option<&str>) -> String {
    format::name(&names::shown(name))
}

/// The pod, with its namespace, container and node in smaller text below; an empty cell on one host.
fn pod(owner: &Owner) -> Cell {
    let detail: Vec<&str> =
        [&owner.namespace, &owner.container, &owner.node].into_iter().flatten().map(String::as_str).collect();
    detailed(name(owner.pod.as_deref()), format::name(&detail.join(" · ")))
}

/// The table of flows, with at most `most` rows before the sums.
pub(super) fn flows(snapshot: &Snapshot, most: usize) -> Table {
    let has_pods = snapshot.flows.iter().any(|flow| flow.pod.is_some());
    let mut columns = vec![column("Process")];
    if has_pods {
        columns.push(column("Pod"));
    }
    columns.extend([
        column("Peer"),
        column("Protocol"),
        spare(number("Conns.")),
        number("Received"),
        number("Sent"),
        sorted(number("Total")),
        spare(number("Rate")),
        spare(number("Retrans.")),
        spare(number("RTT")),
    ]);
    let mut ranked: Vec<&Flow> = snapshot.flows.iter().collect();
    ranked.sort_by_key(|flow| std::cmp::Reverse(flow.weight()));
    let largest = ranked.first().map_or(0, |flow| flow.weight());
    let totals = Sums::from(snapshot);
    let mut listed = Sums::default();
    let mut rows = Vec::new();
    for flow in ranked.into_iter().take(most) {
        listed.add(&flow.into());
        rows.push(flow_row(flow, has_pods, largest));
    }
    let other = totals.beyond(&listed);
    let mut sums = Vec::new();
    if other != Sums::default() {
        sums.push(flow_sums(names::other(other.flows), &other, has_pods));
    }
    sums.push(flow_sums("Total".to_owned(), &totals, has_pods));
    Table { id: "flows", things: "flows", columns, rows, sums }
}

fn flow_row(flow: &Flow, has_pods: bool, largest: u64) -> Vec<Cell> {
    let owner = Owner::from(flow);
    let pid = match (flow.pid, flow.container_pid) {
        (Some(pid), Some(inner)) if pid != inner => format!("pid {pid}, {inner} inside"),
        (Some(pid), _) => format!("pid {pid}"),
        (None, _) => String::new(),
    };
    let address = flow.peer.as_ref().and(flow.remote_address).map(|address| address.to_string());
    let local = match (flow.local_address, flow.local_port) {
        (Some(address), Some(port)) => Some(format!("local {}", std::net::SocketAddr::new(address, port))),
        (Some(address), None) => Some(format!("local {address}")),
        (None, Some(port)) => Some(format!("local port {port}")),
        (None, None) => None,
    };
    let ends: Vec<String> = [address, local].into_iter().flatten().collect();
    let direction = match flow.direction {
        traffictrace_crd::flow::Direction::Inbound => "inbound",
        traffictrace_crd::flow::Direction::Outbound => "outbound",
        traffictrace_crd::flow::Direction::Unknown => "unknown",
    };
    let rate = flow.rx_bytes_per_second.saturating_add(flow.tx_bytes_per_second);
    let mut cells = vec![detailed(format::name(&names::process(&owner)), pid)];
    if has_pods {
        cells.push(pod(&owner));
    }
    cells.extend([
        detailed(name(peer_of(flow).as_deref()), ends.join(" · ")),
        detailed(names::protocol(Some(flow.protocol)).to_owned(), direction.to_owned()),
        Cell {
            detail: match flow.connect_failures {
                0 => names::flow_state(flow.state).to_owned(),
                failures => format!("{}, {} failed", names::flow_state(flow.state), human::count(failures)),
            },
            ..count(flow.connections)
        },
        bytes(flow.rx_bytes),
        bytes(flow.tx_bytes),
        barred(bytes(flow.weight()), largest),
        Cell { text: human::bytes_per_second(rate), number: Some(rate), ..Cell::default() },
        count(flow.retransmits),
        flow.rtt_microseconds.map_or_else(
            || text(names::NONE),
            |rtt| Cell { text: units::duration(rtt.into()), number: Some(rtt.into()), ..Cell::default() },
        ),
    ]);
    cells
}

fn flow_sums(name: String, sums: &Sums, has_pods: bool) -> Vec<Cell> {
    let mut cells = vec![text(name)];
    // Empty cells for pod, peer and protocol.
    cells.extend((0..2 + usize::from(has_pods)).map(|_| text("")));
    let rate =
        Cell { text: human::bytes_per_second(sums.rate()), number: Some(sums.rate()), ..Cell::default() };
    cells.extend([
        count(sums.connections),
        bytes(sums.rx_bytes),
        bytes(sums.tx_bytes),
        bytes(sums.bytes()),
        rate,
        count(sums.retransmits),
        text(""),
    ]);
    cells
}

/// The table of HTTP endpoints, with at most `most` rows before the sums.
pub(super) fn endpoints(http: &Http, most: usize) -> Table {
    let columns = vec![
        column("Endpoint"),
        column("Process"),
        sorted(number("Requests")),
        number("Errors"),
        column("Status"),
        number("p50"),
        number("p90"),
        number("p99"),
        spare(number("Longest")),
        spare(number("Asked")),
        number("Answered"),
    ];
    let largest = http.endpoints.iter().map(|endpoint| endpoint.requests).max().unwrap_or(0);
    let shown = || http.endpoints.iter().take(most);
    let rows = shown().map(|endpoint| endpoint_row(endpoint, largest)).collect();
    let listed = shown().fold(0_u64, |sum, endpoint| sum.saturating_add(endpoint.requests));
    let mut sums = Vec::new();
    let line = |name: String, requests, rest: [Cell; 2]| {
        let [errors, status] = rest;
        let mut cells = vec![text(name), text(""), count(requests), errors, status];
        cells.extend((0..6).map(|_| text("")));
        cells
    };
    if http.requests > listed {
        let other = http.requests - listed;
        sums.push(line("(other endpoints)".to_owned(), other, [text(""), text("")]));
    }
    let status = [errors_of(endpoints::errors_of_all(http), http.requests), text(classes(&http.by_class))];
    sums.push(line("Total".to_owned(), http.requests.max(listed), status));
    Table { id: "endpoints", things: "endpoints", columns, rows, sums }
}

fn endpoint_row(endpoint: &Endpoint, largest: u64) -> Vec<Cell> {
    let Endpoint { namespace, pod, container, command, .. } = endpoint.clone();
    let owner = Owner { namespace, pod, container, command, ..Owner::default() };
    let [method, host, path] =
        [&endpoint.method, &endpoint.host, &endpoint.path].map(|part| part.as_deref().unwrap_or_default());
    let asked = format!("{method} {path}");
    let asked = if asked.trim().is_empty() { names::NONE.to_owned() } else { format::name(asked.trim()) };
    let detail = [host, &endpoint.protocol].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>();
    let side = [Some(endpoint.side.to_lowercase()), names::place(&owner)].into_iter().flatten();
    let side = side.filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" · ");
    let time = |microseconds| Cell {
        text: units::duration(microseconds),
        number: Some(microseconds),
        ..Cell::default()
    };
    vec![
        detailed(asked, format::name(&detail.join(" · "))),
        detailed(name(owner.command.as_deref()), format::name(&side)),
        barred(count(endpoint.requests), largest),
        errors_of(endpoints::errors(endpoint), endpoint.requests),
        text(classes(&endpoint.by_class)),
        time(endpoint.p50_microseconds),
        time(endpoint.p90_microseconds),
        time(endpoint.p99_microseconds),
        time(endpoint.max_microseconds),
        bytes(endpoint.request_bytes),
        bytes(endpoint.response_bytes),
    ]
}

/// Number of failed requests, with their share of all requests.
fn errors_of(errors: u64, requests: u64) -> Cell {
    Cell { detail: if errors > 0 { format::share(errors, requests) } else { String::new() }, ..count(errors) }
}

fn classes(by_class: &std::collections::BTreeMap<String, u64>) -> String {
    let told = |(class, number): (&String, &u64)| {
        let class = if class.starts_with(|char: char| char.is_ascii_digit()) {
            class.clone()
        } else {
            losses::words(class)
        };
        format!("{} {}", format::name(&class), human::count(*number))
    };
    by_class.iter().take(12).map(told).collect::<Vec<_>>().join(" · ")
}

/// The table of functions, with at most `most` rows.
pub(super) fn functions(functions: &Functions, most: usize) -> Table {
    let columns = vec![
        column("Function"),
        column("Process"),
        number("Received"),
        number("Sent"),
        sorted(number("Total")),
        number("Share"),
    ];
    let row = |function: &crate::snapshot::Function| {
        let all = function.bytes();
        let module = function.module.as_deref().map(format::name).unwrap_or_default();
        vec![
            detailed(format::name(&function.name), module),
            text(name(function.command.as_deref())),
            bytes(function.rx_bytes),
            bytes(function.tx_bytes),
            barred(bytes(all), functions.bytes),
            Cell { text: format::share(all, functions.bytes), number: Some(all), ..Cell::default() },
        ]
    };
    let all = crate::functions::sums(functions, &Filter::default());
    let mut sums = Vec::new();
    let more = all.len().saturating_sub(most);
    let line = |name: String, value: Cell| vec![text(name), text(""), text(""), text(""), value, text("")];
    if more > 0 {
        sums.push(line(format!("(other, {})", human::number_of(more as u64, "function")), text("")));
    }
    if functions.bytes_without_stack > 0 {
        sums.push(line("Without a stack".to_owned(), bytes(functions.bytes_without_stack)));
    }
    sums.push(line("All stacks".to_owned(), bytes(functions.bytes)));
    Table {
        id: "functions",
        things: "functions",
        columns,
        rows: all.iter().take(most).map(row).collect(),
        sums,
    }
}

/// The table of nodes, with at most `most` rows, and the age of each node's numbers.
pub(super) fn nodes(snapshot: &Snapshot, most: usize) -> Table {
    let columns = vec![column("Node"), column("Last numbers"), column("Notice")];
    let row = |node: &crate::snapshot::Node| {
        let read = match node.update_time {
            None => "none".to_owned(),
            Some(time) => format::time(time),
        };
        let notice = node.notice.as_deref().map(human::printable).unwrap_or_default();
        vec![text(name(Some(&node.name))), text(read), text(format::short(&notice, 300))]
    };
    let more = snapshot.nodes.len().saturating_sub(most);
    let sums = if more > 0 {
        let name = format!("(other, {})", human::number_of(more as u64, "node"));
        vec![vec![text(name), text(""), text("")]]
    } else {
        Vec::new()
    };
    // Nodes with a notice, or without numbers, come first.
    let mut nodes: Vec<_> = snapshot.nodes.iter().collect();
    nodes.sort_by_key(|node| (node.notice.is_none() && node.update_time.is_some(), node.name.clone()));
    Table {
        id: "nodes",
        things: "nodes",
        columns,
        rows: nodes.into_iter().take(most).map(row).collect(),
        sums,
    }
}
