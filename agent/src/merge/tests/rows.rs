use super::*;

fn pods(status: &TrafficTraceStatus) -> Vec<&str> {
    status.top_flows.iter().map(|flow| flow.pod.as_str()).collect()
}

#[test]
fn the_first_of_all_nodes_are_the_first_of_the_cluster() {
    let mut case = Case::new();
    case.trace.spec.top_flows = 3;
    case.apply(report("n1", &[("a", 50), ("b", 40), ("c", 1)]));
    case.apply(report("n2", &[("d", 45), ("e", 2), ("f", 1)]));
    case.apply(report("n3", &[]));
    let status = case.status_at(1);
    assert_eq!(pods(&status), ["a", "d", "b"]);
    assert_eq!((status.totals.rx_bytes, status.flows_total), (139, 6));
    assert!(!status.truncated);
    assert_eq!(status.top_flows[0].namespace, "shop");
    let nodes: Vec<_> = status.top_flows.iter().map(|flow| flow.node_name.as_deref()).collect();
    assert_eq!(nodes, [Some("n1"), Some("n2"), Some("n1")]);
    assert_eq!(status.summary.top_talker, "a/server - 10.0.0.9 (50 B)");
}

#[test]
fn equal_flows_have_one_order() {
    let mut case = Case::new();
    case.trace.spec.top_flows = 2;
    case.apply(report("n2", &[("b", 5), ("c", 5)]));
    case.apply(report("n1", &[("d", 5), ("a", 5)]));
    assert_eq!(pods(&case.status_at(1)), ["a", "b"]);
}

#[test]
fn a_list_that_a_node_cut_is_truncated_only_where_it_may_matter() {
    let mut case = Case::new();
    case.trace.spec.top_flows = 3;
    case.apply(report("n1", &[("a", 50), ("b", 40), ("c", 35)]));
    case.apply(TrafficTraceReportSpec { truncated: true, ..report("n2", &[("d", 45), ("e", 30)]) });
    assert!(!case.status_at(1).truncated, "what n2 left out is at most 30, less than b");
    case.apply(TrafficTraceReportSpec { truncated: true, ..report("n2", &[("d", 46)]) });
    assert!(case.status_at(2).truncated, "what n2 left out may be 46, more than b");
}

#[test]
fn peers_keep_the_name_they_had_when_first_listed() {
    let address: IpAddr = "10.0.0.9".parse().unwrap();
    let mut case = Case::new();
    case.peers.addresses.insert(address, "pod shop/client".into());
    case.apply(report("n1", &[("a", 5)]));
    assert_eq!(case.status_at(1).top_flows[0].peer.as_deref(), Some("pod shop/client"));
    case.peers.addresses.insert(address, "pod shop/other".into());
    case.apply(report("n1", &[("b", 7), ("a", 5)]));
    let status = case.status_at(2);
    assert_eq!(status.top_flows[0].peer.as_deref(), Some("pod shop/other"), "a flow that is new");
    assert_eq!(status.top_flows[1].peer.as_deref(), Some("pod shop/client"));
    case.peers.addresses.clear();
    assert_eq!(case.status_at(3).top_flows[1].peer.as_deref(), Some("pod shop/client"));
}

#[test]
fn a_flow_that_a_pod_answers_names_the_services_that_have_led_to_it() {
    let answered = |pod: &str, direction| {
        let mut row = row(pod, 5);
        (row.direction, row.local_port) = (direction, Some(8080));
        row.encode()
    };
    let mut case = Case::new();
    for pod in ["a", "b", "c"] {
        case.peers.services.insert(pod.into(), vec![format!("service-{pod}")]);
    }
    let flows = vec![
        answered("a", Direction::Inbound),
        answered("b", Direction::Outbound),
        answered("c", Direction::Unknown),
    ];
    case.apply(TrafficTraceReportSpec { flows, ..report("n1", &[]) });
    let services = |status: &TrafficTraceStatus| {
        status.top_flows.iter().map(|flow| flow.local_services.join(" ")).collect::<Vec<_>>()
    };
    let first = ["service-a:8080", "", "service-c:8080"];
    assert_eq!(services(&case.status_at(1)), first);
    case.peers.services.clear();
    assert_eq!(services(&case.status_at(2)), first);
    // Those that lead there later are added, and those that a listed client asks for come first.
    case.peers.services.insert("a".into(), vec!["a-2".into(), "a-3".into(), "a-4".into()]);
    let more = ["service-a:8080 a-2:8080 a-3:8080", "", "service-c:8080"];
    assert_eq!(services(&case.status_at(3)), more);
    let mut client = row("d", 5);
    (client.remote_address, client.remote_port) = (Some("10.96.0.1".into()), Some(8080));
    case.peers.addresses.insert("10.96.0.1".parse().unwrap(), "service shop/a-4".into());
    case.apply(TrafficTraceReportSpec { flows: vec![client.encode()], ..report("n2", &[]) });
    assert_eq!(services(&case.status_at(4))[0], "a-4:8080 service-a:8080 a-2:8080");
}

