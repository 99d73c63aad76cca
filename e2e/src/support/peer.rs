//! HTTP servers and clients in other languages (`e2e/peers`), which print their requests and answers.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::Duration,
};

use rustix::process::Signal;

use super::{
    Result, TestError, needs,
    process::Process,
    server::{command_in, installed},
};

/// Time limit for a peer to start, or for a client to end.
const LIMIT: Duration = Duration::from_secs(60);
/// Time limit of a build: the first one fetches modules and compiles them.
const BUILD_LIMIT: Duration = Duration::from_secs(300);

/// Number of requests by method, path and status.
pub type Counted = BTreeMap<(String, String, u16), u64>;

/// Folder with the sources of the peers.
pub fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers")
}

/// Builds a peer written in Go, once for each run of the tests; `None` if the calling test was skipped.
///
/// # Errors
///
/// Fails when the build fails although Go is installed.
pub fn go(name: &'static str) -> Result<Option<PathBuf>> {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    if !installed(&["go"]) {
        return Ok(None);
    }
    let folder = match FOLDER.get() {
        Some(folder) => folder,
        None => {
            let new = tempfile::tempdir().map_err(TestError::io("make a folder"))?;
            FOLDER.get_or_init(|| new)
        }
    };
    let program = folder.path().join(name);
    let mut command = Command::new("go");
    command.args(["build", "-o"]).arg(&program).arg(".").current_dir(sources().join(name));
    let ended = Process::start(&mut command)?.wait(BUILD_LIMIT)?;
    if ended.status.success() {
        return Ok(Some(program));
    }
    // go fetches modules that are not cached from a proxy. On a machine that cannot reach it, the test is skipped.
    if ended.stderr.contains("dial tcp") || ended.stderr.contains("no such host") {
        needs::skip(format!("the modules of {name} cannot be fetched: {}", ended.stderr));
        return Ok(None);
    }
    Err(TestError::unexpected(format!("building the peer {name}"), ended.stderr))
}

/// A running server.
#[derive(Debug)]
pub struct Peer {
    process: Process,
    at: SocketAddr,
}

impl Peer {
    /// Starts a server in a cgroup, and waits until it prints its address.
    ///
    /// # Errors
    ///
    /// Fails when the server prints no address in time.
    pub fn start(cgroup: &Path, program: &str, arguments: &[&str]) -> Result<Self> {
        let mut command = command_in(cgroup, program);
        command.args(arguments);
        let process = Process::start(&mut command)?;
        let line = process.line(LIMIT)?.unwrap_or_default();
        let port = line.strip_prefix("listening ").and_then(|port| port.parse().ok());
        let port =
            port.ok_or_else(|| TestError::unexpected(program, format!("{line:?} in place of its port")))?;
        Ok(Self { process, at: SocketAddr::from((Ipv4Addr::LOCALHOST, port)) })
    }

    /// Process id of the server.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Address of the server.
    pub fn address(&self) -> SocketAddr {
        self.at
    }

    /// URL of a path on the server.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.at)
    }

    /// Waits until the server has printed `requests` requests, and stops it; returns their numbers.
    ///
    /// # Errors
    ///
    /// Fails when the server prints fewer requests.
    pub fn stop(self, requests: usize) -> Result<Counted> {
        let mut lines = Vec::new();
        while lines.len() < requests {
            match self.process.line(LIMIT)? {
                Some(line) => lines.push(line),
                None => return Err(TestError::unexpected("a server", format!("it ended after {lines:?}"))),
            }
        }
        self.process.signal(Signal::TERM)?;
        lines.extend(self.process.wait(LIMIT)?.lines);
        counted(&lines)
    }
}

/// Runs a client in a cgroup; returns the answers that it received.
///
/// # Errors
///
/// Fails when the client fails.
pub fn client(cgroup: &Path, program: &str, arguments: &[&str]) -> Result<Counted> {
    let mut command = command_in(cgroup, program);
    command.args(arguments);
    let ended = Process::start(&mut command)?.wait(LIMIT)?;
    if !ended.status.success() {
        return Err(TestError::unexpected(program, ended.stderr));
    }
    counted(&ended.lines)
}

fn counted(lines: &[String]) -> Result<Counted> {
    let mut counted = Counted::new();
    for line in lines {
        let words: Vec<_> = line.split(' ').collect();
        let [method, path, status] = words[..] else {
            return Err(TestError::unexpected("a line of a peer", line));
        };
        let status = status.parse().map_err(|_| TestError::unexpected("a status of a peer", line))?;
        *counted.entry((method.to_owned(), path.to_owned(), status)).or_default() += 1;
    }
    Ok(counted)
}
