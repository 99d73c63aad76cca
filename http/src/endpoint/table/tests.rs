//! Tests of the table by example.

use super::*;
use crate::endpoint::testing::exchange;
use crate::endpoint::{Class, Endpoint, OTHER};
use crate::{Protocol, Side};

/// Returns the sum of the rows and the rest.
pub(super) fn sum<'a>(rows: impl IntoIterator<Item = &'a Row<u32>>, rest: &Counts) -> Counts {
    let mut sum = rest.clone();
    for row in rows {
        sum.merge(&row.counts);
    }
    sum
}

/// Asserts that all rows and the rest add up to the totals, and that no limit is exceeded.
pub(super) fn check(table: &Table<u32>) {
    let rows = table.top(usize::MAX);
    assert_eq!(rows.len(), table.len());
    let sum = sum(&rows, &table.rest());
    assert_eq!(sum.sums, table.totals().sums);
    assert_eq!(sum.durations.count(), sum.requests());
    let named = rows.iter().filter(|row| !row.endpoint.is_other()).count();
    assert_eq!(named, table.named);
    assert!(named <= MAX_ROWS && table.owners.len() <= MAX_OWNERS);
    for endpoints in table.owners.values() {
        let hosts: std::collections::BTreeSet<_> =
            endpoints.iter().map(|(endpoint, _)| &endpoint.host).collect();
        assert!(endpoints.named() <= MAX_OWNER_ROWS);
        // The limit does not include `{other}`, `{invalid}` and the empty host.
        assert!(hosts.len() <= MAX_HOSTS + 3, "{} hosts", hosts.len());
    }
}

/// Returns the row of a path, if there is one.
fn find(rows: &[Row<u32>], owner: u32, path: &str) -> Option<Row<u32>> {
    rows.iter().find(|row| row.owner == owner && *row.endpoint.path == *path).cloned()
}

#[test]
fn rows_are_by_endpoint_and_the_busiest_come_first() {
    let mut table = Table::default();
    for id in 0..5 {
        table.record(&1, &exchange(&format!("/users/{id}?q=1"), 200));
    }
    table.record(&1, &exchange("/users/7", 404));
    table.record(&2, &exchange("/users/7", 200));
    table.record(&1, &Exchange { method: "FOOBAR".to_owned(), ..exchange("/", 400) });
    table.record(&1, &Exchange { host: "EXAMPLE.com:80".to_owned(), ..exchange("/", 200) });
    table.record(&1, &Exchange { side: Side::Client, protocol: Protocol::Http2, ..exchange("/", 200) });
    check(&table);
    let rows = table.top(10);
    let shown: Vec<_> = rows
        .iter()
        .map(|row| {
            let Endpoint { side, protocol, method, host, path } = &row.endpoint;
            (row.owner, *side, *protocol, *method, &**host, &**path, row.counts.requests(), row.complete)
        })
        .collect();
    let (server, client, http1) = (Side::Server, Side::Client, Protocol::Http11);
    assert_eq!(
        shown,
        [
            (1, server, http1, "GET", "example.com", "/users/{id}", 6, true),
            (1, server, http1, "GET", "example.com", "/", 1, true),
            (2, server, http1, "GET", "example.com", "/users/{id}", 1, true),
            (1, server, http1, OTHER, "example.com", "/", 1, true),
            (1, client, Protocol::Http2, "GET", "example.com", "/", 1, true),
        ]
    );
    assert_eq!((rows[0].counts.sums.of(Class::Success), rows[0].counts.sums.of(Class::ClientError)), (5, 1));
    assert_eq!(table.top(1), rows[..1]);
}