#[test]
fn a_mapped_address_has_the_name_of_the_address_inside() {
    let mut case = Case::new();
    case.peers.addresses.insert("10.0.0.9".parse().unwrap(), "node n7".into());
    let mut mapped = row("a", 5);
    mapped.remote_address = Some("::ffff:10.0.0.9".into());
    case.apply(TrafficTraceReportSpec { flows: vec![mapped.encode()], ..report("n1", &[("a", 5)]) });
    assert_eq!(case.status_at(1).top_flows[0].peer.as_deref(), Some("node n7"));
}

#[test]
fn rows_that_cannot_be_read_are_counted_and_stop_nothing() {
    let mut case = Case::new();
    let mut broken = report("n1", &[("a", 5)]);
    broken.flows.push("[1,2".into());
    case.apply(broken);
    let status = case.status_at(1);
    assert_eq!(pods(&status), ["a"]);
    assert_eq!(status.lost, [("unreadableFlows".to_owned(), 1)].into());
    assert_eq!(condition_of(&status, "Degraded"), "True Lost");
}

#[test]
fn a_status_stays_within_its_budget() {
    for wanted in [1_usize, 20, 100] {
        let mut case = Case::new();
        case.trace.spec.top_flows = i32::try_from(wanted).unwrap();
        let long = "x".repeat(60);
        let names: Vec<String> = (0..wanted).map(|at| format!("{at:03}-{long}")).collect();
        let flows: Vec<(&str, i64)> = names.iter().map(|name| (name.as_str(), 1 << 60 >> 10)).collect();
        let mut full = report("n1", &flows);
        full.flows = names
            .iter()
            .map(|name| {
                let mut row = row(name, i64::MAX >> 12);
                row.remote_address = Some("2001:db8:1111:2222:3333:4444:5555:6666".into());
                row.local_address = Some("2001:db8:1111:2222:3333:4444:5555:7777".into());
                (row.tx_bytes, row.rx_calls, row.tx_calls) = (i64::MAX >> 12, 123_456_789, 123_456_789);
                (row.direction, row.local_port) = (Direction::Inbound, Some(8080));
                row.encode()
            })
            .collect();
        case.apply(full);
        case.peers
            .addresses
            .insert("2001:db8:1111:2222:3333:4444:5555:6666".parse().unwrap(), format!("pod shop/{long}"));
        for node in 0..40 {
            case.live.insert(format!("node-{node}-{long}"), LivePods { count: 1, since: at(0) });
        }
        let without = case.status_at(95).top_flows.len();
        for name in &names {
            case.peers
                .services
                .insert(name.clone(), vec![long.clone(), format!("{long}2"), format!("{long}3")]);
        }
        let status = case.status_at(96);
        let size = serde_json::to_vec(&status).unwrap().len();
        assert!(size <= 4096 + 490 * wanted, "{size} bytes for {wanted} flows");
        assert_eq!(status.top_flows.len(), without, "no flow is given up for the names of Services");
        assert_eq!(status.truncated, status.top_flows.len() < wanted);
        assert!(status.top_flows.len() * 2 >= wanted, "{} of {wanted} flows left", status.top_flows.len());
        assert_eq!(status.missing_nodes.len().min(4), 4);
    }
}

#[test]
fn long_messages_are_cut_before_flows_are() {
    let mut case = Case::new();
    case.trace.spec.top_flows = 1;
    case.apply(report("n1", &[("a", 5)]));
    for node in 0..12 {
        let refused = Refused { reason: "KernelNotSupported".into(), message: "why \"so\" ".repeat(60) };
        let node = format!("node-{node}");
        case.apply(TrafficTraceReportSpec { refused: Some(refused), ..report(&node, &[]) });
    }
    case.status_at(5);
    case.invalid = Some("spec.remoteCIDRs: ".to_owned() + &"no ".repeat(330));
    let status = case.status_at(15);
    let size = serde_json::to_vec(&status).unwrap().len();
    assert!(size <= 4096 + 490, "{size} bytes");
    assert_eq!((pods(&status), status.truncated), (vec!["a"], false));
    assert_eq!(status.refused_nodes.len(), 1);
    assert!(status.refused_nodes[0].message.starts_with("why"));
}
