use super::*;
use crate::flows::{FlowState, Protocol};

fn key(pid: u32, direction: Direction, local_port: u16, remote_port: u16) -> Key {
    Key {
        cgroup: 7,
        caller_cgroup: 7,
        pid,
        container_pid: 1,
        command: *b"curl\0\0\0\0\0\0\0\0\0\0\0\0",
        protocol: Protocol::Tcp,
        direction,
        local_address: Some("10.0.0.1".parse().unwrap()),
        remote_address: Some("10.0.0.2".parse().unwrap()),
        local_port: Some(local_port),
        remote_port: Some(remote_port),
    }
}

fn sent(bytes: u64) -> Counters {
    Counters { tx_bytes: bytes, tx_calls: 1, ..Counters::default() }
}

/// Connection counts of the first flow of a connection.
const CONNECTION: Opening = Opening { connections: 1, older: false, failures: 0, open: true };

/// Adds a connection that opened, sent and closed between two drains.
fn short_connection(ledger: &mut Ledger, key: Key, bytes: u64) {
    let row = ledger.hold(key);
    ledger.open(row, CONNECTION);
    ledger.add(row, &sent(bytes), 0);
    ledger.close(row, true);
    ledger.release(row);
}

fn sum_of_rows(ledger: &mut Ledger) -> u64 {
    ledger.rank(usize::MAX, Duration::from_secs(1)).iter().map(|row| row.totals.bytes()).sum()
}

#[test]
fn endpoint_folds_the_port_of_the_opener() {
    let mut ledger = Ledger::new(GroupBy::Endpoint, 100);
    for port in 40_000..40_010 {
        short_connection(&mut ledger, key(1, Direction::Outbound, port, 443), 10);
        short_connection(&mut ledger, key(1, Direction::Inbound, 80, port), 1);
        short_connection(&mut ledger, key(1, Direction::Unknown, port, 9), 2);
    }
    let rows = ledger.rank(2, Duration::from_secs(1));
    assert_eq!(ledger.len(), 12);
    assert_eq!((rows[0].totals.tx_bytes, rows[0].totals.connections), (100, 10));
    assert_eq!((rows[0].key.local_port, rows[0].key.remote_port), (None, Some(443)));
    assert_eq!(
        (rows[1].totals.tx_bytes, rows[1].key.local_port, rows[1].key.remote_port),
        (10, Some(80), None)
    );
    assert_eq!(ledger.totals().unknown_direction_bytes, 20);
}

#[test]
fn process_rows_have_no_addresses() {
    let mut ledger = Ledger::new(GroupBy::Process, 100);
    short_connection(&mut ledger, key(1, Direction::Outbound, 1, 2), 10);
    short_connection(&mut ledger, key(1, Direction::Inbound, 3, 4), 5);
    short_connection(&mut ledger, key(2, Direction::Inbound, 3, 5), 1);
    let rows = ledger.rank(9, Duration::from_secs(1));
    assert_eq!(
        rows.iter().map(|row| (row.key.pid, row.totals.tx_bytes)).collect::<Vec<_>>(),
        [(1, 15), (2, 1)]
    );
    assert_eq!(rows[0].key.remote_address, None);
    assert_eq!(ledger.totals().unknown_direction_bytes, 0);
}

#[test]
fn the_oldest_closed_rows_fold_and_no_byte_is_lost() {
    let mut ledger = Ledger::new(GroupBy::Connection, 10);
    let open = ledger.hold(key(1, Direction::Outbound, 1, 443));
    ledger.add(open, &sent(5), 0);
    for port in 100..200 {
        short_connection(&mut ledger, key(port as u32 % 2, Direction::Outbound, port, 443), 3);
    }
    assert!(ledger.len() <= 12, "{}", ledger.len());
    assert_eq!(sum_of_rows(&mut ledger), ledger.totals().bytes());
    assert_eq!(ledger.totals().tx_bytes, 305);
    let rows = ledger.rank(usize::MAX, Duration::from_secs(1));
    assert_eq!(rows.iter().filter(|row| row.folded).count(), 2);
    assert!(rows.iter().any(|row| row.key.local_port == Some(1)), "an open row is never folded");
    assert!(rows.iter().any(|row| row.key.local_port == Some(199)), "the youngest closed row is kept");
    assert!(!rows.iter().any(|row| row.key.local_port == Some(100)), "the oldest is not");
}

