//! Properties of the table: whatever is recorded, sums are exact and limits hold.

use proptest::prelude::*;

use super::tests::{check, host, sum, words};
use super::*;
use crate::endpoint::testing::exchange;
use crate::endpoint::{Endpoint, merge};
use crate::{Protocol, Status};

/// A number of similar exchanges, which are recorded one after the other.
#[derive(Debug, Clone)]
struct Burst {
    /// The first owner, and the number of owners that take turns.
    owners: (u32, u32),
    /// The first path, and the number of paths that take turns.
    paths: (u32, u32),
    /// The first host, and the number of hosts that take turns.
    hosts: (u32, u32),
    /// Number of exchanges.
    count: u32,
    /// Status of the exchanges.
    status: Status,
    /// True if the exchanges are gRPC.
    grpc: bool,
    /// True if an interval ends after the exchanges.
    interval: bool,
}

/// Generates bursts that can reach every limit of a table.
fn burst() -> impl Strategy<Value = Burst> {
    let spread = |most: u32| (0..most, prop_oneof![Just(1), Just(3), 1..=most]);
    let status =
        prop_oneof![(0_u16..1_000).prop_map(Status::Code), Just(Status::NoResponse), Just(Status::Unknown),];
    (spread(1_500), spread(2_000), spread(100), 1_u32..1_500, status, any::<bool>(), any::<bool>()).prop_map(
        |(owners, paths, hosts, count, status, grpc, interval)| Burst {
            owners,
            paths,
            hosts,
            count,
            status,
            grpc,
            interval,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn rows_and_rest_are_the_totals(bursts in prop::collection::vec(burst(), 1..8)) {
        let mut table = Table::default();
        let mut all = Counts::default();
        let mut intervals = Totals::default();
        for burst in bursts {
            for step in 0..burst.count {
                let at = |(first, count): (u32, u32)| first + step % count;
                let exchange = Exchange {
                    protocol: if burst.grpc { Protocol::Grpc } else { Protocol::Http11 },
                    grpc_status: burst.grpc.then_some(step % 3),
                    host: host(at(burst.hosts)),
                    status: burst.status,
                    ended: u64::from(step).pow(3),
                    ..exchange(&format!("/{}", words(at(burst.paths))), 200)
                };
                table.record(&at(burst.owners), &exchange);
                all.record(&exchange);
            }
            check(&table);
            if burst.interval {
                let interval = table.take_interval();
                prop_assert_eq!(sum(&interval.rows, &interval.rest).sums, interval.totals.sums);
                intervals.merge(&interval.totals);
                check(&table);
            }
        }
        prop_assert_eq!(&sum(&table.top(usize::MAX), &table.rest()), &all);
        intervals.merge(&table.take_interval().totals);
        prop_assert_eq!(intervals.sums, all.sums);
        // A table that is restored after a restart has the same totals.
        let mut restored = Table::default();
        table.top(usize::MAX).iter().for_each(|row| restored.restore(row));
        restored.restore_rest(&table.rest(), &Unobserved::default());
        check(&restored);
        prop_assert_eq!(restored.totals(), table.totals());
        prop_assert_eq!(restored.top(usize::MAX).len(), table.len());
        prop_assert!(restored.take_interval().rows.is_empty());
        // Merging the rows of a table with a copy of themselves doubles the counts and adds no row.
        let rows = table.top(usize::MAX);
        let merged = merge(rows.iter().chain(&rows).cloned());
        prop_assert_eq!(merged.len(), rows.len());
        let mut doubled = all.clone();
        doubled.merge(&all);
        let mut rest = table.rest();
        rest.merge(&table.rest());
        prop_assert_eq!(sum(&merged, &rest), doubled);
    }

    #[test]
    fn any_exchange_is_counted_under_safe_names(
        method in ".{0,40}",
        host in ".{0,300}",
        path in ".{0,1100}",
        times in any::<[u64; 2]>(),
        bytes in any::<[u64; 2]>(),
    ) {
        let mut table = Table::default();
        let given = Exchange {
            method,
            host,
            path: format!("/{path}"),
            began: times[0],
            ended: times[1],
            request_bytes: bytes[0],
            response_bytes: bytes[1],
            ..exchange("", 200)
        };
        table.record(&1, &given);
        table.record(&1, &given);
        check(&table);
        let rows = table.top(9);
        prop_assert_eq!(rows.len(), 1);
        let Endpoint { method, host, path, .. } = &rows[0].endpoint;
        for text in [*method, host, path.trim_end_matches('…')] {
            prop_assert!(text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'?'), "{:?}", text);
        }
    }
}
