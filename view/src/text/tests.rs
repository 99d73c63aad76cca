use super::*;
use crate::{
    filter::Filter,
    rows::View,
    snapshot::{Flow, Node},
    testing::{flow, snapshot},
};

fn by(view: View) -> Options {
    Options { choice: Choice { view, ..Choice::default() }, ..Options::default() }
}

#[test]
fn a_pipe_gets_every_column_of_the_view() {
    let all: String = View::ALL.map(|view| table(&snapshot(), &by(view))).join("\n");
    insta::assert_snapshot!(all);
}

#[test]
fn a_wide_table_has_everything() {
    insta::assert_snapshot!(table(&snapshot(), &Options { wide: true, ..by(View::Connection) }));
}

#[test]
fn a_narrow_table_goes_without_the_least_important_columns() {
    let mut text = String::new();
    for width in [200, 80, 60, 40, 20] {
        let options = Options { width: Some(width), wide: width > 100, ..by(View::Connection) };
        text.push_str(&format!("--- {width}\n{}", table(&snapshot(), &options)));
    }
    insta::assert_snapshot!(text);
}

#[test]
fn losses_notices_and_nodes_are_told_without_headers_too() {
    let mut snapshot = snapshot();
    snapshot.lost.insert("tableFullEvents".to_owned(), 1204);
    snapshot.notices = vec!["The trace began 8 s late\u{1b}[2J.".to_owned()];
    let node = |name: &str| Node { name: name.to_owned(), update_time: None, notice: None };
    snapshot.nodes = vec![
        Node { update_time: Some(snapshot.time), ..node("node-a") },
        Node { notice: Some("it has no BTF".to_owned()), ..node("node-b") },
        node("node-c"),
    ];
    insta::assert_snapshot!(table(&snapshot, &by(View::Pod)));
    let text = table(&snapshot, &Options { headers: false, ..by(View::Pod) });
    assert!(text.starts_with("# LOST: 1,204 calls") && !text.contains("PROCESSES"), "{text}");
}

#[test]
fn what_is_in_no_row_has_a_row_of_its_own() {
    let filter = Filter::parse("pod:web").unwrap();
    let choice = Choice { filter, ..Choice::default() };
    insta::assert_snapshot!(table(&snapshot(), &Options { choice, rows: 1, ..Options::default() }));
}

/// Reads bytes in every digit back from a table: the sum of the rows, and the last row.
fn sums(text: &str) -> (u64, u64) {
    let number = |line: &str| {
        let last = line.trim_end().strip_suffix(" B")?.rsplit("  ").next()?.trim();
        last.replace(',', "").parse::<u64>().ok()
    };
    let mut numbers: Vec<u64> = text.lines().filter_map(number).collect();
    let total = numbers.pop().unwrap();
    (numbers.iter().sum(), total)
}

#[test]
fn rows_add_up_to_the_totals() {
    let mut snapshot = snapshot();
    let client = snapshot.flows[0].clone();
    let server = Flow {
        local_address: client.remote_address,
        local_port: client.remote_port,
        remote_address: client.local_address,
        remote_port: client.local_port,
        direction: traffictrace_crd::flow::Direction::Inbound,
        ..flow("redis", 7)
    };
    snapshot.totals.tx_bytes += server.tx_bytes;
    snapshot.flows.push(server);
    snapshot.flows_total += 1;
    for view in View::ALL {
        for (rows, filter) in [(usize::MAX, ""), (1, ""), (0, ""), (2, "pod:job"), (9, "nothing")] {
            let choice = Choice { view, filter: Filter::parse(filter).unwrap(), both_ends: false };
            let text = table(&snapshot, &Options { choice, rows, units: Units::Exact, ..Options::default() });
            assert_eq!(sums(&text), (snapshot.totals.tx_bytes, snapshot.totals.tx_bytes), "{text}");
        }
    }
}

#[test]
fn hostile_names_fit_at_any_width() {
    let mut snapshot = snapshot();
    let long = "x".repeat(5000);
    for name in
        ["", "\u{1b}[2J\u{202e}evil\r\n", "漢字漢字漢字漢字漢字", &long, "e\u{301}\u{200d}👩‍👩‍👧", "# LOST"]
    {
        for flow in &mut snapshot.flows {
            flow.command = Some(name.to_owned());
            (flow.pod, flow.peer) = (flow.command.clone(), flow.command.clone());
        }
        snapshot.subject = name.to_owned();
        for width in [0, 1, 2, 7, 10, 25, 40, 80, 200] {
            for view in View::ALL {
                let text = table(&snapshot, &Options { width: Some(width), wide: true, ..by(view) });
                assert!(text.lines().all(|line| line.width() <= width), "{width} {view:?}\n{text}");
                assert!(!text.chars().any(|char| char.is_control() && char != '\n'), "{text}");
            }
        }
        let whole = table(&snapshot, &by(View::Process));
        assert_eq!(whole.lines().count(), 1 + 1 + snapshot.flows.len() + 2, "{whole}");
    }
    assert!(!table(&Snapshot::default(), &by(View::Peer)).is_empty());
}
