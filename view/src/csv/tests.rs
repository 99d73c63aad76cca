use super::*;
use crate::{snapshot::Totals, testing::snapshot};

fn written(snapshots: &[Snapshot], headers: bool) -> String {
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out, headers);
    snapshots.iter().for_each(|snapshot| writer.write(snapshot).unwrap());
    drop(writer);
    String::from_utf8(out).unwrap()
}

#[test]
fn the_header_comes_once_with_the_names_of_the_json() {
    let text = written(&[snapshot(), snapshot()], true);
    assert_eq!(text.matches("rxBytesPerSecond").count(), 1);
    assert_eq!(text.lines().count(), 1 + 2 * 5);
    assert!(text.split('\n').take(11).all(|line| line.ends_with('\r')), "{text}");
    let json = serde_json::to_value(&snapshot().flows[0]).unwrap();
    let header: Vec<_> = text.lines().next().unwrap().split(',').collect();
    assert_eq!(header[0], "time");
    for name in json.as_object().unwrap().keys() {
        assert!(header.contains(&name.as_str()), "{name}");
    }
    assert!(!written(&[snapshot()], false).contains("rxBytes"));
    insta::assert_snapshot!(written(&[snapshot()], true).replace('\r', ""));
}

#[test]
fn lines_add_up_to_the_totals() {
    let snapshot = snapshot();
    let text = written(std::slice::from_ref(&snapshot), true);
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader.headers().unwrap().clone();
    let mut sums = vec![0_u64; header.len()];
    for record in reader.records() {
        for (sum, cell) in sums.iter_mut().zip(&record.unwrap()) {
            *sum += cell.parse::<u64>().unwrap_or(0);
        }
    }
    let sum = |name: &str| sums[header.iter().position(|column| column == name).unwrap()];
    let read = Totals {
        rx_bytes: sum("rxBytes"),
        tx_bytes: sum("txBytes"),
        rx_bytes_per_second: sum("rxBytesPerSecond"),
        tx_bytes_per_second: sum("txBytesPerSecond"),
        connections: sum("connections"),
        connections_open: sum("connectionsOpen"),
        connect_failures: sum("connectFailures"),
        retransmits: sum("retransmits"),
        ..Totals::default()
    };
    assert_eq!(read, snapshot.totals);
}

#[test]
fn hostile_names_neither_calculate_nor_leave_their_cell() {
    let mut snapshot = snapshot();
    for (name, cell) in [
        ("=HYPERLINK(\"http://x\")", "'=HYPERLINK(\"http://x\")"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        (" @SUM(A1)", "' @SUM(A1)"),
        ("＝1", "'＝1"),
        ("\t=1", "?=1"),
        ("a\r\nb,\"c\"\u{1b}[2J\u{202e}", "a??b,\"c\"?[2J?"),
        ("", ""),
        ("漢字", "漢字"),
    ] {
        for flow in &mut snapshot.flows {
            flow.command = Some(name.to_owned());
            (flow.peer, flow.pod) = (flow.command.clone(), flow.command.clone());
        }
        let text = written(std::slice::from_ref(&snapshot), true);
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let records: Vec<_> = reader.records().map(Result::unwrap).collect();
        assert_eq!((records.len(), &records[0][8], &records[0][2], &records[0][16]), (5, cell, cell, cell));
    }
}

#[test]
fn a_snapshot_without_flows_has_one_line() {
    assert_eq!(
        written(&[Snapshot::default()], false).trim_end(),
        "1970-01-01T00:00:00Z,,,,,,,,(other),,,,,,,,,0,0,,,0,0,0,0,0,0,"
    );
}

#[test]
fn endpoints_add_up_to_the_requests() {
    let mut snapshot = crate::live::testing::full();
    let http = snapshot.http.as_mut().unwrap();
    http.endpoints[1].path = Some("=1+\u{1b}".to_owned());
    (http.request_bytes, http.response_bytes) = (40_096_341, 659_649_400);
    http.by_class = [("2xx", 128_900), ("5xx", 443)].map(|(class, n)| (class.to_owned(), n)).into();
    let mut out = Vec::new();
    Writer::new(&mut out, true).write_endpoints(&snapshot).unwrap();
    let text = String::from_utf8(out).unwrap();
    insta::assert_snapshot!(text.replace('\r', ""));
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader.headers().unwrap().clone();
    let records: Vec<_> = reader.records().map(Result::unwrap).collect();
    let sum = |name: &str| {
        let at = header.iter().position(|column| column == name).unwrap();
        records.iter().map(|record| record[at].parse::<u64>().unwrap()).sum::<u64>()
    };
    let http = snapshot.http.unwrap();
    assert_eq!((sum("requests"), sum("2xx"), sum("5xx")), (http.requests, 128_900, 443));
    assert_eq!((sum("requestBytes"), sum("responseBytes")), (http.request_bytes, http.response_bytes));
}
