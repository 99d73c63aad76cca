//! Many requests: those that are shown and those that are counted as missing add up to all.

use traffictrace_e2e::support::http::Ending;

use super::*;

/// Asserts that every request in a server's log is in the totals, counted as missing, or not ended. A request has not
/// ended if the last records of its connection, including its end, were lost.
fn assert_all_counted(ending: &Ending, logged: usize) {
    let count = |of: &BTreeMap<String, u64>, what: &str| of.get(what).copied().unwrap_or_default();
    let (seen, waiting) = (ending.totals.requests, ending.under_way);
    let missing = count(&ending.lost, "requests") + ending.unobserved.values().sum::<u64>();
    println!(
        "{logged} in the log, {seen} seen, {waiting} waiting; {:?} {:?}",
        ending.unobserved, ending.lost
    );
    assert!(seen + missing <= logged as u64, "{ending:?}");
    // The number of requests in lost records of unknown content is unknown.
    if count(&ending.lost, "unknownRecords") == 0 {
        assert!(seen + missing + waiting >= logged as u64, "{ending:?}");
    }
}

/// Runs h2load against nginx with a number of connections, each at 1,000 requests a second, or all at full speed.
fn load(version: &[&str], connections: u32, requests: u32) -> Result<()> {
    let Some((host, cgroup)) = setup::cgroup() else { return Ok(()) };
    if !installed(&["nginx", "h2load"]) {
        return Ok(());
    }
    let server = cgroup.child("server")?;
    let nginx = Nginx::start_with(&server, "sendfile on; keepalive_requests 1000000;")?;
    let http2 = version.is_empty();
    let url = if http2 { nginx.http2_url("/missing") } else { nginx.url("/missing") };
    // A summary, because printing a line for each request would dominate the measurement.
    let log = HttpLog::start(&host, &["--cgroup", text(&server), "--summary", "--interval", "1s"])?;
    let mut command = command_in(&cgroup.child("client")?, "h2load");
    command.args(version).args(["-c", &connections.to_string(), "-n", &requests.to_string()]);
    command.args(if http2 { ["-m", "10"] } else { ["--rps", "1000"] }).arg(url);
    let ended = Process::start(&mut command)?.wait(LIMIT)?;
    let codes = format!("status codes: 0 2xx, 0 3xx, {requests} 4xx, 0 5xx");
    assert!(ended.lines.contains(&codes), "{:?} {}", ended.lines, ended.stderr);
    ended.lines.iter().filter(|line| line.starts_with("finished in")).for_each(|line| println!("{line}"));
    let logged = nginx.stop()?;
    assert_eq!(logged.len(), requests as usize);
    let (_, ending) = log.interrupt::<serde_json::Value>()?;
    assert_all_counted(&ending, logged.len());
    assert_eq!(ending.totals.by_class["4xx"], ending.totals.requests, "{ending:?}");
    Ok(())
}

#[test]
fn twenty_thousand_a_second() -> Result<()> {
    load(&["--h1"], 20, 40_000)
}

#[test]
fn fifty_thousand_a_second() -> Result<()> {
    load(&["--h1"], 50, 100_000)
}

#[test]
fn streams_of_http2() -> Result<()> {
    load(&[], 10, 50_000)
}

/// wrk ends in the middle of requests; nginx logs those that it has answered.
#[test]
fn as_many_as_wrk_can() -> Result<()> {
    let Some((host, cgroup)) = setup::cgroup() else { return Ok(()) };
    if !installed(&["nginx", "wrk"]) {
        return Ok(());
    }
    let server = cgroup.child("server")?;
    let nginx = Nginx::start_with(&server, "sendfile on; keepalive_requests 1000000;")?;
    let log = HttpLog::start(&host, &["--cgroup", text(&server), "--summary", "--interval", "1s"])?;
    let mut command = command_in(&cgroup.child("client")?, "wrk");
    command.args(["-t", "1", "-c", "16", "-d", "2s"]).arg(nginx.url("/page"));
    let ended = Process::start(&mut command)?.wait(LIMIT)?;
    assert!(ended.status.success(), "{}", ended.stderr);
    let logged = nginx.stop()?;
    assert!(logged.len() > 1_000, "{:?}", ended.lines);
    let (_, ending) = log.interrupt::<serde_json::Value>()?;
    assert_all_counted(&ending, logged.len());
    Ok(())
}
