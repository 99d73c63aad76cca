use proptest::{collection, prelude::*};

use super::*;
use crate::testing::flow;

fn ends(flow: &mut Flow, local: (&str, Option<u16>), remote: (&str, Option<u16>)) {
    flow.local_address = local.0.parse().ok();
    flow.remote_address = remote.0.parse().ok();
    (flow.local_port, flow.remote_port) = (local.1, remote.1);
}

/// A client's and a server's flow of the same connections, with the same bytes.
fn both(client_port: Option<u16>) -> [Flow; 2] {
    let mut client = flow("client", 2);
    let mut server = flow("server", 2);
    (client.direction, server.direction) = (Direction::Outbound, Direction::Inbound);
    ends(&mut client, ("10.0.0.1", client_port), ("10.0.0.2", Some(80)));
    ends(&mut server, ("10.0.0.2", Some(80)), ("10.0.0.1", client_port));
    [client, server]
}

/// A client's and a server's flow of connections through the Service shop/web, whose port 8080 leads to the server's port 80.
fn through_service(client_port: Option<u16>) -> [Flow; 2] {
    let [mut client, mut server] = both(client_port);
    (client.remote_address, client.remote_port) = ("10.96.0.1".parse().ok(), Some(8080));
    client.peer = Some("service shop/web".to_owned());
    server.namespace = Some("shop".to_owned());
    server.local_services = vec!["metrics:9100".to_owned(), "web:8080".to_owned()];
    [client, server]
}

/// Returns the rows: the index of the first flow, and the indexes of its other ends.
fn rows(flows: &[Flow]) -> Vec<(usize, Vec<usize>)> {
    pairs(flows).into_iter().map(|pair| (pair.first, pair.others)).collect()
}

#[test]
fn both_ends_are_one_row_and_the_client_is_first() {
    for port in [Some(40_000), None] {
        let [client, server] = both(port);
        assert_eq!(rows(&[flow("else", 3), server, client]), [(0, vec![]), (2, vec![1])]);
    }
}

#[test]
fn the_end_with_the_lower_port_serves_where_nothing_tells_who_opened_a_connection() {
    let [mut client, mut server] = both(Some(40_000));
    (client.direction, server.direction) = (Direction::Unknown, Direction::Unknown);
    assert_eq!(rows(&[server, client]), [(1, vec![0])]);
}

#[test]
fn the_processes_of_a_client_share_the_other_end() {
    for [client, mut server] in [both(None), both(Some(40_000)), through_service(None)] {
        server.rx_bytes *= 2;
        assert_eq!(rows(&[client.clone(), server, client]), [(0, vec![1]), (2, vec![1])]);
    }
}

#[test]
fn a_client_of_a_service_has_all_of_its_servers_as_other_ends() {
    let [client, server] = through_service(None);
    let mut second = server.clone();
    second.local_address = "10.0.0.3".parse().ok();
    assert_eq!(rows(&[server.clone(), client.clone(), second]), [(1, vec![0, 2])]);

    // Another Service, port, namespace or client address makes them different connections.
    let changes: [fn(&mut Flow, &mut Flow); 5] = [
        |client, _| client.peer = Some("service shop/api".to_owned()),
        |client, _| client.remote_port = Some(8081),
        |_, server| server.namespace = Some("other".to_owned()),
        |_, server| server.remote_address = "10.0.0.9".parse().ok(),
        |_, server| server.local_services.clear(),
    ];
    for change in changes {
        let [mut client, mut server] = [client.clone(), server.clone()];
        change(&mut client, &mut server);
        assert_eq!(pairs(&[client, server]).len(), 2);
    }
}

#[test]
fn a_translated_address_hides_no_connection_whose_client_port_is_known() {
    let [mut client, mut server] = through_service(Some(40_000));
    (client.peer, server.local_services) = (None, Vec::new());
    assert_eq!(rows(&[client.clone(), server.clone()]), [(0, vec![1])]);

    // Without the client's port, the flows may sum up several connections.
    let mut second = client.clone();
    second.remote_address = "10.96.0.2".parse().ok();
    assert_eq!(pairs(&[client, second, server]).len(), 3);
}

#[test]
fn servers_that_moved_much_more_than_the_listed_clients_are_not_hidden() {
    for [client, mut server] in [both(None), through_service(None)] {
        (server.rx_bytes, server.tx_bytes) = (client.weight() * 2 + AHEAD.1, 0);
        assert_eq!(pairs(&[client.clone(), server.clone()]).len(), 1);
        server.tx_bytes = 1;
        assert_eq!(pairs(&[client.clone(), server.clone()]).len(), 2);
        // With one more process of the client, the listed clients account for the servers' bytes again.
        assert_eq!(pairs(&[client.clone(), server, client]).len(), 2);
    }
    // A connection has two ends, whatever each of them counted.
    let [client, mut server] = both(Some(40_000));
    server.rx_bytes = client.weight() * 100 + AHEAD.1;
    assert_eq!(pairs(&[client, server]).len(), 1);
}

#[test]
fn loopback_in_two_pods_is_two_connections() {
    let [mut client, mut server] = both(Some(40_000));
    ends(&mut client, ("127.0.0.1", Some(40_000)), ("127.0.0.1", Some(80)));
    ends(&mut server, ("127.0.0.1", Some(80)), ("127.0.0.1", Some(40_000)));
    assert_eq!(pairs(&[client.clone(), server.clone()]).len(), 1);
    server.pod = Some("another".to_owned());
    assert_eq!(pairs(&[client, server]).len(), 2);
}

#[test]
fn a_flow_is_not_its_own_other_end() {
    let [mut client, _] = both(None);
    client.direction = Direction::Unknown;
    assert_eq!(pairs(&[client.clone(), client]).len(), 2);
    assert_eq!(pairs(&[]), []);
}

prop_compose! {
    /// A flow with few different values, so that flows have ends in common.
    fn any_flow()(
        direction in 0..3_u8, local in (0..3_u8, 0..3_u16), remote in (0..3_u8, 0..3_u16), service in 0..3_u8,
        offered in 0..3_u8, bytes in 0..3_u64, is_udp: bool,
    ) -> Flow {
        let mut flow = flow("any", 1);
        let end = |(address, port): (u8, u16)| {
            (Some(std::net::Ipv4Addr::new(10, 0, 0, address).into()), (port > 0).then_some(port))
        };
        (flow.local_address, flow.local_port) = end(local);
        (flow.remote_address, flow.remote_port) = end(remote);
        flow.direction = [Direction::Inbound, Direction::Outbound, Direction::Unknown][usize::from(direction)];
        flow.namespace = Some("shop".to_owned());
        flow.peer = (service > 0).then(|| format!("service shop/s{service}"));
        flow.local_services = (1..=offered).map(|number| format!("s{number}:1")).collect();
        (flow.rx_bytes, flow.tx_bytes) = (bytes << 20, 0);
        if is_udp {
            flow.protocol = Protocol::Udp;
        }
        flow
    }
}

proptest! {
    /// Every flow is a row, or the other end of one, and never both.
    #[test]
    fn no_flow_is_lost(flows in collection::vec(any_flow(), 0..12)) {
        let pairs = pairs(&flows);
        let firsts: Vec<usize> = pairs.iter().map(|pair| pair.first).collect();
        prop_assert!(firsts.is_sorted_by(|a, b| a < b), "{firsts:?}");
        for place in 0..flows.len() {
            let is_other = pairs.iter().any(|pair| pair.others.contains(&place));
            prop_assert!(is_other != firsts.contains(&place), "{place} in {pairs:?}");
        }
    }
}
