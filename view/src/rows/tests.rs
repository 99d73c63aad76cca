use proptest::{collection, prelude::*};

use super::*;
use crate::testing::{flow, snapshot};

fn by(view: View) -> Choice {
    Choice { view, ..Choice::default() }
}

fn sum(rows: &Rows) -> Sums {
    let mut sum = Sums::default();
    rows.rows.iter().for_each(|row| sum.add(&row.sums));
    [rows.filtered, rows.other_ends, rows.unlisted].iter().for_each(|part| sum.add(part));
    sum
}

#[test]
fn each_view_has_its_rows() {
    let mut snapshot = snapshot();
    let again = Flow { local_port: Some(40_001), ..snapshot.flows[0].clone() };
    snapshot.flows.push(again);
    let number = |view| rows(&snapshot, &by(view)).rows.len();
    assert_eq!(View::ALL.map(number), [4, 2, 4, 4, 5], "processes, pods, peers, endpoints, connections");
    let pods = rows(&snapshot, &by(View::Pod)).rows;
    assert_eq!(pods[0].owner.pod.as_deref(), Some("web-7c9f-x2x4l"));
    assert_eq!((pods[0].processes, pods[0].owner.container.as_deref(), pods[0].owner.pid), (2, None, None));
    assert_eq!((pods[0].sums.flows, pods[0].sums.connections), (3, 3));
    let processes = rows(&snapshot, &by(View::Process)).rows;
    assert_eq!((processes[0].owner.pid, processes[0].peer.as_deref()), (Some(412), Some("10.1.1.156:443")));
    assert_eq!(processes[3].owner.command, None, "unattributed flows are a row of their own");
}

#[test]
fn what_the_filter_leaves_out_is_counted() {
    let snapshot = snapshot();
    let filter = Filter::parse("process:nginx").unwrap();
    let rows = rows(&snapshot, &Choice { filter, ..Choice::default() });
    assert_eq!(rows.rows.len(), 1);
    assert_eq!((rows.filtered.flows, rows.unlisted.flows), (3, 5));
    assert_eq!(sum(&rows), Sums::from(&snapshot));
}

#[test]
fn both_ends_of_a_connection_are_one_row_unless_they_are_wanted() {
    let mut snapshot = snapshot();
    let client = snapshot.flows[0].clone();
    snapshot.flows.push(Flow {
        local_address: client.remote_address,
        local_port: client.remote_port,
        remote_address: client.local_address,
        remote_port: client.local_port,
        direction: Direction::Inbound,
        ..flow("redis", 7)
    });
    snapshot.totals.rx_bytes += 7000;
    snapshot.totals.tx_bytes += 700;
    let together = rows(&snapshot, &by(View::Connection));
    assert_eq!(together.rows.len(), 4);
    let other_end = together.rows[0].other_end.as_ref().unwrap();
    assert_eq!((other_end.command.as_deref(), together.other_ends.flows), (Some("redis"), 1));
    // A filter that matches only one end of a connection keeps the whole connection.
    let filter = Filter::parse("process:redis").unwrap();
    assert_eq!(rows(&snapshot, &Choice { filter, ..by(View::Connection) }).rows, together.rows[..1]);
    let apart = rows(&snapshot, &Choice { both_ends: true, ..by(View::Connection) });
    assert_eq!((apart.rows.len(), apart.other_ends), (5, Sums::default()));
    assert_eq!(rows(&snapshot, &by(View::Process)).rows.len(), 5, "each process has its own traffic");
}

#[test]
fn the_servers_behind_a_service_are_the_other_end_of_its_clients() {
    let mut snapshot = snapshot();
    let asks = |command: &str, pid| Flow {
        local_port: None,
        remote_address: "10.96.0.1".parse().ok(),
        peer: Some("service shop/db".to_owned()),
        ..flow(command, pid)
    };
    let answers = |pod: &str, pid| Flow {
        namespace: Some("shop".to_owned()),
        pod: Some(pod.to_owned()),
        local_address: "10.0.0.9".parse().ok(),
        local_port: Some(5432),
        remote_address: flow("", 0).local_address,
        remote_port: None,
        local_services: vec!["db:443".to_owned()],
        direction: Direction::Inbound,
        ..flow("postgres", pid)
    };
    snapshot.flows =
        vec![asks("orders", 5), asks("reports", 4), answers("db-0", 3), answers("db-1", 2), flow("else", 1)];
    let together = rows(&snapshot, &by(View::Connection));
    let shown = |rows: &Rows| {
        let commands = rows.rows.iter().map(|row| row.owner.command.clone().unwrap_or_default());
        commands.collect::<Vec<_>>().join(" ")
    };
    assert_eq!((shown(&together).as_str(), together.other_ends.flows), ("orders reports else", 2));
    // Each server counts once, and none of them is named as the other end.
    assert_eq!((together.other_ends.rx_bytes, together.other_ends.tx_bytes), (5000, 500));
    assert_eq!((&together.rows[0].other_end, together.rows[0].other_port), (&None, None));

    let filtered = |filter: &str| {
        let filter = Filter::parse(filter).unwrap();
        let rows = rows(&snapshot, &Choice { filter, ..by(View::Connection) });
        (shown(&rows), rows.other_ends.flows, rows.filtered.flows)
    };
    // The clients' rows have the bytes to both servers, so that one server is shown by its own.
    assert_eq!(filtered("pod:db-0"), ("postgres".to_owned(), 0, 4));
    assert_eq!(filtered("process:postgres"), ("orders reports".to_owned(), 2, 1));
    assert_eq!(filtered("process:orders"), ("orders".to_owned(), 2, 2));
    assert_eq!(filtered("process:else"), ("else".to_owned(), 0, 4));
}

