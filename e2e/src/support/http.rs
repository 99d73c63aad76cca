//! Running `traffictrace http -o json`, and parsing its lines.

use std::{collections::BTreeMap, net::IpAddr, process::Command, time::Duration};

use rustix::process::Signal;
use serde::{Deserialize, Deserializer, de::DeserializeOwned};

use super::{Result, TestError, needs::Host, process::Process};

/// Time limit for a line: loading the programs is slow under emulation.
const LIMIT: Duration = Duration::from_secs(120);

/// A request. Scripts of users read these fields, so all are required with these names and types; others may be added.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names are the product's documented output")]
pub struct Request {
    pub time: jiff::Timestamp,
    pub side: String,
    /// Name of the container or service; only present if several are traced.
    #[serde(default)]
    pub container: Option<String>,
    #[serde(deserialize_with = "known")]
    pub pid: u32,
    #[serde(deserialize_with = "known")]
    pub container_pid: u32,
    #[serde(deserialize_with = "known")]
    pub command: String,
    pub protocol: String,
    pub tls: bool,
    #[serde(deserialize_with = "known")]
    pub method: String,
    #[serde(deserialize_with = "known")]
    pub host: String,
    #[serde(deserialize_with = "known")]
    pub path: String,
    pub status: Option<u16>,
    pub outcome: String,
    /// Status of gRPC; only present for gRPC.
    pub grpc_status: Option<u32>,
    pub first_byte_microseconds: Option<u64>,
    pub duration_microseconds: u64,
    pub request_bytes: u64,
    pub response_bytes: u64,
    pub local_address: IpAddr,
    pub local_port: u16,
    pub remote_address: IpAddr,
    pub remote_port: u16,
}

/// Reads a field that is `null` if its value is unknown, which becomes zero or empty here.
fn known<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    value: D,
) -> std::result::Result<T, D::Error> {
    Ok(Option::deserialize(value)?.unwrap_or_default())
}

/// Sums over requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names are the product's documented output")]
pub struct Counts {
    pub requests: u64,
    pub by_class: BTreeMap<String, u64>,
    pub request_bytes: u64,
    pub response_bytes: u64,
}

/// The last line of the output.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ending {
    /// All requests of the session.
    pub totals: Counts,
    /// Number of requests that could not be observed, by reason.
    pub unobserved: BTreeMap<String, u64>,
    /// Number of lost items, by kind.
    pub lost: BTreeMap<String, u64>,
    /// Number of requests that had not ended and are not in the totals.
    pub under_way: u64,
    /// Processes that speak TLS.
    pub tls: Vec<TlsProcess>,
}

/// A process that speaks TLS.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the names are the product's documented output")]
pub struct TlsProcess {
    pub pid: u32,
    pub command: String,
    pub library: Option<String>,
    pub readable: bool,
    pub reason: Option<String>,
}

impl Ending {
    /// Returns the totals.
    ///
    /// # Errors
    ///
    /// Fails when anything is missing in the totals.
    pub fn complete(&self) -> Result<&Counts> {
        let missing = self.unobserved.iter().chain(&self.lost).any(|(_, count)| *count > 0);
        if missing {
            Err(TestError::unexpected("what is missing", format!("{self:?}")))
        } else {
            Ok(&self.totals)
        }
    }
}

/// A running `traffictrace http`.
#[derive(Debug)]
pub struct HttpLog {
    process: Process,
}

impl HttpLog {
    /// Starts the command with JSON output, and waits until it traces.
    ///
    /// # Errors
    ///
    /// Fails when the command does not start to trace.
    pub fn start(host: &Host, arguments: &[&str]) -> Result<Self> {
        Self::start_plain(host, &[&["-o", "json"], arguments].concat())
    }

    /// Starts the command as [`HttpLog::start`] does, with the output format that the arguments name.
    ///
    /// # Errors
    ///
    /// Fails when the command does not start to trace.
    pub fn start_plain(host: &Host, arguments: &[&str]) -> Result<Self> {
        // The first line, on standard error, reports that the command traces.
        let mut command = Command::new(&host.traffictrace);
        command.arg("http").args(arguments);
        let process = Process::start_merged(&mut command)?;
        match process.line(LIMIT)? {
            Some(line) if line.starts_with("Tracing ") => Ok(Self { process }),
            other => Err(TestError::unexpected("the start of http", format!("{other:?}"))),
        }
    }

    /// Process id of the command.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Waits for the next request.
    ///
    /// # Errors
    ///
    /// Fails when no request comes in time.
    pub fn request(&self) -> Result<Request> {
        let line = self.process.line(LIMIT)?;
        parse(&line.ok_or_else(|| TestError::unexpected("http", "it ended"))?)
    }

    /// Interrupts the command as Ctrl-C does; returns all lines as they are. The exit status must be 0.
    ///
    /// # Errors
    ///
    /// Fails when the command does not end, or ends with another status.
    pub fn interrupt_plain(self) -> Result<Vec<String>> {
        self.process.signal(Signal::INT)?;
        let ended = self.process.wait(LIMIT)?;
        if ended.status.success() {
            Ok(ended.lines)
        } else {
            Err(TestError::unexpected("the end of http", format!("{}: {:?}", ended.status, ended.lines)))
        }
    }

    /// Interrupts the command as Ctrl-C does; returns all lines but the last, and the last one parsed.
    ///
    /// # Errors
    ///
    /// Fails when the command does not end with status 0, or a line has another form.
    pub fn interrupt<Line: DeserializeOwned>(self) -> Result<(Vec<Line>, Ending)> {
        let mut lines = self.interrupt_plain()?;
        let last = lines.pop().unwrap_or_default();
        Ok((lines.iter().map(|line| parse(line)).collect::<Result<_>>()?, parse(&last)?))
    }
}

fn parse<Line: DeserializeOwned>(text: &str) -> Result<Line> {
    serde_json::from_str(text)
        .map_err(|error| TestError::unexpected("a line of http", format!("{error}: {text}")))
}
