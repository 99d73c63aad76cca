//! `traffictrace http`: what it shows of real servers and clients, against their own logs.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    io::{Read as _, Write as _},
    net::TcpListener,
    path::Path,
    process::Command,
    thread,
    time::Duration,
};

use serde::Deserialize;
use traffictrace_e2e::support::{
    Result, TestError, bpf,
    http::{Counts, HttpLog, Request},
    process::Process,
    server::{Asked, Nginx, NginxRequest, Python, command_in, curl, installed},
    wait,
};

use crate::setup::{self, text};

/// How long anything here may take.
const LIMIT: Duration = Duration::from_secs(30);

/// Every kind of answer that the server knows, over one connection and over several.
fn ask_nginx(cgroup: &Path, nginx: &Nginx) -> Result<Vec<Asked>> {
    let paths = ["/page", "/page?user=me", "/missing", "/moved", "/broken", "/users/7/orders"];
    let urls = paths.map(|path| nginx.url(path));
    let mut asked = Vec::new();
    for _ in 0..3 {
        asked.extend(curl(cgroup, &[], &urls)?);
        asked.extend(curl(cgroup, &["-I"], &urls)?);
        asked.extend(curl(cgroup, &["-d", "name=value"], &urls)?);
        asked.extend(curl(cgroup, &["--http1.0", "-X", "DELETE"], &urls[..2])?);
    }
    Ok(asked)
}

pub(crate) fn of_side<'a>(requests: &'a [Request], side: &'a str) -> impl Iterator<Item = &'a Request> {
    requests.iter().filter(move |request| request.side == side)
}

/// The server's requests as nginx logs them.
pub(crate) fn as_nginx(requests: &[Request]) -> Vec<NginxRequest> {
    of_side(requests, "Server")
        .map(|request| NginxRequest {
            pid: request.pid,
            remote_port: request.remote_port,
            method: request.method.clone(),
            path: request.path.clone(),
            status: request.status.unwrap_or_default(),
            bytes_sent: request.response_bytes,
        })
        .collect()
}

/// The client's requests as curl tells them.
fn as_curl(requests: &[Request]) -> Vec<Asked> {
    of_side(requests, "Client")
        .map(|request| Asked {
            method: request.method.clone(),
            status: request.status.unwrap_or_default(),
            local_port: request.local_port,
            request_bytes: (request.method != "POST").then_some(request.request_bytes),
            response_bytes: request.response_bytes,
        })
        .collect()
}

/// Compares two lists in any order; what is in both is not printed.
pub(crate) fn assert_same<T: Ord + Debug>(mut shown: Vec<T>, mut expected: Vec<T>) {
    shown.sort();
    expected.sort();
    shown.retain(|item| match expected.binary_search(item) {
        Ok(at) => {
            expected.remove(at);
            false
        }
        Err(_) => true,
    });
    assert!(shown.is_empty() && expected.is_empty(), "only shown: {shown:#?}\nnot shown: {expected:#?}");
}

/// The sums of these requests.
fn sums(requests: &[Request]) -> Counts {
    let classes = ["1xx", "2xx", "3xx", "4xx", "5xx", "noResponse", "unknown"];
    let mut sums = Counts {
        by_class: classes.into_iter().map(|class| (class.to_owned(), 0)).collect(),
        ..Counts::default()
    };
    for request in requests {
        let class = request.status.map_or("noResponse".to_owned(), |status| format!("{}xx", status / 100));
        *sums.by_class.entry(class).or_default() += 1;
        sums.requests += 1;
        sums.request_bytes += request.request_bytes;
        sums.response_bytes += request.response_bytes;
    }
    sums
}

/// Both ends of every request, with the bytes that nginx and curl counted; the last line has the sums of all.
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
    assert_eq!(ending.complete()?, sums(&requests));
    Ok(())
}

/// HTTP/2 without TLS, with the bytes that nginx counted.
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
    assert_eq!(logged.len(), 12);
    assert_same(as_nginx(&requests), logged);
    assert_eq!(of_side(&requests, "Client").count(), 12);
    assert_eq!(ending.complete()?, sums(&requests));
    Ok(())
}

/// Python's server answers in HTTP/1.0, whose bodies end with their connection.
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

