//! Servers and clients of HTTP in other languages (`e2e/peers`), which print what they were asked and answered.

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

/// How long a peer may take to begin, or a client to end.
const LIMIT: Duration = Duration::from_secs(60);
/// A first build fetches modules and compiles them.
const BUILD_LIMIT: Duration = Duration::from_secs(300);

/// Number of requests by method, path and status.
pub type Counted = BTreeMap<(String, String, u16), u64>;

/// The folder of the peers' sources.
pub fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers")
}

/// Builds a peer that is written in Go, once for each run of the tests. `None` if the calling test was skipped.
///
/// # Errors
///
/// When it cannot be built although there is a compiler.
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
    // Modules that are not in the cache need a proxy, which not every machine reaches.
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
    /// Starts a server in a cgroup, and waits until it says where it listens.
    ///
    /// # Errors
    ///
    /// When it does not.
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

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.at
    }

    /// The address of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.at)
    }

    /// Waits until it has told of so many requests, and ends it; what they were.
    ///
    /// # Errors
    ///
    /// When it tells of fewer.
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

/// Runs a client in a cgroup; what it was answered.
///
/// # Errors
///
/// When it fails.
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
