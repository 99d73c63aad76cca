//! Shown requests, compared with the logs of servers and clients.

use super::*;

/// Both ends of every request are shown, with the bytes that nginx and curl counted; the last line has the sums of all.
#[test]
fn both_sides_equal_the_logs_of_server_and_client() -> Result<()> {
    let Some((host, cgroup)) = setup::cgroup() else { return Ok(()) };
    if !installed(&["nginx", "curl"]) {
        return Ok(());
    }
    let nginx = Nginx::start(&cgroup.child("server")?)?;
    let log = HttpLog::start(&host, &["--cgroup", text(cgroup.path())])?;
    let asked = ask_nginx(&cgroup.child("client")?, &nginx)?;
    let logged = nginx.stop()?;
    let (requests, ending) = log.interrupt::<Request>()?;
    assert_same(as_nginx(&requests), logged);
    assert_same(as_curl(&requests), asked);
    for request in &requests {
        assert!(request.first_byte_microseconds <= Some(request.duration_microseconds), "{request:?}");
        assert_eq!((request.outcome.as_str(), request.tls), ("Complete", false), "{request:?}");
        let command = if request.side == "Server" { "nginx" } else { "curl" };
        assert_eq!((request.command.as_str(), request.container_pid), (command, request.pid), "{request:?}");
    }
    assert_eq!(*ending.complete()?, sums(&requests));
    Ok(())
}

/// HTTP/2 without TLS is shown with the bytes that nginx counted.
#[test]
fn http2_equals_the_log_of_the_server() -> Result<()> {
    let Some((host, cgroup)) = setup::cgroup() else { return Ok(()) };
    if !installed(&["nginx", "curl"]) {
        return Ok(());
    }
    let nginx = Nginx::start(&cgroup.child("server")?)?;
    let log = HttpLog::start(&host, &["--cgroup", text(cgroup.path())])?;
    let client = cgroup.child("client")?;
    for path in ["/page", "/missing?x", "/moved", "/broken"] {
        for method in [&["-X", "GET"][..], &["-I"], &["-d", "name=value"]] {
            curl(&client, &[&["--http2-prior-knowledge"], method].concat(), &[nginx.http2_url(path)])?;
        }
    }
    let logged = nginx.stop()?;
    let (requests, ending) = log.interrupt::<Request>()?;
    assert!(requests.iter().all(|request| request.protocol == "HTTP/2"), "{requests:?}");
    assert!(logged.len() >= 12, "{logged:?}");
    assert_eq!(of_side(&requests, "Client").count(), logged.len(), "{requests:?}");
    assert_same(as_nginx(&requests), logged);
    assert_eq!(*ending.complete()?, sums(&requests));
    Ok(())
}

/// Python's server answers in HTTP/1.0, whose bodies end with the connection.
#[test]
fn a_server_that_closes_each_connection() -> Result<()> {
    let Some((host, cgroup)) = setup::cgroup() else { return Ok(()) };
    if !installed(&["python3", "curl"]) {
        return Ok(());
    }
    let (server, client) = (cgroup.child("server")?, cgroup.child("client")?);
    let python = Python::start(&server)?;
    let log = HttpLog::start(&host, &["--cgroup", text(&server)])?;
    for _ in 0..5 {
        curl(&client, &[], &[python.url("/page"), python.url("/missing")])?;
        curl(&client, &["-d", "x"], &[python.url("/page")])?;
    }
    let logged = python.stop()?;
    let (requests, ending) = log.interrupt::<Request>()?;
    let shown = |request: &Request| {
        (request.method.clone(), request.path.clone(), request.status.unwrap_or_default())
    };
    assert_eq!(requests.iter().map(shown).collect::<Vec<_>>(), logged);
    assert!(
        requests.iter().all(|request| request.side == "Server"),
        "the client is not traced: {requests:?}"
    );
    assert_eq!(ending.complete()?.requests, 15);
    Ok(())
}
