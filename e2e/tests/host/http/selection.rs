//! The selection of the requests that are shown.

use super::*;

/// Filters remove lines from the output, but nothing from the totals.
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

/// Outside a container, the process and its descendants are shown, and no other server in its cgroup.
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
    // Interrupted before the process ends, which would end the trace too, with a message.
    let (requests, ending) = log.interrupt::<Request>()?;
    let logged = nginx.stop()?;
    assert_same(as_nginx(&requests), logged);
    assert_eq!(ending.complete()?.requests, 2);
    Ok(())
}

/// A descendant is followed that moves to a cgroup of its own after the trace began, like a container below its engine.
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

/// A container is selected by the twelve digits that `docker ps` prints.
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
    assert!(ended.stderr.contains("no container is named 0123deadbeef"), "{}", ended.stderr);
    Ok(())
}

/// If several containers are traced, lines and summaries name the container of each request.
#[test]
fn of_all_containers_by_their_names() -> Result<()> {
    /// Path of the test's requests, since other containers of this machine may have requests, too.
    const PATH: &str = "/of-all-containers";
    #[derive(Deserialize)]
    struct Endpoint {
        path: String,
        side: String,
        container: Option<String>,
    }
    #[derive(Deserialize)]
    struct Interval {
        endpoints: Vec<Endpoint>,
    }
    let Some((host, cgroup)) = setup::cgroup() else { return Ok(()) };
    if !installed(&["nginx", "curl"]) {
        return Ok(());
    }
    let ids = [(); 2].map(|()| format!("{:016x}", fastrand::u64(..)));
    let [server, client] = ids.each_ref().map(|id| cgroup.child(&format!("docker-{}.scope", id.repeat(4))));
    let (server, client) = (server?, client?);
    let nginx = Nginx::start(&server)?;
    let (log, plain) = (HttpLog::start(&host, &["--all"])?, HttpLog::start_plain(&host, &["--all"])?);
    let summary = HttpLog::start(&host, &["--all", "--summary", "--interval", "500ms"])?;
    curl(&client, &[], &[nginx.url(PATH)])?;
    let [of_server, of_client] = ids.each_ref().map(|id| id[..12].to_owned());
    let named = [("Client".to_owned(), of_client.clone()), ("Server".to_owned(), of_server.clone())];
    let (requests, _) = log.interrupt::<Request>()?;
    let requests = requests.into_iter().filter(|request| request.path == PATH);
    let mut seen: Vec<_> =
        requests.map(|request| (request.side, request.container.unwrap_or_default())).collect();
    seen.sort();
    assert_eq!(seen, named);

    let lines = plain.interrupt_plain()?;
    assert_eq!(lines[0].split_whitespace().nth(2), Some("CONTAINER"), "{lines:?}");
    for name in [&of_server, &of_client] {
        assert!(lines.iter().any(|line| line.contains(name) && line.contains(PATH)), "{lines:?}");
    }

    let (intervals, _) = summary.interrupt::<Interval>()?;
    let rows = intervals.into_iter().flat_map(|interval| interval.endpoints);
    let mut seen: Vec<_> = rows
        .filter(|row| row.path == PATH)
        .map(|row| (row.side, row.container.unwrap_or_default()))
        .collect();
    seen.sort();
    assert_eq!(seen, named);
    Ok(())
}
