use std::collections::BTreeMap;

use super::{page::Page, *};
use crate::{
    rows::Sums,
    snapshot::{Endpoint, Flow, Function, Functions, Http, Node},
    testing::{flow, snapshot},
};

const HOSTILE: [&str; 7] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "' onmouseover='alert(1)",
    "</style></svg></table><!--",
    "\u{1b}[2J\u{202e}gpj.exe\u{2066}",
    "{{ 7 * 7 }}{% raw %}&amp;",
    "",
];

fn report() -> Report {
    let mut report =
        Report::of("Who?", [Snapshot { time: Timestamp::UNIX_EPOCH, ..snapshot() }, snapshot()]).unwrap();
    report.command = Some("traffictrace top".to_owned());
    report.asked = vec![("Selector".to_owned(), "app=web".to_owned())];
    report
}

/// A report in which every name is `name`.
fn named(name: &str) -> Report {
    let some = || Some(name.to_owned());
    let mut report = report();
    let snapshot = &mut report.snapshot;
    for flow in &mut snapshot.flows {
        (flow.namespace, flow.pod, flow.container, flow.command, flow.peer) =
            (some(), some(), some(), some(), some());
    }
    snapshot.subject = name.to_owned();
    snapshot.notices = vec![name.to_owned()];
    snapshot.not_seen = vec![name.to_owned()];
    snapshot.hook_tier = some();
    snapshot.lost.insert(name.to_owned(), 7);
    snapshot.nodes =
        ["a", "b"].map(|end| Node { name: format!("{name}{end}"), update_time: None, notice: some() }).into();
    snapshot.http = Some(Http {
        endpoints: vec![Endpoint {
            pod: some(),
            command: some(),
            side: name.to_owned(),
            protocol: name.to_owned(),
            method: some(),
            host: some(),
            path: some(),
            by_class: BTreeMap::from([(name.to_owned(), 1)]),
            ..Endpoint::default()
        }],
        unobserved: BTreeMap::from([(name.to_owned(), 1)]),
        by_class: BTreeMap::from([(name.to_owned(), 1)]),
        ..Http::default()
    });
    let function = Function { name: name.to_owned(), module: some(), command: some(), ..Function::default() };
    snapshot.functions = Some(Functions { functions: vec![function], ..Functions::default() });
    report.title = name.to_owned();
    report.command = some();
    report.asked = vec![(name.to_owned(), name.to_owned())];
    report
}

/// Returns the names of a page's elements.
fn elements(page: &str) -> Vec<&str> {
    let script = page.rfind("<script>").unwrap();
    let names = page[..script].split('<').skip(1).map(|tag| {
        tag.split(|char: char| !char.is_alphanumeric() && char != '/' && char != '!')
            .next()
            .unwrap_or_default()
    });
    names.collect()
}

#[test]
fn hostile_names_are_only_text() {
    let harmless = html(&named("harmless")).unwrap();
    for name in HOSTILE {
        let page = html(&named(name)).unwrap();
        if !name.is_empty() {
            assert_eq!(elements(&page), elements(&harmless), "{name:?}");
            assert!(!page.contains(name), "{name:?}");
        }
        assert!(!page.chars().any(|char| char.is_control() && char != '\n'), "{name:?}");
        assert!(!page.contains('\u{202e}'));
    }
    let page = html(&named(HOSTILE[0])).unwrap();
    assert!(page.contains("&#60;script&#62;alert(1)&#60;/script&#62;"), "it is shown as it is");
}

