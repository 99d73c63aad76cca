//! The output of requests, and its end.

use std::time::Instant;

use super::*;

/// If a server closes the connection instead of answering, no status is invented.
#[test]
fn a_missing_response_is_told() -> Result<()> {
    let Some((host, cgroup)) = setup::cgroup() else { return Ok(()) };
    if !installed(&["curl"]) {
        return Ok(());
    }
    let listener = TcpListener::bind("127.0.0.1:0").map_err(TestError::io("listen"))?;
    let at = listener.local_addr().map_err(TestError::io("listen"))?;
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept()?;
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            request.extend(byte);
        }
        // Returning closes the connection: no response follows.
        stream.write_all(b"")
    });
    let arguments = ["--cgroup", text(cgroup.path())];
    let (log, lines) = (HttpLog::start(&host, &arguments)?, HttpLog::start_plain(&host, &arguments)?);
    let asked = curl(cgroup.path(), &[], &[format!("http://{at}/silence")])?;
    assert_eq!(asked[0].status, 0);
    server
        .join()
        .map_err(|_| TestError::unexpected("the server", "a panic"))?
        .map_err(TestError::io("serve"))?;
    let (requests, ending) = log.interrupt::<Request>()?;
    let [request] = requests.as_slice() else { panic!("{requests:?}") };
    assert_eq!((request.path.as_str(), request.status), ("/silence", None));
    assert_eq!((request.outcome.as_str(), request.first_byte_microseconds), ("NoResponse", None));
    assert_eq!(ending.complete()?.by_class["noResponse"], 1);

    let lines = lines.interrupt_plain()?;
    assert!(lines[0].starts_with("TIME ") && lines[1].contains("no response"), "{lines:?}");
    assert_eq!(lines.last().map(String::as_str), Some("1 request: 1 no response."), "{lines:?}");
    Ok(())
}

/// A request without an answer at the end of the trace is in no total, and reported as under way.
#[test]
fn a_request_under_way_is_told() -> Result<()> {
    let Some((host, cgroup)) = setup::cgroup() else { return Ok(()) };
    if !installed(&["nginx", "curl"]) {
        return Ok(());
    }
    let client = cgroup.child("client")?;
    let nginx = Nginx::start(&cgroup.child("server")?)?;
    let listener = TcpListener::bind("127.0.0.1:0").map_err(TestError::io("listen"))?;
    let at = listener.local_addr().map_err(TestError::io("listen"))?;
    let arguments = ["--cgroup", text(&client)];
    let (log, lines) = (HttpLog::start(&host, &arguments)?, HttpLog::start_plain(&host, &arguments)?);
    let mut command = command_in(&client, "curl");
    let asking = Process::start(command.args(["-s", &format!("http://{at}/waits")]))?;
    let (mut stream, _) = listener.accept().map_err(TestError::io("accept"))?;
    stream.read_exact(&mut [0]).map_err(TestError::io("read the request"))?;
    curl(&client, &[], &[nginx.url("/page")])?;
    let (requests, ending) = log.interrupt::<Request>()?;
    assert_eq!(requests.iter().map(|request| request.path.as_str()).collect::<Vec<_>>(), ["/page"]);
    assert_eq!((ending.under_way, ending.complete()?.requests), (1, 1));
    let lines = lines.interrupt_plain()?;
    assert_eq!(
        lines.last().map(String::as_str),
        Some("1 request had not ended, which no total has."),
        "{lines:?}"
    );
    drop(asking);
    Ok(())
}

/// A line of `--summary`, which covers one interval.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Interval {
    endpoints: Vec<Endpoint>,
    interval_totals: Counts,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Endpoint {
    side: String,
    method: String,
    path: String,
    requests: u64,
    p50_microseconds: u64,
    max_microseconds: u64,
}

