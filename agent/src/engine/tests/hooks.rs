//! Hooks that are attached only while a session needs them.

use super::*;

/// Returns the cgroups with the program for ends of sockets, the cgroups with the program for peers of datagrams, and
/// whether TCP is hooked. Returns `None` if the hook tier has no programs on cgroups.
fn hooks(bench: &Bench) -> Option<(Vec<u64>, Vec<u64>, bool)> {
    let tracer = bench.engine.tracer.as_ref().unwrap();
    if tracer.hook_tier() != HookTier::TpBtf {
        return skip("this hook tier has no programs on cgroups");
    }
    Some((tracer.cgroups_with("tt_release"), tracer.cgroups_with("tt_sendmsg4"), tracer.hooks_connections()))
}

fn protocol(protocol: Protocol) -> Filter {
    Filter { protocols: vec![protocol], ..Filter::default() }
}

#[test]
fn programs_are_on_the_selected_cgroups_alone() {
    let Some(mut bench) = bench() else { return };
    let other = TestCgroup::new(&bench.root);
    let [own, others] = [&bench.cgroup, &other].map(|cgroup| bench.root.id_of(cgroup.path()).unwrap());
    let mut both = [own, others];
    both.sort_unstable();
    bench.start("tcp", protocol(Protocol::Tcp));
    let Some(found) = hooks(&bench) else { return };
    assert_eq!(found, (vec![own], vec![], true));
    let spec = bench.spec_of(&other, protocol(Protocol::Udp));
    bench.engine.start(&"udp".to_owned(), spec).unwrap();
    assert_eq!(hooks(&bench).unwrap(), (both.to_vec(), both.to_vec(), true));
    bench.engine.stop(&"tcp".to_owned());
    assert_eq!(hooks(&bench).unwrap(), (vec![others], vec![others], false));
    bench.update("udp", Filter::default());
    assert_eq!(hooks(&bench).unwrap(), (vec![own], vec![own], true));
}

#[test]
fn a_cgroup_that_is_gone_is_no_error() {
    let Some(mut bench) = bench() else { return };
    let mut spec = bench.spec(Filter::default());
    let gone = SelectedCgroup { kind: CgroupKind::Container, path: "no-such-cgroup".into() };
    spec.cgroups.insert(u64::MAX, gone);
    bench.engine.start(&"a".to_owned(), spec).unwrap();
    let (mut client, mut server) = bench.connect("");
    transfer(&mut client, &mut server, 10);
    assert_eq!(bench.totals("a").tx_bytes, 10);
}

#[test]
fn programs_are_at_the_root_while_processes_are_selected() {
    let Some(mut bench) = bench() else { return };
    let root = bench.root.id_of(Path::new("")).unwrap();
    bench.start("a", Filter::default());
    let Some((before, ..)) = hooks(&bench) else { return };
    let spec = SessionSpec {
        processes: [(std::process::id(), false)].into(),
        max_rows: 100,
        ..SessionSpec::default()
    };
    bench.engine.start(&"process".to_owned(), spec).unwrap();
    assert_eq!(hooks(&bench).unwrap(), (vec![root], vec![root], true));
    bench.engine.stop(&"process".to_owned());
    assert_eq!(hooks(&bench).unwrap().0, before);
}

#[test]
fn programs_are_at_the_root_once_a_process_brought_a_socket_along() {
    let Some(mut bench) = bench() else { return };
    let root = bench.root.id_of(Path::new("")).unwrap();
    bench.start("a", Filter::default());
    let Some((before, ..)) = hooks(&bench) else { return };
    assert_ne!(before, [root]);
    let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    bench.inside("", || drop(socket));
    bench.engine.tick();
    assert_eq!(hooks(&bench).unwrap().0, [root]);
}

#[test]
fn programs_are_at_the_root_while_very_many_cgroups_are_selected() {
    let Some(mut bench) = bench() else { return };
    let root = bench.root.id_of(Path::new("")).unwrap();
    bench.start("a", Filter::default());
    let Some((before, ..)) = hooks(&bench) else { return };
    let others = TestCgroup::new(&bench.root);
    let mut spec = bench.spec(Filter::default());
    for at in 0..600 {
        let path = others.make(&at.to_string());
        let id = bench.root.id_of(&path).unwrap();
        spec.cgroups.insert(id, SelectedCgroup { kind: CgroupKind::Container, path });
    }
    bench.engine.start(&"many".to_owned(), spec.clone()).unwrap();
    assert_eq!(hooks(&bench).unwrap(), (vec![root], vec![root], true));
    bench.engine.stop(&"many".to_owned());
    assert_eq!(hooks(&bench).unwrap().0, before);
    bench.engine.start(&"many".to_owned(), spec).unwrap();
    let (mut client, mut server) = bench.connect("");
    transfer(&mut client, &mut server, 10);
    assert_eq!(bench.totals("many").tx_bytes, 10);
}
