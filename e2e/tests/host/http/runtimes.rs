//! Servers and clients in other languages, which print their own requests and answers.

use traffictrace_e2e::support::peer::{self, Counted, Peer};

use super::*;

/// Option that makes curl use HTTP/2 from the beginning.
const HTTP2: &str = "--http2-prior-knowledge";

/// Converts shown requests to the form in which the peers count.
fn as_counted<'a>(requests: impl Iterator<Item = &'a Request>) -> Counted {
    let mut counted = Counted::new();
    for request in requests {
        let key = (request.method.clone(), request.path.clone(), request.status.unwrap_or_default());
        *counted.entry(key).or_default() += 1;
    }
    counted
}

/// Sends requests for every kind of answer several times with curl; returns the number of requests.
fn ask(cgroup: &Path, server: &Peer, version: &str) -> Result<usize> {
    let paths = [
        "/bytes/0",
        "/bytes/50000",
        "/chunked/7000",
        "/status/204",
        "/status/304",
        "/status/500",
        "/nothing",
    ];
    let urls = paths.map(|path| server.url(path));
    let mut count = 0;
    for method in [&[][..], &["-I"], &["-d", "some body"], &["-X", "DELETE"]] {
        let arguments = [&[version], method].concat();
        if version == HTTP2 {
            // curl 7.88 cannot reuse such a connection, so each URL has a curl of its own.
            for url in &urls {
                count += curl(cgroup, &arguments, std::slice::from_ref(url))?.len();
            }
        } else {
            count += curl(cgroup, &arguments, &urls)?.len();
        }
    }
    Ok(count)
}

/// Compares both sides of requests between curl and a server.
fn with_curl(program: &str, arguments: &[&str], version: &str, protocol: &str) -> Result<()> {
    let Some((host, cgroup)) = setup::cgroup() else { return Ok(()) };
    if !installed(&["curl", program]) {
        return Ok(());
    }
    let server = Peer::start(&cgroup.child("server")?, program, arguments)?;
    let pid = server.pid();
    let log = HttpLog::start(&host, &["--cgroup", text(cgroup.path())])?;
    let asked = ask(&cgroup.child("client")?, &server, version)?;
    let told = server.stop(asked)?;
    let (requests, ending) = log.interrupt::<Request>()?;
    assert_eq!(as_counted(of_side(&requests, "Server")), told);
    assert_eq!(as_counted(of_side(&requests, "Client")), told);
    assert!(requests.iter().all(|request| request.protocol == protocol), "{requests:?}");
    assert!(of_side(&requests, "Server").all(|request| request.pid == pid), "{requests:?}");
    assert_eq!(ending.complete()?.requests, 2 * asked as u64);
    Ok(())
}

#[test]
fn node_over_http1() -> Result<()> {
    with_curl("node", &[&peer::sources().join("peer.js").to_string_lossy(), "http1"], "--http1.1", "HTTP/1.1")
}

#[test]
fn node_over_http2() -> Result<()> {
    let script = peer::sources().join("peer.js");
    with_curl("node", &[&script.to_string_lossy(), "http2"], HTTP2, "HTTP/2")
}

/// Compares both sides of requests between two Go programs, several at a time.
fn go_asks_go(version: &str, protocol: &str) -> Result<()> {
    const REQUESTS: usize = 200;
    let Some((host, cgroup)) = setup::cgroup() else { return Ok(()) };
    let Some(program) = peer::go("go")? else { return Ok(()) };
    let program = text(&program);
    let server = Peer::start(&cgroup.child("server")?, program, &[])?;
    let log = HttpLog::start(&host, &["--cgroup", text(cgroup.path())])?;
    let address = server.address().to_string();
    let arguments = ["client", &address, &REQUESTS.to_string(), version];
    let asked = peer::client(&cgroup.child("client")?, program, &arguments)?;
    let told = server.stop(REQUESTS)?;
    let (requests, ending) = log.interrupt::<Request>()?;
    assert_eq!(told, asked);
    println!("{ending:?}");
    assert_eq!(as_counted(of_side(&requests, "Server")), told);
    assert_eq!(as_counted(of_side(&requests, "Client")), asked);
    assert!(requests.iter().all(|request| request.protocol == protocol), "{requests:?}");
    assert_eq!(ending.complete()?.requests, 2 * REQUESTS as u64);
    Ok(())
}

#[test]
fn go_over_http1() -> Result<()> {
    go_asks_go("http1", "HTTP/1.1")
}

#[test]
fn go_over_http2() -> Result<()> {
    go_asks_go("http2", "HTTP/2")
}

/// Go's gRPC server and its client, which are one process, agree on the statuses in trailers.
#[test]
fn grpc_of_go() -> Result<()> {
    let Some((host, cgroup)) = setup::cgroup() else { return Ok(()) };
    let Some(program) = peer::go("grpc")? else { return Ok(()) };
    let log = HttpLog::start(&host, &["--cgroup", text(cgroup.path())])?;
    let mut command = command_in(cgroup.path(), text(&program));
    let ended = Process::start(&mut command)?.wait(LIMIT)?;
    assert!(ended.status.success(), "{}", ended.stderr);
    let (requests, ending) = log.interrupt::<Request>()?;
    for side in ["Server", "Client"] {
        let line = |request: &Request| {
            // The client cancels a stream that it has read from: no status has arrived, which the client takes for 0.
            let watch = request.path.ends_with("/Watch");
            let status = request.grpc_status.or(watch.then_some(0));
            format!("{} {}", request.path, status.map_or("none".to_owned(), |status| status.to_string()))
        };
        assert_same(of_side(&requests, side).map(line).collect(), ended.lines.clone());
    }
    assert!(
        requests.iter().all(|request| request.protocol == "gRPC" && request.method == "POST"),
        "{requests:?}"
    );
    assert_eq!(ending.complete()?.requests, 2 * ended.lines.len() as u64);
    Ok(())
}
