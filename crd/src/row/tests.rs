use proptest::prelude::*;

use super::*;

fn row() -> FlowRow {
    FlowRow {
        pod: "checkout-7f9c6d8b5-x2x9p".into(),
        container: Some("app".into()),
        caller_container: None,
        pid: Some(4_194_304),
        container_pid: Some(17),
        command: Some("ng\"in]x\n".into()),
        protocol: Protocol::Tcp,
        direction: Direction::Inbound,
        state: Some(FlowState::Open),
        local_address: Some("10.244.1.17".into()),
        local_port: Some(8443),
        remote_address: Some("2001:db8::1".into()),
        remote_port: None,
        rx_bytes: i64::MAX,
        tx_bytes: 2,
        rx_calls: 3,
        tx_calls: 4,
        rx_bytes_per_second: 5,
        tx_bytes_per_second: 6,
        connections: 7,
        retransmits: 8,
        rtt_microseconds: Some(9),
        connections_open: 10,
        connect_failures: 11,
    }
}

fn decode(columns: &[String], rows: &[String]) -> Vec<Result<FlowRow, RowError>> {
    decode_rows(columns, rows).collect()
}

#[test]
fn every_value_survives_the_way() {
    let mut bare = row();
    bare.container = None;
    bare.caller_container = Some("sidecar".into());
    bare.pid = None;
    bare.container_pid = None;
    bare.command = None;
    bare.protocol = Protocol::Icmp;
    bare.direction = Direction::Unknown;
    bare.state = Some(FlowState::Closed);
    bare.local_address = None;
    bare.local_port = None;
    bare.remote_port = Some(65535);
    bare.rtt_microseconds = None;
    let rows = [row(), bare];
    let texts: Vec<String> = rows.iter().map(FlowRow::encode).collect();
    assert_eq!(decode(&column_names(), &texts), rows.map(Ok));
}

#[test]
fn names_of_values_are_those_of_a_status() {
    for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Icmp] {
        assert_eq!(serde_json::to_value(protocol).unwrap(), protocol_name(protocol));
    }
    for direction in [Direction::Inbound, Direction::Outbound, Direction::Unknown] {
        assert_eq!(serde_json::to_value(direction).unwrap(), direction_name(direction));
    }
    for state in [FlowState::Open, FlowState::Closed, FlowState::Failed] {
        assert_eq!(serde_json::to_value(state).unwrap(), state_name(state));
    }
    let mut full = row();
    full.caller_container = Some("sidecar".into());
    full.remote_port = Some(443);
    let flow = serde_json::to_value(full.into_flow("shop")).unwrap();
    for name in COLUMNS {
        assert!(flow.get(name).is_some(), "{name} is no field of a status flow: {flow}");
    }
}