#[test]
fn an_interval_is_what_is_new() {
    let mut table = Table::default();
    table.record(&1, &exchange("/a", 200));
    table.record(&1, &exchange("/b", 200));
    table.unobserved(Reason::LostResponse, 2);
    table.lost_events(3);
    assert_eq!(table.take_interval().rows.len(), 2);
    table.record(&1, &exchange("/b", 500));
    table.unobserved(Reason::LostResponse, 5);
    let interval = table.take_interval();
    assert_eq!(interval.rows.len(), 1);
    assert_eq!((&*interval.rows[0].endpoint.path, interval.rows[0].counts.requests()), ("/b", 1));
    assert_eq!(interval.totals.unobserved.of(Reason::LostResponse), 5);
    assert_eq!(interval.totals.unobserved.lost_events, 0);
    assert!(table.take_interval().rows.is_empty());
    assert_eq!(table.totals().sums.requests(), 3);
    assert_eq!((table.totals().unobserved.exchanges(), table.totals().unobserved.lost_events), (7, 3));
    assert_eq!(find(&table.top(9), 1, "/b").expect("a row").counts.requests(), 2);
    check(&table);
}

#[test]
fn a_scanner_of_paths_costs_busy_endpoints_nothing() {
    let mut table = Table::default();
    for number in 0..20_000_u32 {
        table.record(&1, &exchange(&format!("/{}", words(number)), 404));
        if number % 100 == 0 {
            table.record(&1, &exchange("/busy", 200));
            table.record(&2, &exchange("/elsewhere", 200));
        }
    }
    check(&table);
    let rows = table.top(usize::MAX);
    for (owner, path) in [(1, "/busy"), (2, "/elsewhere")] {
        let row = find(&rows, owner, path).expect("a row");
        assert_eq!((row.counts.requests(), row.complete), (200, true));
    }
    let other = find(&rows, 1, OTHER).expect("a row of the others");
    assert!(other.counts.requests() >= 20_000 - MAX_OWNER_ROWS as u64 && !other.complete);
    assert!(rows.iter().filter(|row| row.owner == 1 && !row.complete).count() > 1);
}

#[test]
fn a_scanner_of_hosts_costs_busy_hosts_nothing() {
    let mut table = Table::default();
    for number in 0..2_000_u32 {
        let host = host(number);
        table.record(&1, &Exchange { host, ..exchange("/scanned", 404) });
        table.record(&1, &exchange("/busy", 200));
    }
    check(&table);
    let rows = table.top(2);
    assert_eq!(
        (&*rows[0].endpoint.path, &*rows[0].endpoint.host, rows[0].counts.requests()),
        ("/busy", "example.com", 2_000)
    );
    assert_eq!((&*rows[1].endpoint.path, &*rows[1].endpoint.host), ("/scanned", OTHER));
    assert!(rows[0].complete && !rows[1].complete);
}

#[test]
fn owners_beyond_the_bound_become_the_rest() {
    let mut table = Table::default();
    for owner in 0..3_000 {
        table.record(&owner, &exchange("/a", 200));
        table.record(&7_777, &exchange("/busy", 200));
    }
    check(&table);
    assert!(table.rest().requests() >= 3_000 - MAX_OWNERS as u64);
    assert_eq!(find(&table.top(1), 7_777, "/busy").expect("a row").counts.requests(), 3_000);
    let interval = table.take_interval();
    assert_eq!(sum(&interval.rows, &interval.rest).sums, interval.totals.sums);
}

#[test]
fn many_owners_share_a_table_fairly() {
    let mut table = Table::default();
    for number in 0..400_u32 {
        for owner in 0..8 {
            table.record(&owner, &exchange(&format!("/{}", words(number)), 200));
        }
    }
    table.record(&100, &exchange("/small", 200));
    table.record(&1, &exchange("/another", 200));
    check(&table);
    assert!(find(&table.top(usize::MAX), 100, "/small").expect("a row").complete);
}

