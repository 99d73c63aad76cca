//! `traffictrace http --tls`: HTTPS requests compared with the logs of the servers and the counts of the clients.

use std::path::Path;

use traffictrace_e2e::support::{
    Result, TestError,
    cgroup::Cgroup,
    http::{HttpLog, Request, TlsProcess},
    needs::Host,
    server::{Nginx, curl, installed},
    tls::{Certificate, Counted, Peer, Program, await_probes, is_probed},
};

use crate::{
    http::{as_nginx, assert_same, of_side},
    setup::{self, text},
};

/// Number of requests of each client.
const REQUESTS: u32 = 100;
/// Beginning of the name of OpenSSL's library file.
const OPENSSL: &str = "libssl";

/// Converts the requests of one side and process to the form in which the peers count.
fn shown(requests: &[Request], side: &str, pid: u32) -> Counted {
    let mut counted = Counted::new();
    for request in of_side(requests, side).filter(|request| request.pid == pid) {
        let key = (request.method.clone(), request.path.clone(), request.status.unwrap_or_default());
        *counted.entry(key).or_default() += 1;
    }
    counted
}

fn of_pid(processes: &[TlsProcess], pid: u32) -> Result<&TlsProcess> {
    let found = processes.iter().find(|process| process.pid == pid);
    found.ok_or_else(|| TestError::unexpected(format!("what is said of {pid}"), format!("{processes:?}")))
}

fn assert_read(processes: &[TlsProcess], pid: u32, library: &str) -> Result<()> {
    let process = of_pid(processes, pid)?;
    let named = process.library.as_ref().is_some_and(|name| name.contains(library));
    assert!(named && process.readable, "{process:?}");
    Ok(())
}

/// Traces a server and its clients from before the first connection on: both sides equal what each counted.
fn compare(
    host: &Host,
    cgroup: &Cgroup,
    server: (&Program, &str, &str),
    clients: &[Client<'_>],
) -> Result<()> {
    let (certificate, go) = (Certificate::new()?, setup::Go::new()?);
    let (program, file, library) = server;
    let server = Peer::serve(program, &cgroup.child("server")?, &certificate)?;
    let folder = cgroup.child("client")?;
    let connect = |client: &Client<'_>| {
        Peer::connect(client.program, &folder, server.port(), &go.file(), REQUESTS, client.protocol)
    };
    let peers: Vec<Peer> = clients.iter().map(connect).collect::<Result<_>>()?;
    let log = HttpLog::start(host, &["--tls", "--cgroup", text(cgroup.path())])?;
    await_probes(server.pid(), file, true)?;
    for (peer, client) in peers.iter().zip(clients) {
        await_probes(peer.pid(), client.file, true)?;
    }
    go.release()?;
    let mut told = Vec::new();
    for (peer, client) in peers.into_iter().zip(clients) {
        told.push((peer.pid(), client, peer.counted()?));
    }
    let (pid, served) = (server.pid(), server.stop()?);
    let (requests, ending) = log.interrupt::<Request>()?;
    // This comes first, because its error names what was lost.
    let seen = ending.complete()?.requests;
    assert_eq!(shown(&requests, "Server", pid), served);
    assert_read(&ending.tls, pid, library)?;
    for (pid, client, asked) in &told {
        assert_eq!(&shown(&requests, "Client", *pid), asked, "{client:?}");
        assert_read(&ending.tls, *pid, client.library)?;
        let protocol = if client.protocol == "h2" { "HTTP/2" } else { "HTTP/1.1" };
        assert!(of_side(&requests, "Client").any(|request| request.protocol == protocol), "{client:?}");
    }
    for request in &requests {
        assert!(request.tls && request.outcome == "Complete", "{request:?}");
        assert!(request.first_byte_microseconds <= Some(request.duration_microseconds), "{request:?}");
    }
    let both = 2 * u64::from(REQUESTS) * clients.len() as u64;
    assert_eq!(seen, both);
    Ok(())
}

/// A client of [`compare`]: its program, the file that contains the library, and the library's name.
#[derive(Debug)]
struct Client<'a> {
    program: &'a Program,
    protocol: &'a str,
    file: &'a str,
    library: &'a str,
}

#[test]
fn go_on_both_sides_and_node_equal_their_own_counts() -> Result<()> {
    let Some((host, cgroup)) = setup::cgroup() else { return Ok(()) };
    if !installed(&["go", "node", "openssl"]) {
        return Ok(());
    }
    let (go, stripped, node) = (Program::go(&[])?, Program::go(&["-ldflags=-s -w"])?, Program::node()?);
    let (file, library) = ("go-peer", "Go crypto/tls (go1.");
    let clients = [
        Client { program: &stripped, protocol: "h1", file, library },
        Client { program: &go, protocol: "h1", file, library },
        Client { program: &go, protocol: "h2", file, library },
        Client { program: &node, protocol: "h1", file: "node", library: "OpenSSL" },
    ];
    compare(&host, &cgroup, (&go, file, library), &clients)
}