/// Filters leave lines out, and nothing of the totals.
#[test]
fn filters_show_a_part_and_totals_count_everything() -> Result<()> {
    let Some((host, cgroup)) = setup::cgroup() else { return Ok(()) };
    if !installed(&["nginx", "curl"]) {
        return Ok(());
    }
    let server = cgroup.child("server")?;
    let nginx = Nginx::start(&server)?;
    let filters = ["--status", "404,5xx", "--method", "get", "--path", "/users/*/orders", "--path", "/bro"];
    let log = HttpLog::start(&host, &[&["--cgroup", text(&server)][..], &filters].concat())?;
    ask_nginx(&cgroup.child("client")?, &nginx)?;
    let logged = nginx.stop()?;
    let (requests, ending) = log.interrupt::<Request>()?;
    let wanted = |request: &NginxRequest| {
        request.method == "GET" && ["/broken", "/users/7/orders"].contains(&request.path.as_str())
    };
    let all = logged.len();
    assert_same(as_nginx(&requests), logged.into_iter().filter(wanted).collect());
    assert_eq!(requests.len(), 6);
    assert_eq!(ending.complete()?.requests, all as u64);
    Ok(())
}

/// Outside of a container: the process and its descendants, and no other server in its cgroup.
#[test]
fn of_a_process_shows_its_descendants() -> Result<()> {
    let Some((host, cgroup)) = setup::cgroup() else { return Ok(()) };
    if !installed(&["nginx", "curl"]) {
        return Ok(());
    }
    let service = cgroup.child("some.service")?;
    let (nginx, other) = (Nginx::start(&service)?, Nginx::start(&service)?);
    let log = HttpLog::start(&host, &["--pid", &nginx.pid().to_string()])?;
    for server in [&nginx, &other] {
        curl(&service, &[], &[server.url("/page"), server.url("/missing")])?;
    }
    assert_eq!(other.stop()?.len(), 2);
    let logged = nginx.stop()?;
    let (requests, ending) = log.interrupt::<Request>()?;
    assert_same(as_nginx(&requests), logged);
    assert_eq!(ending.complete()?.requests, 2);
    Ok(())
}

/// A descendant that moves to a cgroup of its own after the trace began, as a container below its engine.
#[test]
fn of_a_process_follows_descendants_to_other_cgroups() -> Result<()> {
    const SCRIPT: &str = "until [ -e \"$0\" ]; do sleep 0.1; done
        (echo 0 >\"$1/cgroup.procs\"; while curl -s -o /dev/null \"$2\"; do sleep 0.1; done)";
    let Some((host, cgroup)) = setup::cgroup() else { return Ok(()) };
    if !installed(&["nginx", "curl"]) {
        return Ok(());
    }
    let nginx = Nginx::start(&cgroup.child("server")?)?;
    let go = setup::Go::new()?;
    let mut command = command_in(&cgroup.child("some.service")?, "sh");
    command.args(["-c", SCRIPT]).arg(go.file()).arg(cgroup.child("later.service")?).arg(nginx.url("/page"));
    let parent = Process::start(&mut command)?;
    let log = HttpLog::start(&host, &["--pid", &parent.pid().to_string()])?;
    go.release()?;
    let request = log.request()?;
    assert_eq!((request.side.as_str(), request.command.as_str()), ("Client", "curl"), "{request:?}");
    assert_eq!((request.path.as_str(), request.status), ("/page", Some(200)), "{request:?}");
    Ok(())
}

/// A container by the twelve digits that `docker ps` prints.
#[test]
fn of_a_container_by_its_id() -> Result<()> {
    let Some((host, cgroup)) = setup::cgroup() else { return Ok(()) };
    if !installed(&["nginx", "curl"]) {
        return Ok(());
    }
    let random = format!("{:016x}", fastrand::u64(..));
    let container = cgroup.child(&format!("docker-{}.scope", random.repeat(4)))?;
    let nginx = Nginx::start(&container)?;
    let log = HttpLog::start(&host, &["--container", &random[..12]])?;
    curl(&cgroup.child("client")?, &[], &[nginx.url("/page")])?;
    let logged = nginx.stop()?;
    let (requests, _) = log.interrupt::<Request>()?;
    assert_eq!(as_nginx(&requests), logged);

    let mut command = Command::new(&host.traffictrace);
    command.args(["http", "--container", "0123deadbeef"]);
    let ended = Process::start(&mut command)?.wait(LIMIT)?;
    assert_eq!(ended.status.code(), Some(1));
    assert!(ended.stderr.contains("no container's id begins with \"0123deadbeef\""), "{}", ended.stderr);
    Ok(())
}

/// No status is invented for a server that closes the connection instead of answering.
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
        // Bytes that are no response.
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

/// An interval of `--summary`.
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

/// The intervals of a summary add up to the totals, by endpoint with the paths folded.
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

/// A reader that has had enough ends it with status 0, and nothing stays in the kernel.
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