#[test]
fn rows_are_small() {
    let mut table = Table::default();
    let rows = 448;
    for number in 0..rows {
        for step in 0..8 {
            table.record(
                &1,
                &Exchange {
                    ended: 1_000_000 + step * 50_000,
                    ..exchange(&format!("/{}", words(number)), 200)
                },
            );
        }
    }
    assert_eq!(table.len(), rows as usize);
    let each = table.memory() / table.len();
    assert!(each <= 512, "{each} bytes for each row");
}

#[test]
fn a_restart_goes_on_from_the_last_rows() {
    let mut first = Table::default();
    for (path, count) in [("/a", 5), ("/b", 3), ("/c", 1)] {
        for _ in 0..count {
            first.record(&1, &exchange(path, 200));
        }
    }
    first.unobserved(Reason::Malformed, 4);
    // The second table gets back two rows; all other exchanges are only known to it as a sum.
    let mut second = Table::default();
    first.top(2).iter().for_each(|row| second.restore(row));
    let rest = &find(&first.top(3), 1, "/c").expect("a row").counts;
    second.restore_rest(rest, &first.totals().unobserved);
    assert_eq!(second.totals(), first.totals());
    for path in ["/a", "/c"] {
        second.record(&1, &exchange(path, 200));
    }
    check(&second);
    let shown: Vec<_> = second
        .top(9)
        .iter()
        .map(|row| (row.endpoint.path.to_string(), row.counts.requests(), row.complete))
        .collect();
    assert_eq!(shown, [("/a".to_owned(), 6, true), ("/b".to_owned(), 3, true), ("/c".to_owned(), 1, false)]);
    let interval = second.take_interval();
    assert_eq!((interval.rows.len(), interval.totals.sums.requests()), (2, 2));
}

#[test]
fn rows_that_are_older_than_the_restored_rest_are_not_complete() {
    let mut first = Table::default();
    ["/a", "/c"].iter().for_each(|path| first.record(&1, &exchange(path, 200)));
    let mut second = Table::default();
    ["/a", "/c"].iter().for_each(|path| second.record(&1, &exchange(path, 200)));
    second.restore(&find(&first.top(2), 1, "/a").expect("a row"));
    second.restore_rest(&find(&first.top(2), 1, "/c").expect("a row").counts, &Unobserved::default());
    check(&second);
    let complete = |path| find(&second.top(2), 1, path).expect("a row").complete;
    assert_eq!((complete("/a"), complete("/c")), (true, false));
}

#[test]
fn a_full_table_is_restored_whole() {
    let mut full = Table::default();
    for number in 0..MAX_ROWS as u32 + 100 {
        full.record(&(number % 8), &exchange(&format!("/{}", words(number / 8)), 200));
    }
    for number in full.named as u32..MAX_ROWS as u32 {
        full.record(&(number % 8), &exchange(&format!("/again/{}", words(number)), 200));
    }
    assert_eq!(full.named, MAX_ROWS);
    let mut restored = Table::default();
    let rows = full.top(usize::MAX);
    assert!(rows.iter().any(|row| row.endpoint.is_other()));
    rows.iter().rev().for_each(|row| restored.restore(row));
    check(&restored);
    assert_eq!((restored.len(), restored.totals()), (full.len(), full.totals()));
}

/// Returns a path of four words, without a leading slash, that folding does not change. It differs for each number
/// below 2^20.
pub(super) fn words(number: u32) -> String {
    const WORDS: [&str; 32] = [
        "order", "user", "cart", "item", "price", "stock", "mail", "post", "page", "image", "video", "sound",
        "text", "note", "list", "table", "chair", "house", "tree", "leaf", "river", "stone", "cloud", "rain",
        "snow", "wind", "fire", "earth", "metal", "wood", "glass", "paper",
    ];
    (0..4).map(|place| WORDS[(number >> (5 * place) & 31) as usize]).collect::<Vec<_>>().join("/")
}

/// Returns a host that differs for each number below 2^20.
pub(super) fn host(number: u32) -> String {
    format!("{}.example.com", words(number).replace('/', "-"))
}