#[test]
fn servers_of_node_and_python_equal_their_own_counts() -> Result<()> {
    let Some((host, cgroup)) = setup::cgroup() else { return Ok(()) };
    if !installed(&["go", "node", "python3", "openssl"]) {
        return Ok(());
    }
    let (go, node, python) = (Program::go(&["-buildmode=pie"])?, Program::node()?, Program::python()?);
    for server in [(&node, "node", "OpenSSL"), (&python, OPENSSL, "OpenSSL")] {
        let client = Client { program: &go, protocol: "h1", file: "go-peer", library: "Go crypto/tls (go1." };
        compare(&host, &cgroup, server, &[client])?;
    }
    Ok(())
}

fn ask(folder: &Path, nginx: &Nginx) -> Result<()> {
    for _ in 0..3 {
        for arguments in [&["-k"][..], &["-k", "-I"], &["-k", "-d", "name=value"]] {
            let paths = ["/page", "/page?user=me", "/missing", "/moved", "/broken", "/users/7/orders"];
            curl(folder, &[arguments, &["--http1.1"]].concat(), &paths.map(|path| nginx.url(path)))?;
            curl(folder, arguments, &paths.map(|path| nginx.http2_url(path)))?;
        }
    }
    Ok(())
}

/// HTTP/1.1 and HTTP/2 are read in a worker that a reload has forked; no other process has probes, and none has them
/// afterwards.
#[test]
fn nginx_equals_its_log_and_others_have_no_probes() -> Result<()> {
    let Some((host, cgroup)) = setup::cgroup() else { return Ok(()) };
    if !installed(&["nginx", "curl", "openssl"]) {
        return Ok(());
    }
    let certificate = Certificate::new()?;
    let (server, client) = (cgroup.child("server")?, cgroup.child("client")?);
    let nginx = Nginx::start_tls(&server, &certificate)?;
    let other = Nginx::start_tls(&client, &certificate)?;
    let log = HttpLog::start(&host, &["--tls", "--cgroup", text(&server)])?;
    await_probes(nginx.pid(), OPENSSL, true)?;
    let worker = nginx.reload()?;
    await_probes(worker, OPENSSL, true)?;
    assert!(!is_probed(other.pid(), OPENSSL)?, "a process that is not selected");
    ask(&client, &nginx)?;
    ask(&client, &other)?;
    let (requests, ending) = log.interrupt::<Request>()?;
    await_probes(worker, OPENSSL, false)?;
    let logged = nginx.stop()?;
    assert_eq!(logged.len(), 3 * 3 * 2 * 6);
    let of_http1 = |request: &Request| request.protocol == "HTTP/1.1";
    assert_eq!(requests.iter().filter(|request| of_http1(request)).count(), logged.len() / 2);
    assert!(requests.iter().all(|request| request.tls && request.pid == worker), "{requests:?}");
    assert_same(as_nginx(&requests), logged);
    assert_read(&ending.tls, worker, "OpenSSL ")?;
    ending.complete()?;
    Ok(())
}

/// TLS that is not read is named with its library and the reason, which is that nobody asked for it.
#[test]
fn what_is_not_read_is_said() -> Result<()> {
    let Some((host, cgroup)) = setup::cgroup() else { return Ok(()) };
    if !installed(&["go", "openssl"]) {
        return Ok(());
    }
    let program = Program::go(&[])?;
    let (certificate, go) = (Certificate::new()?, setup::Go::new()?);
    let (server, client) = (cgroup.child("server")?, cgroup.child("client")?);
    let peer = Peer::serve(&program, &server, &certificate)?;
    let log = HttpLog::start(&host, &["--cgroup", text(&server)])?;
    go.release()?;
    Peer::connect(&program, &client, peer.port(), &go.file(), REQUESTS, "h1")?.counted()?;
    let (requests, ending) = log.interrupt::<Request>()?;
    assert!(requests.is_empty(), "{requests:?}");
    let process = of_pid(&ending.tls, peer.pid())?;
    let (library, why) = (process.library.as_deref(), process.reason.as_deref());
    assert!(library.is_some_and(|library| library.starts_with("Go crypto/tls (go1.")), "{process:?}");
    assert!(!process.readable && why.is_some_and(|why| why.contains("--tls")), "{process:?}");
    ending.complete()?;
    Ok(())
}
