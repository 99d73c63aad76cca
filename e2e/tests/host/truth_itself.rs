//! The counts of the workloads must be right: both ends of `tt-workload` count the same, however they end.

use std::collections::BTreeMap;

use rustix::process::Signal;
use traffictrace_e2e::{
    support::{Result, cgroup::Cgroup, needs, truth, workload::Workload},
    workload::count::{Event, Line},
};

use crate::setup::{Go, client, seed, text};

/// Creates a cgroup, for which the test needs root and a cgroup2 tree; it does not need the product.
fn cgroup() -> Option<Cgroup> {
    needs::cgroup2_mount().and_then(|root| Cgroup::new(&root)).inspect_err(|why| needs::skip(why)).ok()
}

/// Returns the connections of one end in the form in which the other end must have counted them.
fn mirrored(lines: &[Line]) -> BTreeMap<(String, String), truth::Bytes> {
    let connections = lines.iter().flat_map(|line| &line.connections);
    connections.map(|c| ((c.remote.to_string(), c.local.to_string()), (c.tx_bytes, c.rx_bytes))).collect()
}

fn plain(lines: &[Line]) -> BTreeMap<(String, String), truth::Bytes> {
    let connections = lines.iter().flat_map(|line| &line.connections);
    connections.map(|c| ((c.local.to_string(), c.remote.to_string()), (c.rx_bytes, c.tx_bytes))).collect()
}

#[test]
fn both_ends_count_the_same() -> Result<()> {
    let Some(cgroup) = cgroup() else { return Ok(()) };
    let (server, at) = Workload::server(cgroup.path(), "[::]:0", &["--fork", "2"])?;
    let arguments = ["--connections", "200", "--concurrency", "4", "--fork", "2", "--seed", &seed()];
    let clients = client(cgroup.path(), ([127, 0, 0, 1], at.port()).into(), &arguments)?;
    let servers = server.stop()?;
    assert_eq!(servers.len(), 2);
    truth::compare(&mirrored(&clients), &plain(&servers))
}

/// A client that is stopped while it pauses still prints what it has moved so far.
#[test]
fn terminated_in_the_middle() -> Result<()> {
    let Some(cgroup) = cgroup() else { return Ok(()) };
    let (server, at) = Workload::server(cgroup.path(), "127.0.0.1:0", &[])?;
    let (go, at) = (Go::new()?, at.to_string());
    let arguments = ["client", "--connect", &at, "--connections", "3", "--concurrency", "3", "--pause"];
    let client = Workload::start(cgroup.path(), &[&arguments[..], &[text(&go.file())]].concat())?;
    let paused = client.event(Event::Paused)?;
    truth::compare(&mirrored(std::slice::from_ref(&paused)), &plain(&[server.snapshot_at(&paused)?]))?;
    client.signal(Signal::TERM)?;
    let done = client.event(Event::Done)?;
    assert_eq!(done.connections, paused.connections);
    truth::compare(&mirrored(&[done]), &plain(&server.stop()?))
}