#[test]
fn bytes_that_come_after_the_close_still_count() {
    let mut ledger = Ledger::new(GroupBy::Connection, 1);
    let late = ledger.hold(key(1, Direction::Outbound, 1, 443));
    ledger.close(late, true);
    for port in 2..9 {
        short_connection(&mut ledger, key(2, Direction::Outbound, port, 443), 1);
    }
    ledger.add(late, &sent(50), 0);
    let rows = ledger.rank(1, Duration::from_secs(1));
    assert_eq!((rows[0].key.pid, rows[0].totals.tx_bytes, rows[0].state), (1, 50, FlowState::Closed));
}

#[test]
fn rates_cover_the_last_interval_only() {
    let mut ledger = Ledger::new(GroupBy::Connection, 10);
    let row = ledger.hold(key(1, Direction::Outbound, 1, 443));
    ledger.add(row, &sent(1000), 0);
    assert_eq!(ledger.rank(1, Duration::from_secs(2))[0].tx_bytes_per_second, 500);
    ledger.add(row, &sent(30), 0);
    ledger.add(row, &sent(30), 0);
    let second = ledger.rank(1, Duration::from_secs(2));
    assert_eq!((second[0].tx_bytes_per_second, second[0].totals.tx_bytes), (30, 1060));
    assert_eq!(ledger.rank(1, Duration::from_secs(2))[0].tx_bytes_per_second, 0);
}

#[test]
fn a_seeded_ledger_goes_on_from_what_was_shown() {
    let mut ledger = Ledger::new(GroupBy::Endpoint, 10);
    let key = key(1, Direction::Outbound, 1, 443);
    let row = Totals { tx_bytes: 70, connections: 1, ..Totals::default() };
    let totals = Totals { tx_bytes: 100, connections: 3, ..Totals::default() };
    ledger.seed(&totals, [Seed { key: key.grouped(GroupBy::Endpoint), totals: row }]);
    short_connection(&mut ledger, key, 5);
    assert_eq!(ledger.totals().tx_bytes, 105);
    assert_eq!(ledger.rank(1, Duration::from_secs(1))[0].totals.tx_bytes, 75);
}

#[test]
fn a_seed_that_comes_late_counts_nothing_twice() {
    let mut ledger = Ledger::new(GroupBy::Connection, 10);
    let key = key(1, Direction::Outbound, 1, 443);
    let row = ledger.hold(key);
    ledger.open(row, Opening { older: true, ..CONNECTION });
    ledger.add(row, &Counters { rx_bytes: 5, ..Counters::default() }, 0);
    let new = ledger.hold(Key { local_port: Some(2), ..key });
    ledger.open(new, CONNECTION);
    let before = Totals { rx_bytes: 5_000_000, connections: 1, ..Totals::default() };
    ledger.seed(&before, [Seed { key, totals: before }]);
    let second = Duration::from_secs(1);
    assert_eq!((ledger.totals().connections, ledger.connections_open()), (2, 2));
    let row = &ledger.rank(1, second)[0];
    assert_eq!((row.totals.rx_bytes, row.totals.connections), (5_000_005, 1));
    assert_eq!(row.rx_bytes_per_second, 5);
}

#[test]
fn a_row_has_failed_when_no_connection_of_it_ever_opened() {
    let mut ledger = Ledger::new(GroupBy::Endpoint, 10);
    let key = key(1, Direction::Outbound, 1, 443);
    let row = ledger.hold(key);
    ledger.open(row, Opening { failures: 1, ..Opening::default() });
    ledger.close(row, false);
    ledger.release(row);
    let shown = |ledger: &mut Ledger| ledger.rank(1, Duration::from_secs(1)).remove(0);
    assert_eq!((shown(&mut ledger).state, ledger.totals().connect_failures), (FlowState::Failed, 1));
    let row = ledger.hold(key);
    ledger.open(row, CONNECTION);
    assert_eq!((shown(&mut ledger).state, ledger.connections_open()), (FlowState::Open, 1));
    ledger.close(row, true);
    assert_eq!((shown(&mut ledger).state, ledger.connections_open()), (FlowState::Closed, 0));
}

#[test]
fn the_sums_of_processes_are_those_of_all_their_rows() {
    let mut ledger = Ledger::new(GroupBy::Connection, 3);
    for port in 1..9 {
        short_connection(&mut ledger, key(2, Direction::Outbound, port, 443), 10);
    }
    let open = ledger.hold(key(1, Direction::Outbound, 1, 443));
    ledger.open(open, CONNECTION);
    ledger.add(open, &sent(500), 0);
    let sums = ledger.processes();
    let sums: Vec<_> = sums
        .iter()
        .map(|sum| (sum.pid, sum.totals.tx_bytes, sum.totals.connections, sum.connections_open))
        .collect();
    assert_eq!(sums, [(1, 500, 1, 1), (2, 80, 8, 0)]);
}