/// The intervals of a summary add up to the totals, by endpoint, with folded paths.
#[test]
fn summaries_add_up_to_the_totals() -> Result<()> {
    let Some((host, cgroup)) = setup::cgroup() else { return Ok(()) };
    if !installed(&["nginx", "curl"]) {
        return Ok(());
    }
    let (server, client) = (cgroup.child("server")?, cgroup.child("client")?);
    let nginx = Nginx::start(&server)?;
    let arguments = ["--cgroup", text(&server), "--summary", "--interval", "500ms"];
    let all = HttpLog::start(&host, &arguments)?;
    let some = HttpLog::start(&host, &[&arguments[..], &["--status", "4xx"]].concat())?;
    for user in 0..10 {
        curl(&client, &[], &[nginx.url("/page"), nginx.url(&format!("/users/{user}"))])?;
    }
    nginx.stop()?;
    for (log, expected) in [
        (all, BTreeMap::from([("/page".to_owned(), 10), ("/users/{id}".to_owned(), 10)])),
        (some, BTreeMap::from([("/users/{id}".to_owned(), 10)])),
    ] {
        let (intervals, ending) = log.interrupt::<Interval>()?;
        let mut rows = BTreeMap::new();
        for endpoint in intervals.iter().flat_map(|interval| &interval.endpoints) {
            assert_eq!((endpoint.side.as_str(), endpoint.method.as_str()), ("Server", "GET"));
            assert!(endpoint.p50_microseconds <= endpoint.max_microseconds);
            *rows.entry(endpoint.path.clone()).or_insert(0) += endpoint.requests;
        }
        assert_eq!(rows, expected);
        let sum: u64 = intervals.iter().map(|interval| interval.interval_totals.requests).sum();
        assert_eq!(sum, expected.values().sum::<u64>());
        assert_eq!(ending.complete()?.requests, 20);
    }
    Ok(())
}

/// If the reader closes the output, the command ends with status 0, and nothing stays in the kernel.
#[test]
fn a_closed_output_ends_it() -> Result<()> {
    let Some((host, cgroup)) = setup::cgroup() else { return Ok(()) };
    if !installed(&["nginx", "curl"]) {
        return Ok(());
    }
    let nginx = Nginx::start(&cgroup.child("server")?)?;
    let mut command = Command::new("sh");
    command.args(["-c", "{ \"$0\" http --cgroup \"$1\"; echo status $? >&2; } | head -n 1"]);
    command.arg(&host.traffictrace).arg(cgroup.path());
    let reader = Process::start(&mut command)?;
    let heading = reader.line(LIMIT)?.unwrap_or_default();
    assert!(heading.starts_with("TIME "), "{heading}");
    let client = cgroup.child("client")?;
    wait::until("the end of the output's writer", LIMIT, || {
        curl(&client, &[], &[nginx.url("/page")])?;
        let next = reader.line(Duration::from_millis(500));
        Ok(if let Ok(None) = next { Ok(()) } else { Err(format!("{next:?}")) })
    })?;
    let ended = reader.wait(LIMIT)?;
    assert!(ended.stderr.contains("status 0"), "{}", ended.stderr);

    let log = HttpLog::start(&host, &["--cgroup", text(cgroup.path())])?;
    let held = bpf::held_by(log.pid())?;
    assert!(!held.programs.is_empty(), "{held:?}");
    log.interrupt::<Request>()?;
    wait::until("the kernel to free every object", LIMIT, || {
        let left = held.still_there()?;
        Ok(if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) })
    })
}

