//! Several sessions at once, and session numbers that are used again.

use super::*;

#[test]
fn a_second_session_counts_from_when_it_was_armed() {
    let Some(mut bench) = bench() else { return };
    bench.start("a", Filter::default());
    let (mut client, mut server) = bench.connect("");
    transfer(&mut client, &mut server, 1000);
    bench.start("b", Filter::default());
    transfer(&mut client, &mut server, 500);
    transfer(&mut server, &mut client, 30);
    let (a, b) = (bench.totals("a"), bench.totals("b"));
    assert_eq!((a.tx_bytes, a.rx_bytes, a.connections), (1500, 30, 1));
    assert_eq!((b.tx_bytes, b.rx_bytes, b.connections), (500, 30, 1));

    assert_eq!(bench.engine.stop(&"a".to_owned()).unwrap().tx_bytes, 1500);
    transfer(&mut client, &mut server, 7);
    let b = bench.totals("b");
    assert_eq!((b.tx_bytes, b.connections), (507, 1));
    bench.engine.stop(&"b".to_owned());
    assert!(bench.engine.tracer.is_none());
}

#[test]
fn a_number_that_is_used_again_does_not_inherit_a_socket() {
    let Some(mut bench) = bench() else { return };
    bench.start("stays", Filter::default());
    bench.start("first", Filter::default());
    let (mut client, mut server) = bench.connect("");
    transfer(&mut client, &mut server, 1000);
    bench.engine.stop(&"first".to_owned());
    // Every other number is used once while the socket is idle. Then the first session's number is used again.
    for number in 2..SESSIONS {
        let id = number.to_string();
        bench.start(&id, ports(1));
        bench.engine.stop(&id);
    }
    bench.start("zero", ports(1));
    bench.start("again", Filter::default());
    transfer(&mut client, &mut server, 5);
    assert_eq!(bench.totals("again").tx_bytes, 5);
    assert_eq!(bench.totals("stays").tx_bytes, 1005);
}

/// Every number is used once while a connection is idle. Then its session's number belongs to a session that selects
/// another cgroup.
#[test]
fn a_number_that_is_used_again_does_not_inherit_a_connection_of_another_cgroup() {
    let Some(mut bench) = bench() else { return };
    let (other, third) = (TestCgroup::new(&bench.root), TestCgroup::new(&bench.root));
    let spec = bench.spec_of(&third, Filter::default());
    bench.engine.start(&"keeps the programs loaded".to_owned(), spec).unwrap();
    bench.start("first", Filter::default());
    let (mut client, mut server) = bench.connect("");
    transfer(&mut client, &mut server, 1000);
    bench.engine.stop(&"first".to_owned());
    for number in 0..SESSIONS - 1 {
        let spec = bench.spec_of(&other, Filter::default());
        bench.engine.start(&number.to_string(), spec).unwrap();
    }
    drop((client, server));
    for number in 0..SESSIONS - 1 {
        let id = number.to_string();
        assert_eq!(bench.totals(&id), Totals::default(), "session {id}");
        assert_eq!(bench.engine.snapshot(&id, 9).unwrap().rows_total, 0, "session {id}");
    }
}

#[test]
fn the_65th_session_is_refused_and_disturbs_no_other() {
    let Some(mut bench) = bench() else { return };
    for number in 0..SESSIONS {
        bench.start(&number.to_string(), Filter::default());
    }
    let spec = bench.spec(Filter::default());
    let refused = bench.engine.start(&"64".to_owned(), spec);
    assert!(matches!(refused, Err(EngineError::Full)), "{refused:?}");
    let (mut client, mut server) = bench.connect("");
    transfer(&mut client, &mut server, 10);
    for number in 0..SESSIONS {
        assert_eq!(bench.totals(&number.to_string()).tx_bytes, 10, "session {number}");
    }
}