#[test]
fn the_policy_lets_the_pages_own_script_run_and_nothing_else() {
    let mut report = report();
    let page = html(&report).unwrap();
    let (_, script) = page.split_once("<script>").unwrap();
    let (script, _) = script.split_once("</script>").unwrap();
    let (_, style) = page.split_once("<style>").unwrap();
    let (style, _) = style.split_once("</style>").unwrap();
    // In the attribute of the page, quotes and plus signs are escaped as browsers decode them, and decoded here for the
    // comparison.
    let policy = format!(
        "content=\"default-src 'none'; script-src {}; style-src {}; frame-src 'none'; img-src 'none'; base-uri 'none'; form-action 'none'\"",
        flame::source(script),
        flame::source(style)
    );
    assert!(page.replace("&#39;", "'").replace("&#43;", "+").contains(&policy), "{policy}");
    for outside in ["http://", "https://", " style=", " onclick", "@import", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
    report.flame_graph = Some("<svg height=\"100\"><script>a()</script></svg>".to_owned());
    let page = html(&report).unwrap();
    assert!(page.contains("sandbox=\"allow-scripts\"") && page.contains("frame-src data:"));
    assert!(page.replace("&#39;", "'").replace("&#43;", "+").contains(&flame::source("a()")));
}

#[test]
fn a_picture_that_is_too_large_is_named_and_left_out() {
    let mut report = report();
    report.flame_graph = Some("x".repeat(MAX_PICTURE + 1));
    let page = html(&report).unwrap();
    assert!(page.contains("The flame graph has 512 KiB") && !page.contains("<iframe"));
    report.flame_graph = Some("x".repeat(MAX_PICTURE));
    assert!(html(&report).unwrap().contains("<iframe"));
}

#[test]
fn rows_and_others_are_the_totals_however_many_rows_there_are() {
    let snapshot = snapshot();
    for most in [0, 1, 3, 4, 100] {
        let table = tables::flows(&snapshot, most);
        let numbers = |row: &[tables::Cell]| row.iter().map(|cell| cell.number).collect::<Vec<_>>();
        let (total, other) = table.sums.split_last().unwrap();
        let total = numbers(total);
        // The columns of connections, bytes received, bytes sent, both, and rate.
        for (column, total) in total.iter().enumerate().take(9).skip(4) {
            let parts = table.rows.iter().chain(other).map(|row| numbers(row)[column].unwrap());
            assert_eq!(Some(parts.sum::<u64>()), *total, "{most} {column}");
        }
        assert_eq!(total[7], Some(Sums::from(&snapshot).bytes()));
        assert_eq!(table.rows.len(), most.min(4));
        let widths = table.rows.iter().chain(&table.sums).map(Vec::len);
        assert!(widths.into_iter().all(|width| width == table.columns.len()));
    }
}

#[test]
fn bars_and_bands_are_the_totals() {
    let mut snapshot = snapshot();
    let client = snapshot.flows[0].clone();
    snapshot.flows.push(Flow {
        local_address: client.remote_address,
        local_port: client.remote_port,
        remote_address: client.local_address,
        remote_port: client.local_port,
        direction: traffictrace_crd::flow::Direction::Inbound,
        ..flow("redis", 7)
    });
    snapshot.flows.extend((1000..1040).map(|pid| flow(&format!("worker-{pid}"), pid)));
    let sum = |of: fn(&Flow) -> u64| snapshot.flows.iter().map(of).sum::<u64>();
    (snapshot.totals.rx_bytes, snapshot.totals.tx_bytes) =
        (sum(|flow| flow.rx_bytes), sum(|flow| flow.tx_bytes) + 99);
    let totals = Sums::from(&snapshot);
    let mut sums = Sums::default();
    let bars = bars::ranked(&snapshot);
    bars.iter().for_each(|bar| sums.add(&bar.sums));
    assert_eq!((sums.rx_bytes, sums.tx_bytes), (totals.rx_bytes, totals.tx_bytes));
    let names: Vec<_> = bars.iter().rev().take(2).map(|bar| bar.name.as_str()).collect();
    assert!(names[0].starts_with("(other, ") && names[1] == "(unattributed)", "{names:?}");
    let bands: u64 = sankey::Sankey::new(&snapshot).unwrap().bands.iter().map(|band| band.bytes).sum();
    assert_eq!(
        bands + 7 * 1100 + 99,
        totals.bytes(),
        "the other end of a connection, and what is not listed, are told"
    );
}

#[test]
fn every_table_has_a_cell_for_each_column() {
    let report = named("name");
    let http = report.snapshot.http.as_ref().unwrap();
    let functions = report.snapshot.functions.as_ref().unwrap();
    for most in [0, 10] {
        for table in [
            tables::flows(&report.snapshot, most),
            tables::endpoints(&Http { requests: 9, ..http.clone() }, most),
            tables::functions(&Functions { bytes_without_stack: 1, ..functions.clone() }, most),
            tables::nodes(&report.snapshot, most),
        ] {
            for row in table.rows.iter().chain(&table.sums) {
                assert_eq!(row.len(), table.columns.len(), "{}", table.id);
            }
        }
    }
}

#[test]
fn the_largest_trace_is_a_small_page() {
    let mut report = named(&"<&\"'".repeat(60));
    let name = report.snapshot.flows[0].command.clone();
    let many = (1..3000).map(|pid| Flow {
        command: name.clone(),
        pod: name.clone(),
        peer: name.clone(),
        ..flow("", pid)
    });
    report.snapshot.flows.extend(many);
    report.snapshot.flows_total = 100_000;
    report.snapshot.notices = vec![name.clone().unwrap(); 500];
    report.snapshot.not_seen = report.snapshot.notices.clone();
    report.asked = vec![(name.clone().unwrap(), name.clone().unwrap()); 500];
    report.flame_graph = Some("x".repeat(MAX_PICTURE));
    let page = html(&report).unwrap();
    assert!(page.len() <= MAX_SIZE, "{}", page.len());
    assert!(page.contains("flows)") && page.contains("460 more."));
}

#[test]
fn losses_come_first_also_when_there_are_none() {
    let page = html(&report()).unwrap();
    assert!(page.contains("Nothing was lost.") && !page.contains("Something was lost."));
    let mut report = report();
    report.snapshot.lost.insert("rxBytes".to_owned(), 2048);
    let page = html(&report).unwrap();
    let place = |text: &str| page.find(text).unwrap();
    assert!(place("2.0 KiB received are in no flow") < place("id=\"totals\""));
    assert!(!page.contains("Nothing was lost."));
}

#[test]
fn a_recording_is_a_report_and_nothing_is_none() {
    assert!(Report::of("Who?", []).is_none());
    let one = Report::of("Who?", [snapshot()]).unwrap();
    assert_eq!((one.began, one.ended), (Some(snapshot().time), None));
    assert!(html(&one).unwrap().contains("No course over time was recorded"));
    let last = Snapshot { state: crate::snapshot::State::Completed, ..snapshot() };
    assert_eq!(Report::of("Who?", [last.clone()]).unwrap().ended, Some(last.time));
    assert!(html(&Report::default()).is_ok());
}

#[test]
fn what_was_asked_is_repeated() {
    let page = Page::new(&report()).render().unwrap();
    for text in ["<dt>Selector</dt><dd>app=web</dd>", "<code>traffictrace top</code>", "<h1>Who?</h1>"] {
        assert!(page.contains(text), "{text}");
    }
}
