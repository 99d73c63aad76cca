//! The ways in which nginx sends: counts, bytes and times compared with its log.

use std::collections::HashMap;

use super::*;

/// Maximum difference between the product's duration of a request and that of nginx, whose clock has milliseconds and
/// is read once in each turn of its event loop.
const CLOCKS: Duration = Duration::from_millis(2);
/// Share of the requests that may last longer than nginx logs: on a busy machine, nginx starts counting some time after
/// the packet has arrived.
const LATE: f64 = 0.5;

/// Sends requests in every way, with compression as the client asks for it; both sides must equal the logs, and so must
/// the times.
fn every_way(directives: &str, client: &[&str]) -> Result<()> {
    let Some((host, cgroup)) = setup::cgroup() else { return Ok(()) };
    if !installed(&["nginx", "curl"]) {
        return Ok(());
    }
    let nginx = Nginx::start_with(&cgroup.child("server")?, directives)?;
    let log = HttpLog::start(&host, &["--cgroup", text(cgroup.path())])?;
    let curls = cgroup.child("client")?;
    let paths = ["/page", "/missing", "/moved", "/broken", "/slow", "/page?again"];
    let urls = paths.map(|path| nginx.url(path));
    let mut asked = Vec::new();
    for method in [&[][..], &["-I"], &["-r", "100-5099"], &["--http1.0"], &["-H", "Connection: close"]] {
        asked.extend(curl(&curls, &[client, method].concat(), &urls)?);
    }
    let logged = nginx.stop_timed()?;
    let (requests, ending) = log.interrupt::<Request>()?;
    // For chunked bodies, curl counts only the contents of the chunks.
    let bytes = |asked: Asked| Asked {
        response_bytes: if client.is_empty() { asked.response_bytes } else { 0 },
        ..asked
    };
    assert_same(as_curl(&requests).into_iter().map(bytes).collect(), asked.into_iter().map(bytes).collect());
    assert_same(as_nginx(&requests), logged.iter().map(|(request, _)| request.clone()).collect());
    assert_eq!(*ending.complete()?, sums(&requests));
    assert_times(&requests, logged);
    Ok(())
}

/// Asserts that the durations of nginx' requests are those in its log.
fn assert_times(requests: &[Request], logged: Vec<(NginxRequest, Duration)>) {
    // Requests of one connection follow each other, so the remote port and the order identify a request.
    let mut ours: HashMap<u16, Vec<Duration>> = HashMap::new();
    for request in of_side(requests, "Server") {
        ours.entry(request.remote_port)
            .or_default()
            .push(Duration::from_micros(request.duration_microseconds));
    }
    ours.values_mut().for_each(|durations| durations.reverse());
    let mut late = Vec::new();
    let all = logged.len();
    for (request, theirs) in logged {
        let our = ours.get_mut(&request.remote_port).and_then(Vec::pop).unwrap_or_default();
        // The product sees the bytes that nginx times on the wire, possibly a little before nginx reads its clock. So
        // its duration is shorter by at most [`CLOCKS`].
        assert!(our + CLOCKS >= theirs, "{our:?}, in the log {theirs:?}: {request:?}");
        if our > theirs + CLOCKS {
            late.push((our, theirs, request));
        }
    }
    assert!(late.len() as f64 <= LATE * all as f64, "longer than in the log: {late:#?}");
}

#[test]
fn sendfile_and_keep_alive() -> Result<()> {
    every_way("sendfile on; tcp_nopush on;", &[])
}

#[test]
fn without_sendfile() -> Result<()> {
    every_way("sendfile off; output_buffers 1 4k;", &[])
}

#[test]
fn without_keep_alive() -> Result<()> {
    every_way("sendfile on; keepalive_timeout 0;", &[])
}

/// A body that is compressed while it is sent is chunked; with HTTP/1.0 it ends with the connection.
#[test]
fn compressed_in_chunks() -> Result<()> {
    every_way(
        "sendfile on; gzip on; gzip_min_length 1; gzip_types *; gzip_http_version 1.0;",
        &["--compressed"],
    )
}

/// The proxy is a server to curl and a client of another server: its lines equal its own log on the server's side, and
/// the other server's log on the client's side.
#[test]
fn a_proxy_is_both_sides() -> Result<()> {
    let Some((host, cgroup)) = setup::cgroup() else { return Ok(()) };
    if !installed(&["nginx", "curl"]) {
        return Ok(());
    }
    let origin = Nginx::start(&cgroup.child("origin")?)?;
    let (target, proxied) = (origin.url(""), cgroup.child("proxy")?);
    let server = format!(
        "upstream origin {{ server {}; keepalive 4; }}
         server {{ listen 127.0.0.1:{}; location / {{ proxy_pass http://origin; proxy_http_version 1.1;
         proxy_set_header Connection ''; proxy_buffering off; }} }}",
        target.trim_start_matches("http://"),
        0
    );
    let (directives, at) = with_free_port(&server)?;
    let proxy = Nginx::start_with(&proxied, &directives)?;
    let log = HttpLog::start(&host, &["--cgroup", text(&proxied)])?;
    for path in ["/page", "/missing", "/broken"] {
        let url = format!("http://127.0.0.1:{at}{path}");
        for method in [&[][..], &["-I"], &["-d", "name=value"]] {
            curl(&cgroup.child("client")?, method, &[url.clone(), url.clone()])?;
        }
    }
    let (served, asked) = (proxy.stop()?, origin.stop()?);
    let (requests, ending) = log.interrupt::<Request>()?;
    assert_same(as_nginx(&requests), served);
    let client = of_side(&requests, "Client");
    let key = |method: &str, path: &str, status: u16, bytes: u64| {
        (method.to_owned(), path.to_owned(), status, bytes)
    };
    assert_same(
        client.map(|r| key(&r.method, &r.path, r.status.unwrap_or_default(), r.response_bytes)).collect(),
        asked.iter().map(|r| key(&r.method, &r.path, r.status, r.bytes_sent)).collect(),
    );
    assert_eq!(ending.complete()?.requests, 36);
    Ok(())
}

/// Returns a server block of nginx in which port 0 is replaced by a free port, and the port.
fn with_free_port(block: &str) -> Result<(String, u16)> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(TestError::io("find a port"))?;
    let port = listener.local_addr().map_err(TestError::io("find a port"))?.port();
    Ok((block.replace("127.0.0.1:0;", &format!("127.0.0.1:{port};")), port))
}
