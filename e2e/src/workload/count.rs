//! Counting, and the line that reports the counts.

use std::{
    fs::OpenOptions,
    io::{self, Write as _},
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::{Deserialize, Serialize};

use super::{WorkloadError, stop};

/// One line of the output, in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// Event that the line was printed for.
    pub event: Event,
    /// Role of this process in its connections.
    pub role: Role,
    /// `getpid()` of the process that counted, in its own pid namespace.
    pub pid: u32,
    /// Name of the process as the kernel shows it.
    pub command: String,
    /// Addresses that a server listens on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listening: Vec<SocketAddr>,
    /// Number of bytes that receive calls returned, all connections together.
    pub rx_bytes: u64,
    /// Number of bytes that send calls returned, all connections together.
    pub tx_bytes: u64,
    /// Number of connections that were opened or accepted.
    pub connection_count: u64,
    /// Number of connections that could not be opened or that broke.
    pub failures: u64,
    /// Description of the first failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_failure: Option<String>,
    /// Counts of each connection; empty with `--totals-only`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub connections: Vec<ConnectionLine>,
    /// Protocol of the counts, if a process has a line for each protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// Operations that could not be done here, with reasons.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<String>,
}

/// The event that a [`Line`] was printed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Event {
    /// A server accepts connections from now on.
    Listening,
    /// A client has paused in the middle of its work.
    Paused,
    /// SIGUSR1 requested the counts so far.
    Snapshot,
    /// The process has moved all of its bytes; this is its last line.
    Done,
}

/// The role of a process in its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    /// The process accepts connections.
    Server,
    /// The process opens connections.
    Client,
}

/// The counts of one connection. IPv4 peers of an IPv6 socket are shown as IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionLine {
    /// Address of this end.
    pub local: SocketAddr,
    /// Address of the other end.
    pub remote: SocketAddr,
    /// Number of bytes that receive calls returned.
    pub rx_bytes: u64,
    /// Number of bytes that send calls returned.
    pub tx_bytes: u64,
}

/// The running counts of one connection.
#[derive(Debug)]
pub(super) struct Count {
    local: SocketAddr,
    remote: SocketAddr,
    rx_bytes: AtomicU64,
    tx_bytes: AtomicU64,
}

impl Count {
    pub(super) fn received(&self, bytes: usize) {
        self.rx_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn sent(&self, bytes: usize) {
        self.tx_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// All connections of this process.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    connections: Mutex<Vec<Arc<Count>>>,
    failures: Mutex<(u64, Option<String>)>,
}

impl Ledger {
    pub(super) fn open(&self, local: SocketAddr, remote: SocketAddr) -> Arc<Count> {
        let count = Arc::new(Count {
            local: canonical(local),
            remote: canonical(remote),
            rx_bytes: AtomicU64::new(0),
            tx_bytes: AtomicU64::new(0),
        });
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.push(Arc::clone(&count));
        count
    }

    pub(super) fn failed(&self, what: impl FnOnce() -> String) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.0 += 1;
        failures.1.get_or_insert_with(what);
    }

    pub(super) fn failures(&self) -> u64 {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    fn line(&self, event: Event, role: Role, listening: &[SocketAddr]) -> Result<Line, WorkloadError> {
        let connections: Vec<ConnectionLine> = self
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .map(|count| ConnectionLine {
                local: count.local,
                remote: count.remote,
                rx_bytes: count.rx_bytes.load(Ordering::Relaxed),
                tx_bytes: count.tx_bytes.load(Ordering::Relaxed),
            })
            .collect();
        let (failures, first_failure) = self.failures.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(Line {
            event,
            role,
            pid: std::process::id(),
            command: stop::process_name()
                .map_err(|source| WorkloadError::file("read", "/proc/self/comm", source))?,
            listening: listening.to_vec(),
            rx_bytes: connections.iter().map(|c| c.rx_bytes).sum(),
            tx_bytes: connections.iter().map(|c| c.tx_bytes).sum(),
            connection_count: connections.len() as u64,
            failures,
            first_failure,
            connections,
            protocol: None,
            skipped: Vec::new(),
        })
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The destination of the lines.
#[derive(Clone, Debug)]
pub(super) struct Output {
    file: Option<PathBuf>,
    totals_only: bool,
}

impl Output {
    pub(super) fn new(file: Option<PathBuf>, totals_only: bool) -> Self {
        Self { file, totals_only }
    }

    /// Prints the counts so far.
    pub(super) fn print(
        &self,
        ledger: &Ledger,
        event: Event,
        role: Role,
        listening: &[SocketAddr],
    ) -> Result<(), WorkloadError> {
        let mut line = ledger.line(event, role, listening)?;
        if self.totals_only {
            line.connections.clear();
        }
        let mut text = serde_json::to_string(&line)
            .map_err(|source| WorkloadError::system("write the count as JSON", io::Error::from(source)))?;
        text.push('\n');
        self.write(&text)
    }

    /// Prints a line, also one that a child process printed.
    pub(super) fn write(&self, text: &str) -> Result<(), WorkloadError> {
        let mut stdout = io::stdout().lock();
        stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush())
            .map_err(|source| WorkloadError::system("write to standard output", source))?;
        let Some(path) = &self.file else { return Ok(()) };
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|source| WorkloadError::file("append to", path, source))
    }
}
