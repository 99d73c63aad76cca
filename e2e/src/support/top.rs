//! Running `traffictrace top -o json`, and parsing its documents.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    process::Command,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde::Deserialize;

use super::{
    Result, TestError,
    needs::Host,
    process::{Ended, Process},
};

/// Time limit for a document: loading the programs, which is slow under emulation, and an interval of one second.
const LIMIT: Duration = Duration::from_secs(120);

/// A document: the JSON snapshot that `top` prints for one interval. Scripts of users read these fields, so all are
/// required with these names and types; others may be added.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    /// Length of the interval in seconds.
    pub interval_seconds: u64,
    /// Number of bytes since tracing began.
    pub totals: Totals,
    /// One entry for each connection and process.
    pub flows: Vec<Flow>,
    /// Names of the product's limits that apply on this machine.
    #[serde(default)]
    pub not_seen: Vec<String>,
    /// Number of items that could not be counted or told apart, by reason.
    pub lost: BTreeMap<String, u64>,
    /// Use of the kernel's flow table.
    pub flow_table: FlowTable,
}

/// Use of the kernel's flow table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FlowTable {
    /// Number of flows that the table can hold.
    pub slots: u64,
    /// Number of flows in the table; a flow that has ended stays for about a second.
    pub slots_in_use: u64,
}

/// Sums over all flows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    /// Number of bytes received.
    pub rx_bytes: u64,
    /// Number of bytes sent.
    pub tx_bytes: u64,
}

/// A connection's traffic of one process.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names are the product's documented output")]
pub struct Flow {
    /// Names of the container; present if several containers are traced, or one that was selected by its name.
    #[serde(default)]
    pub namespace: Option<String>,
    #[serde(default)]
    pub pod: Option<String>,
    #[serde(default)]
    pub container: Option<String>,
    /// Process id; 0 in rows without a process, which also have a `container_pid` of 0 and an empty `command`.
    #[serde(deserialize_with = "or_default")]
    pub pid: u32,
    #[serde(deserialize_with = "or_default")]
    pub container_pid: u32,
    #[serde(deserialize_with = "or_default")]
    pub command: String,
    pub protocol: String,
    pub direction: String,
    pub state: String,
    #[serde(deserialize_with = "nullable")]
    pub local_address: Option<IpAddr>,
    #[serde(deserialize_with = "nullable")]
    pub local_port: Option<u16>,
    #[serde(deserialize_with = "nullable")]
    pub remote_address: Option<IpAddr>,
    #[serde(deserialize_with = "nullable")]
    pub remote_port: Option<u16>,
    pub rx_bytes: u64,
    pub tx_bytes: u64,
    pub rx_bytes_per_second: u64,
    pub tx_bytes_per_second: u64,
}

/// Reads a field that may be null but not missing (serde accepts both for a plain `Option`).
fn nullable<'de, D, T>(deserializer: D) -> std::result::Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::deserialize(deserializer)
}

/// Reads a field that is null if there is no value, but never missing.
fn or_default<'de, D, T>(deserializer: D) -> std::result::Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl Document {
    fn parse(line: &str) -> Result<Self> {
        let document: Self = serde_json::from_str(line)
            .map_err(|error| TestError::unexpected("a document of top", format!("{error}: {line}")))?;
        let sum = document.flows.iter().fold(Totals::default(), |sum, flow| Totals {
            rx_bytes: sum.rx_bytes + flow.rx_bytes,
            tx_bytes: sum.tx_bytes + flow.tx_bytes,
        });
        if sum == document.totals {
            Ok(document)
        } else {
            Err(TestError::unexpected("the sum of flows", format!("{sum:?}, totals {:?}", document.totals)))
        }
    }
}

fn command(host: &Host, arguments: &[&str]) -> Command {
    let mut command = Command::new(&host.traffictrace);
    command.args(["top", "-o", "json", "--top", "1000000"]).args(arguments);
    command
}

/// A running `top`.
#[derive(Debug)]
pub struct Top {
    process: Process,
    totals: Totals,
}

impl Top {
    /// Starts `top` with JSON output and room for every flow, and waits for its first document: from then on, the
    /// kernel counts.
    ///
    /// # Errors
    ///
    /// Fails when `top` does not start to trace.
    pub fn start(host: &Host, arguments: &[&str]) -> Result<Self> {
        let process = Process::start(&mut command(host, arguments))?;
        let mut top = Self { process, totals: Totals::default() };
        match top.document() {
            Ok(_) => Ok(top),
            Err(error) => {
                let _ = top.process.signal(Signal::KILL);
                let told = top.process.wait(LIMIT).map(|ended| ended.stderr).unwrap_or_default();
                Err(TestError::unexpected("the start of top", format!("{error}; {told}")))
            }
        }
    }

