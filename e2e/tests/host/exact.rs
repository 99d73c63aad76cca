//! Exactness of `top`, byte for byte, per process and connection.

use std::net::SocketAddr;

use traffictrace_e2e::{
    support::{Result, top::Top, truth, workload::Workload},
    workload::count::{Event, Line},
};

use crate::setup::{self, Go, client, compare, seed, text};

/// Returns the addresses of the server on `port` over IPv4, over IPv6 and over IPv4 through an IPv6 socket.
fn addresses(port: u16) -> [String; 3] {
    ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]"].map(|ip| format!("{ip}:{port}"))
}

/// Connections over IPv4, IPv6 and IPv4 through an IPv6 socket are counted, although most of them open and close within
/// one interval.
#[test]
fn short_connections() -> Result<()> {
    let Some((host, cgroup)) = setup::cgroup() else { return Ok(()) };
    let top = Top::start(&host, &["--cgroup", text(cgroup.path())])?;
    let (server, at) = Workload::server(&cgroup.child("server")?, "[::]:0", &["--comm", "answering"])?;
    let addresses = addresses(at.port());
    let [v4, v6, mapped] = addresses.each_ref().map(String::as_str);
    let clients = Workload::start(
        &cgroup.child("client")?,
        &[
            &["client", "--comm", "asking", "--connect", v4, "--connect", v6, "--connect", mapped],
            &["--connections", "1500", "--concurrency", "8", "--bytes-max", "20KiB", "--seed", &seed()][..],
        ]
        .concat(),
    )?;
    let lines = [clients.finish()?, server.stop()?].concat();
    assert_eq!(truth::counted(&lines).len(), 3000, "both ends of each connection");
    compare(&lines, &top.interrupt()?)
}

/// A transfer of many intervals is exact while it pauses in the middle, and at its end.
#[test]
fn long_connections() -> Result<()> {
    let Some((host, cgroup)) = setup::cgroup() else { return Ok(()) };
    let mut top = Top::start(&host, &["--cgroup", text(cgroup.path())])?;
    let (server, at) = Workload::server(&cgroup.child("server")?, "127.0.0.1:0", &[])?;
    let go = Go::new()?;
    let (at, seed) = (at.to_string(), seed());
    let client = Workload::start(
        &cgroup.child("client")?,
        &[
            &["client", "--connect", &at, "--connections", "4", "--concurrency", "4", "--seed", &seed],
            &["--bytes-min", "8MiB", "--bytes-max", "16MiB", "--rounds", "9", "--rate", "40MiB"][..],
            &["--pause", text(&go.file())],
        ]
        .concat(),
    )?;
    let paused = client.event(Event::Paused)?;
    let middle = [server.snapshot_at(&paused)?, paused];
    let bytes: u64 = middle.iter().map(|line| line.rx_bytes + line.tx_bytes).sum();
    let document = top.document_where("the bytes of the pause", |document| {
        document.totals.rx_bytes + document.totals.tx_bytes >= bytes
    })?;
    compare(&middle, &document)?;
    go.release()?;
    let lines = [client.finish()?, server.stop()?].concat();
    compare(&lines, &top.interrupt()?)
}

/// Children that accept on a socket of their parent, and children that connect, have rows of their own.
#[test]
fn processes_that_fork() -> Result<()> {
    let Some((host, cgroup)) = setup::cgroup() else { return Ok(()) };
    let top = Top::start(&host, &["--cgroup", text(cgroup.path())])?;
    let (server, at) =
        Workload::server(&cgroup.child("server")?, "127.0.0.1:0", &["--fork", "3", "--comm", "parent"])?;
    let arguments = ["--fork", "4", "--connections", "100", "--concurrency", "3", "--seed", &seed()];
    let clients = client(&cgroup.child("client")?, at, &arguments)?;
    assert_eq!(clients.len(), 4, "a line for each child");
    let servers = server.stop()?;
    compare(&[clients, servers].concat(), &top.interrupt()?)
}