#[test]
fn a_service_that_is_offered_is_one_endpoint() {
    let mut snapshot = snapshot();
    snapshot.flows = (0..3)
        .map(|client| Flow {
            direction: Direction::Inbound,
            local_port: Some(80),
            remote_port: Some(50_000 + client),
            ..flow("nginx", 412)
        })
        .collect();
    let rows = rows(&snapshot, &by(View::Endpoint)).rows;
    assert_eq!((rows.len(), rows[0].peer.as_deref(), rows[0].sums.flows), (1, Some("*:80"), 3));
}

#[test]
fn a_client_is_one_peer_whatever_its_ports_are() {
    let mut snapshot = snapshot();
    let inbound =
        |port| Flow { direction: Direction::Inbound, remote_port: Some(port), ..flow("nginx", 412) };
    snapshot.flows = vec![inbound(50_000), inbound(50_001), flow("curl", 412)];
    let peers: Vec<_> = rows(&snapshot, &by(View::Peer)).rows.into_iter().map(|row| row.peer).collect();
    assert_eq!(peers, [Some("10.1.1.156".to_owned()), Some("10.1.1.156:443".to_owned())]);
}

#[test]
fn addresses_of_both_families_are_shown_with_their_ports() {
    let mut flow = flow("nginx", 1);
    flow.remote_address = "2001:db8::1".parse().ok();
    assert_eq!(peer_of(&flow).as_deref(), Some("[2001:db8::1]:443"));
    flow.peer = Some("pod shop/redis".to_owned());
    assert_eq!(peer_of(&flow).as_deref(), Some("pod shop/redis:443"));
    (flow.peer, flow.remote_address, flow.remote_port) = (None, None, None);
    assert_eq!(peer_of(&flow), None);
}

prop_compose! {
    fn any_flow()(
        pid in 0..4_u32, pod in 0..3_u8, ports in (0..3_u16, 0..3_u16), addresses in (0..3_u32, 0..3_u32),
        direction in 0..3_u8, bytes in (0..9_u64, 0..9_u64),
    ) -> Flow {
        let port = |number: u16| (number > 0).then_some(number);
        let address = |number: u32| (number > 0).then(|| std::net::Ipv4Addr::from(number << 24).into());
        Flow {
            pid: (pid > 0).then_some(pid),
            pod: (pod > 0).then(|| format!("pod{pod}")),
            local_port: port(ports.0),
            remote_port: port(ports.1),
            local_address: address(addresses.0),
            remote_address: address(addresses.1),
            direction: [Direction::Inbound, Direction::Outbound, Direction::Unknown][usize::from(direction)],
            rx_bytes: bytes.0,
            tx_bytes: bytes.1,
            ..flow("any", pid)
        }
    }
}

proptest! {
    #[test]
    fn rows_and_what_is_in_none_are_the_totals(
        flows in collection::vec(any_flow(), 0..30), more in 0..100_u64, view in 0..5_usize, both_ends: bool,
        filter in prop::sample::select(vec!["", "pod:pod1", "-port:2", "direction:in"]),
    ) {
        let mut snapshot = Snapshot { flows_total: flows.len() as u64 + more, flows, ..Snapshot::default() };
        snapshot.totals.rx_bytes = snapshot.flows.iter().map(|flow| flow.rx_bytes).sum::<u64>() + more;
        snapshot.totals.tx_bytes = snapshot.flows.iter().map(|flow| flow.tx_bytes).sum::<u64>();
        let choice = Choice { view: View::ALL[view], filter: Filter::parse(filter).unwrap(), both_ends };
        let rows = rows(&snapshot, &choice);
        let (sum, totals) = (sum(&rows), Sums::from(&snapshot));
        prop_assert_eq!(
            (sum.flows, sum.rx_bytes, sum.tx_bytes),
            (totals.flows, totals.rx_bytes, totals.tx_bytes)
        );
        let keys: BTreeSet<_> = rows.rows.iter().map(|row| &row.key).collect();
        prop_assert_eq!(keys.len(), rows.rows.len());
    }
}