    /// Starts `top` for a container that does not exist yet, and returns when `top` waits for it. Documents come once
    /// the container has started.
    ///
    /// # Errors
    ///
    /// Fails if `top` does not start.
    pub fn start_waiting(host: &Host, arguments: &[&str]) -> Result<Self> {
        let top = Self {
            process: Process::start_merged(&mut command(host, arguments))?,
            totals: Totals::default(),
        };
        match top.process.line(LIMIT)? {
            Some(line) if line.starts_with("Waiting for ") => Ok(top),
            line => Err(TestError::unexpected("the first line of top", format!("{line:?}"))),
        }
    }

    /// Process id of `top`.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Returns the next document, after checking that its flows add up to its totals, and that the totals have not
    /// fallen.
    ///
    /// # Errors
    ///
    /// Fails when no document comes, or a check fails.
    pub fn document(&mut self) -> Result<Document> {
        let line = self.line()?.ok_or_else(|| TestError::unexpected("top", "it ended"))?;
        self.check(&line)
    }

    /// Returns the next line that is a document; other lines are messages for people.
    fn line(&self) -> Result<Option<String>> {
        loop {
            match self.process.line(LIMIT)? {
                Some(line) if !line.starts_with('{') => {}
                line => return Ok(line),
            }
        }
    }

    fn check(&mut self, line: &str) -> Result<Document> {
        let document = Document::parse(line)?;
        let (before, now) = (self.totals, document.totals);
        if now.rx_bytes < before.rx_bytes || now.tx_bytes < before.tx_bytes {
            return Err(TestError::unexpected("the totals", format!("{now:?} after {before:?}")));
        }
        self.totals = now;
        Ok(document)
    }

    /// Returns the first document that satisfies `condition`.
    ///
    /// # Errors
    ///
    /// Fails when none of the next 30 documents satisfies it.
    pub fn document_where(&mut self, what: &str, condition: impl Fn(&Document) -> bool) -> Result<Document> {
        let mut last = None;
        for _ in 0..30 {
            let document = self.document()?;
            if condition(&document) {
                return Ok(document);
            }
            last = Some(document.totals);
        }
        Err(TestError::Deadline { what: what.to_owned(), limit: LIMIT, last: format!("{last:?}") })
    }

    /// Reads documents, for up to half a minute, until no slot of the flow table is in use; returns the number of slots
    /// that still are, and the open flows.
    ///
    /// # Errors
    ///
    /// Fails as [`Top::document`] does.
    pub fn await_free_slots(&mut self) -> Result<(u64, Vec<Flow>)> {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let document = self.document()?;
            let left = document.flow_table.slots_in_use;
            if left == 0 || Instant::now() >= deadline {
                let open = document.flows.into_iter().filter(|flow| flow.state == "Open");
                return Ok((left, open.collect()));
            }
        }
    }

    /// Interrupts `top` as Ctrl-C does; returns the last document, which has everything up to the signal. The exit
    /// status must be 0.
    ///
    /// # Errors
    ///
    /// Fails when `top` does not end, or ends with another status.
    pub fn interrupt(self) -> Result<Document> {
        self.process.signal(Signal::INT)?;
        self.end().map(|(document, _)| document)
    }

    /// Waits until `top` ends by itself; returns its last document and its standard error. The exit status must be 0.
    ///
    /// # Errors
    ///
    /// Fails when `top` does not end, or ends with another status.
    pub fn end(mut self) -> Result<(Document, String)> {
        let mut last = None;
        while let Some(line) = self.line()? {
            last = Some(self.check(&line)?);
        }
        let Ended { status, stderr, .. } = self.process.wait(LIMIT)?;
        match last {
            Some(document) if status.success() => Ok((document, stderr)),
            _ => Err(TestError::unexpected("the end of top", format!("{status}, {last:?}, {stderr}"))),
        }
    }

    /// Kills `top` with SIGKILL.
    ///
    /// # Errors
    ///
    /// Fails when `top` has already ended.
    pub fn kill(self) -> Result<()> {
        self.process.signal(Signal::KILL)?;
        self.process.wait(LIMIT).map(drop)
    }
}