/// Only the sockets of the selected cgroup are shown, neither the other ends of their connections nor their neighbors.
#[test]
fn unselected_processes_appear_nowhere() -> Result<()> {
    let Some((host, cgroup)) = setup::cgroup() else { return Ok(()) };
    let (selected, other) = (cgroup.child("selected")?, cgroup.child("other")?);
    let top = Top::start(&host, &["--cgroup", text(&selected)])?;
    let (server, at) = Workload::server(&selected, "127.0.0.1:0", &[])?;
    let (neighbour, neighbour_at) = Workload::server(&other, "127.0.0.1:0", &[])?;
    let work = ["--connections", "200", "--concurrency", "4"];
    let both: Vec<SocketAddr> = vec![at, neighbour_at];
    for at in both {
        client(&other, at, &work)?;
    }
    neighbour.stop()?;
    compare(&server.stop()?, &top.interrupt()?)
}

/// Sockets that were open before the trace are counted from their next call, with the right direction.
#[test]
fn sockets_older_than_the_trace() -> Result<()> {
    let Some((host, cgroup)) = setup::cgroup() else { return Ok(()) };
    let (server, at) = Workload::server(&cgroup.child("server")?, "[::]:0", &[])?;
    let go = Go::new()?;
    let addresses = addresses(at.port());
    let [v4, v6, mapped] = addresses.each_ref().map(String::as_str);
    let client = Workload::start(
        &cgroup.child("client")?,
        &[
            &[
                "client",
                "--connect",
                v4,
                "--connect",
                v6,
                "--connect",
                mapped,
                "--connections",
                "6",
                "--concurrency",
                "3",
                "--seed",
                &seed(),
            ],
            &["--bytes-max", "2MiB", "--pause", text(&go.file())][..],
        ]
        .concat(),
    )?;
    let paused = client.event(Event::Paused)?;
    let before = [server.snapshot_at(&paused)?, paused];
    let top = Top::start(&host, &["--cgroup", text(cgroup.path())])?;
    go.release()?;
    let mut counted = truth::counted(&[client.finish()?, server.stop()?].concat());
    for (key, (rx, tx)) in truth::counted(&before) {
        if let Some(bytes) = counted.get_mut(&key) {
            *bytes = (bytes.0 - rx, bytes.1 - tx);
        }
    }
    counted.retain(|_, bytes| *bytes != (0, 0));
    truth::compare(&counted, &truth::shown(&top.interrupt()?)?)
}

/// Beyond `--max-flows`, the oldest closed connections are folded into one row for each process; no byte is lost.
#[test]
fn more_connections_than_rows() -> Result<()> {
    let Some((host, cgroup)) = setup::cgroup() else { return Ok(()) };
    let mut top = Top::start(&host, &["--cgroup", text(cgroup.path()), "--max-flows", "100"])?;
    let (server, at) = Workload::server(&cgroup.child("server")?, "127.0.0.1:0", &[])?;
    let clients = client(
        &cgroup.child("client")?,
        at,
        &["--connections", "600", "--concurrency", "4", "--bytes-max", "4KiB", "--seed", &seed()],
    )?;
    let lines = [clients, server.stop()?].concat();
    let sum = |bytes: fn(&Line) -> u64| lines.iter().map(bytes).sum::<u64>();
    let all = (sum(|line| line.rx_bytes), sum(|line| line.tx_bytes));
    // A closed connection's row is folded only after the next reading of the kernel's flow table, which frees its slot.
    // A document from the middle of the transfer may have few rows too, so the test also waits for all bytes.
    let document = top.document_where("all bytes in folded rows", |document| {
        document.flows.len() <= 102 && (document.totals.rx_bytes, document.totals.tx_bytes) == all
    })?;
    for line in &lines {
        let rows: Vec<_> = document.flows.iter().filter(|flow| flow.pid == line.pid).collect();
        let shown = rows.iter().fold((0, 0), |(rx, tx), row| (rx + row.rx_bytes, tx + row.tx_bytes));
        assert_eq!(shown, (line.rx_bytes, line.tx_bytes), "process {} {}", line.pid, line.command);
        let folded: Vec<_> = rows.iter().filter(|row| row.local_address.is_none()).collect();
        assert_eq!(folded.len(), 1, "folded rows of process {}: {folded:?}", line.pid);
        assert_eq!(
            (folded[0].local_port, folded[0].remote_address, folded[0].remote_port),
            (None, None, None)
        );
    }
    assert_eq!(document.totals, top.interrupt()?.totals);
    Ok(())
}