#[test]
fn columns_may_come_in_another_order_with_more_or_fewer_of_them() {
    let columns = ["future", "txBytes", "rxBytes", "protocol", "pod"].map(str::to_owned);
    let rows = [r#"[{"x":1},2,1,"UDP","p","more"]"#.to_owned()];
    let decoded = decode(&columns, &rows).remove(0).unwrap();
    assert_eq!((decoded.pod.as_str(), decoded.protocol), ("p", Protocol::Udp));
    assert_eq!((decoded.rx_bytes, decoded.tx_bytes, decoded.connections), (1, 2, 0));
    assert_eq!(decoded.direction, Direction::Unknown);
}

#[test]
fn one_bad_row_does_not_stop_the_others() {
    let rows = [
        "not json".to_owned(),
        "{}".to_owned(),
        row().encode(),
        row().encode().replace("\"TCP\"", "\"SCTP\""),
        row().encode().replace(&i64::MAX.to_string(), "-1"),
        row().encode().replace("8443", "70000"),
        "[]".to_owned(),
    ];
    let decoded = decode(&column_names(), &rows);
    assert!(matches!(decoded[0], Err(RowError::NotAnArray { row: 0, .. })));
    assert!(matches!(decoded[1], Err(RowError::NotAnArray { row: 1, .. })));
    assert_eq!(decoded[2], Ok(row()));
    assert_eq!(decoded[3], Err(RowError::Column { kind: "flow", row: 3, column: "protocol" }));
    assert_eq!(decoded[4], Err(RowError::Column { kind: "flow", row: 4, column: "rxBytes" }));
    assert_eq!(decoded[5], Err(RowError::Column { kind: "flow", row: 5, column: "localPort" }));
    assert_eq!(decoded[6], Err(RowError::Column { kind: "flow", row: 6, column: "pod" }));
}

#[test]
fn a_full_row_stays_within_its_budget() {
    let mut full = row();
    full.command = Some("nginx".into());
    full.remote_address = Some("10.244.2.33".into());
    full.rx_bytes = 12_345_678_901;
    full.tx_bytes = 12_345_678_901;
    full.rx_calls = 1_234_567;
    full.tx_calls = 1_234_567;
    full.rx_bytes_per_second = 123_456_789;
    full.tx_bytes_per_second = 123_456_789;
    full.connections = 12_345;
    full.retransmits = 1_234;
    full.rtt_microseconds = Some(12_345);
    full.connections_open = 12;
    full.connect_failures = 12;
    // The size in the API server's storage, where the row is a JSON text with escaped quotes.
    let stored = serde_json::to_string(&full.encode()).unwrap();
    assert!(stored.len() <= 220, "{} bytes: {stored}", stored.len());
}

/// Any text that a process or a user can choose as a name.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[\\[\\]\\\\\",{}\x00-\x1f]{0,30}", "\\PC{0,260}"]
}

fn any_row() -> impl Strategy<Value = FlowRow> {
    let names = (name(), prop::option::of(name()), prop::option::of(name()), prop::option::of(name()));
    let numbers = (any::<Option<u32>>(), any::<Option<u16>>(), 0..=i64::MAX, 0..=i64::MAX);
    let kinds = (0..3_usize, 0..3_usize, prop::option::of(0..3_usize));
    (names, numbers, kinds).prop_map(|((pod, container, command, address), (pid, port, one, two), kinds)| {
        let (protocol, direction, state) = kinds;
        FlowRow {
            pod,
            container,
            command,
            remote_address: address,
            pid,
            remote_port: port,
            rx_bytes: one,
            connect_failures: two,
            protocol: [Protocol::Tcp, Protocol::Udp, Protocol::Icmp][protocol],
            direction: [Direction::Inbound, Direction::Outbound, Direction::Unknown][direction],
            state: state.map(|state| [FlowState::Open, FlowState::Closed, FlowState::Failed][state]),
            ..row()
        }
    })
}

proptest! {
    #[test]
    fn any_row_is_read_as_it_was_written(row in any_row()) {
        let text = row.encode();
        prop_assert!(!text.contains('\n'), "{text}");
        prop_assert_eq!(decode(&column_names(), &[text]), vec![Ok(row)]);
    }

    #[test]
    fn hostile_rows_and_columns_are_told_one_by_one(
        columns in prop::collection::vec(prop_oneof![name(), prop::sample::select(column_names())], 0..40),
        texts in prop::collection::vec(prop_oneof![name(), "\\[[0-9eE.,\"\\[\\]null-]{0,60}\\]"], 0..5),
    ) {
        let rows: Vec<String> = texts.iter().cloned().chain([row().encode()]).collect();
        prop_assert_eq!(decode(&columns, &rows).len(), rows.len());
        let decoded = decode(&column_names(), &rows);
        prop_assert_eq!(decoded.last(), Some(&Ok(row())), "a whole row behind others is read");
        for (at, read) in decoded.iter().enumerate() {
            if let Err(RowError::NotAnArray { row, .. } | RowError::Column { row, .. }) = read {
                prop_assert_eq!(*row, at);
            }
        }
    }
}