#[test]
fn the_rates_of_the_whole_are_those_of_all_rows() {
    let mut ledger = Ledger::new(GroupBy::Connection, 100);
    let second = Duration::from_secs(1);
    let rows = [1, 2, 3].map(|port| ledger.hold(key(7, Direction::Outbound, port, 80)));
    for row in rows {
        ledger.add(row, &Counters { rx_bytes: 10, tx_bytes: 4, ..Counters::default() }, 0);
    }
    assert_eq!(ledger.rates(second), (30, 12));
    assert_eq!(ledger.rank(1, second).len(), 1);
    assert_eq!(ledger.rates(second), (0, 0), "a new interval");
    ledger.seed(&Totals { rx_bytes: 1000, ..Totals::default() }, []);
    assert_eq!(ledger.rates(second), (0, 0), "what was shown before moved before");
}

#[test]
fn rows_beyond_the_largest_are_folded_by_process_and_none_of_their_bytes_is_left_out() {
    let mut ledger = Ledger::new(GroupBy::Connection, 100);
    let second = Duration::from_secs(1);
    let largest = ledger.hold(key(1, Direction::Outbound, 1, 443));
    ledger.open(largest, CONNECTION);
    ledger.add(largest, &sent(500), 3);
    for port in 2..6 {
        short_connection(&mut ledger, key(1, Direction::Outbound, port, 443), 10);
        short_connection(&mut ledger, key(2, Direction::Inbound, 80, port), 7);
    }
    let open = ledger.hold(key(2, Direction::Inbound, 80, 9));
    ledger.open(open, CONNECTION);
    ledger.add(open, &sent(1), 3);
    let rows = ledger.rank_folded(1, second);
    let shown: Vec<_> = rows
        .iter()
        .map(|row| {
            let Row { key, totals, tx_bytes_per_second, connections_open, state, .. } = *row;
            (key.pid, totals.tx_bytes, tx_bytes_per_second, totals.connections, connections_open, state)
        })
        .collect();
    let (open, closed) = (FlowState::Open, FlowState::Closed);
    assert_eq!(shown, [(1, 500, 500, 1, 1, open), (1, 40, 40, 4, 0, closed), (2, 29, 29, 5, 1, open)]);
    assert!(rows[1..].iter().all(|row| row.folded && row.rtt_us == 0 && row.key.remote_port.is_none()));
    assert_eq!((rows[1].key.direction, rows[2].key.direction), (Direction::Outbound, Direction::Inbound));
    // Nothing has moved since the last call, and nothing is folded if all rows are listed.
    assert!(ledger.rank_folded(0, second).iter().all(|row| row.tx_bytes_per_second == 0));
    assert_eq!(ledger.rank_folded(10, second).len(), 10);
}

#[test]
fn flows_of_very_many_processes_are_few_rows_and_none_of_their_bytes_is_left_out() {
    const PROCESSES: u32 = 10_000;
    let mut ledger = Ledger::new(GroupBy::Connection, 100_000);
    for pid in 1..=PROCESSES {
        for port in 1..=2 {
            short_connection(&mut ledger, key(pid, Direction::Outbound, port, 443), u64::from(pid));
        }
    }
    let rows = ledger.rank_folded(100, Duration::from_secs(1));
    // The largest flows, the largest processes of the others, and the rest of their only cgroup.
    assert_eq!(rows.len(), 100 + FOLDED + 1);
    assert_eq!(rows.iter().map(|row| row.totals.tx_bytes).sum::<u64>(), ledger.totals().tx_bytes);
    assert_eq!(rows.iter().map(|row| row.flows).sum::<u64>(), u64::from(PROCESSES) * 2);
    let rest = rows.last().map(|row| (row.key.pid, row.flows, row.folded));
    assert_eq!(rest, Some((0, u64::from(PROCESSES - 50) * 2 - FOLDED as u64 * 2, true)));
}

#[test]
fn processes_of_very_many_cgroups_are_few_rows_and_always_the_same() {
    let mut ledger = Ledger::new(GroupBy::Connection, 100_000);
    for pid in 1..=10_000 {
        let key = Key {
            cgroup: u64::from(pid),
            caller_cgroup: u64::from(pid),
            ..key(pid, Direction::Outbound, 1, 443)
        };
        short_connection(&mut ledger, key, 10);
    }
    let mut keys = || {
        let rows = ledger.rank_folded(100, Duration::from_secs(1));
        rows.into_iter().map(|row| row.key).collect::<Vec<_>>()
    };
    let first = keys();
    assert_eq!(first.len(), 100 + 2 * FOLDED);
    assert!((0..3).all(|_| keys() == first));
}
