//! Hostile loads beside a well-behaved server in the same trace: memory stays bounded, and none of the server's
//! requests is lost. `TT_HOSTILE_FACTOR` makes the loads longer, as `make soak` does.

use std::{env, fs};

use traffictrace_e2e::support::{http::Ending, needs};

use super::*;

/// Maximum growth of the product's resident memory in KiB under any load: the parsers' limit and slack of the
/// allocator.
const GROWTH: u64 = 96 << 10;
/// Time limit of the load and the requests beside it, for a factor of 1.
const LOAD_LIMIT: Duration = Duration::from_secs(60);
/// Number of requests that the well-behaved client sends in one go.
const ASKED: usize = 20;

fn factor() -> u32 {
    env::var("TT_HOSTILE_FACTOR").ok().and_then(|factor| factor.parse().ok()).unwrap_or(1)
}

/// Returns the resident memory of a process in KiB.
fn resident(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).map_err(TestError::io(format!("read {path}")))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
    number.ok_or_else(|| TestError::unexpected(path, status))
}

/// Runs a hostile load beside nginx, keeps sending requests to nginx, and compares the shown requests with nginx' log.
fn beside(kind: &str, connections: u32) -> Result<Ending> {
    let Some((host, cgroup)) = setup::cgroup() else { return Ok(Ending::default()) };
    if !installed(&["nginx", "curl"]) {
        return Ok(Ending::default());
    }
    let nginx = Nginx::start(&cgroup.child("server")?)?;
    let log = HttpLog::start(&host, &["--cgroup", text(cgroup.path())])?;
    let (before, mut most) = (resident(log.pid())?, 0);
    let mut command = Command::new(needs::program("tt-exact")?);
    let count = connections.saturating_mul(factor()).to_string();
    command.args(["hostile", kind, "--connections", &count]).arg("--cgroup").arg(cgroup.child("hostile")?);
    let load = Process::start(&mut command)?;
    let client = cgroup.child("client")?;
    let urls = vec![nginx.url("/page"); ASKED];
    let mut asked = Vec::new();
    let ended = wait::until("the end of the load", LOAD_LIMIT * factor(), || {
        asked.extend(curl(&client, &[], &urls)?);
        most = most.max(resident(log.pid())?);
        Ok(match load.line(Duration::from_millis(1)) {
            Ok(None) => Ok(()),
            line => Err(format!("{line:?}")),
        })
    });
    ended?;
    let ended = load.wait(LIMIT)?;
    assert!(ended.status.success(), "{}", ended.stderr);
    let logged = nginx.stop()?;
    let (requests, ending) = log.interrupt::<Request>()?;
    println!(
        "{kind}: {count} connections, {} requests beside them, resident {before} KiB before, at most {most} KiB; {ending:?}",
        logged.len()
    );
    let (ours, theirs): (Vec<_>, Vec<_>) = requests.into_iter().partition(|request| request.path == "/page");
    let lost: u64 = ending.lost.values().sum();
    if lost == 0 {
        assert_same(as_nginx(&ours), logged);
        assert_same(as_curl(&ours), asked);
    } else {
        // Records that find no room beside hostile bytes are counted as lost; nothing else may be missing.
        let missing =
            ending.lost["requests"] + ending.lost["responses"] + ending.unobserved.values().sum::<u64>();
        assert!(
            ours.len() as u64 + missing >= 2 * logged.len() as u64,
            "{} in the log, {ending:?}",
            logged.len()
        );
    }
    for request in theirs {
        let known = ["/noise", "/large"].contains(&request.path.as_str());
        assert!(known && [None, Some(200)].contains(&request.status), "was never sent: {request:?}");
    }
    assert!(most < before + GROWTH, "resident memory grew from {before} to {most} KiB");
    let full = ending.lost.get("tableFullEvents").copied();
    assert_eq!(full, Some(0), "{ending:?}");
    Ok(ending)
}

#[test]
fn noise() -> Result<()> {
    beside("noise", 1_000).map(drop)
}

#[test]
fn heads_of_a_megabyte() -> Result<()> {
    beside("heads", 40).map(drop)
}

/// A connection that has sent a single byte has made no request.
#[test]
fn connections_of_one_byte() -> Result<()> {
    let ending = beside("one-byte", 50_000)?;
    assert_eq!(ending.unobserved.values().sum::<u64>(), 0, "{ending:?}");
    Ok(())
}

#[test]
fn requests_that_drip() -> Result<()> {
    beside("drip", 500).map(drop)
}