/// If the reader of the output has stopped reading, the command still waits some seconds for it and then ends with an
/// error; a second signal ends the command at once. Nothing stays in the kernel.
#[test]
fn a_reader_that_has_stopped_holds_up_the_end_for_a_while() -> Result<()> {
    const REQUESTS: usize = 1000;
    /// Number of bytes that make a pipe of 64 KiB nearly full.
    const NEARLY_FULL: u64 = 40 << 10;
    let Some((host, cgroup)) = setup::cgroup() else { return Ok(()) };
    if !installed(&["nginx", "curl"]) {
        return Ok(());
    }
    let nginx = Nginx::start(&cgroup.child("server")?)?;
    let client = cgroup.child("client")?;
    for is_asked_again in [false, true] {
        let mut command = Command::new(&host.traffictrace);
        command.args(["http", "-o", "json", "--cgroup", text(&client)]);
        let (mut log, pipe) = Process::start_unread(&mut command)?;
        let in_pipe = |least: u64| {
            let there = rustix::io::ioctl_fionread(&pipe);
            let there = there.map_err(|error| TestError::io("look into the pipe")(error.into()))?;
            Ok(if there >= least { Ok(()) } else { Err(format!("{there} bytes")) })
        };
        wait::until("a first request in the pipe", LIMIT, || {
            curl(&client, &[], &[nginx.url("/page")])?;
            in_pipe(1)
        })?;
        let held = bpf::held_by(log.pid())?;
        // A line of JSON has some hundred bytes, so the lines of these requests are several times as long as the pipe.
        curl(&client, &[], &vec![nginx.url("/page"); REQUESTS])?;
        wait::until("a full pipe", LIMIT, || in_pipe(NEARLY_FULL))?;
        log.signal(Signal::INT)?;
        if is_asked_again {
            wait::until("the end after further signals", LIMIT, || {
                log.signal(Signal::INT)?;
                Ok(if log.has_ended()? { Ok(()) } else { Err("it runs".to_owned()) })
            })?;
        }
        let ended = log.wait(LIMIT)?;
        let complaint = "whoever reads it has taken nothing for 5 s";
        assert_eq!(ended.stderr.contains(complaint), !is_asked_again, "{}", ended.stderr);
        assert_eq!(ended.status.success(), is_asked_again, "{}: {}", ended.status, ended.stderr);
        wait::until("the kernel to free every object", LIMIT, || {
            let left = held.still_there()?;
            Ok(if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) })
        })?;
    }
    Ok(())
}

/// A command that ends by itself waits for a slow reader for as long as that takes, and the reader gets everything.
#[test]
fn a_slow_reader_gets_the_end() -> Result<()> {
    const REQUESTS: usize = 1000;
    /// Longer than the command would wait after a signal.
    const UNREAD: Duration = Duration::from_secs(7);
    let Some((host, cgroup)) = setup::cgroup() else { return Ok(()) };
    if !installed(&["nginx", "curl"]) {
        return Ok(());
    }
    let nginx = Nginx::start(&cgroup.child("server")?)?;
    let client = cgroup.child("client")?;
    let mut command = Command::new(&host.traffictrace);
    command.args(["http", "-o", "json", "--duration", "5s", "--cgroup", text(&client)]);
    let (mut log, mut pipe) = Process::start_unread(&mut command)?;
    wait::until("a first request in the pipe", LIMIT, || {
        curl(&client, &[], &[nginx.url("/page")])?;
        let there = rustix::io::ioctl_fionread(&pipe);
        let there = there.map_err(|error| TestError::io("look into the pipe")(error.into()))?;
        Ok(if there > 0 { Ok(()) } else { Err("nothing".to_owned()) })
    })?;
    curl(&client, &[], &vec![nginx.url("/page"); REQUESTS])?;
    let unread_until = Instant::now() + Duration::from_secs(5) + UNREAD;
    while Instant::now() < unread_until {
        assert!(!log.has_ended()?, "it ended without its reader");
        thread::sleep(Duration::from_millis(100));
    }
    let mut printed = String::new();
    pipe.read_to_string(&mut printed).map_err(TestError::io("read the output"))?;
    let ended = log.wait(LIMIT)?;
    assert!(ended.status.success(), "{}", ended.stderr);
    let lines: Vec<&str> = printed.lines().collect();
    let totals: serde_json::Value = serde_json::from_str(lines.last().copied().unwrap_or_default())
        .map_err(|error| TestError::unexpected("the last line", error))?;
    println!("{totals}");
    assert!(lines.len() > REQUESTS, "{} lines", lines.len());
    assert_eq!(totals["totals"]["requests"].as_u64(), Some(lines.len() as u64 - 1), "{totals}");
    Ok(())
}
