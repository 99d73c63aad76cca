//! A real OpenTelemetry collector on loopback, which writes what it receives to a file.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use traffictrace_e2e::support::process::Process;
use traffictrace_e2e::support::server::free_port;
use traffictrace_e2e::support::{Result, TestError, needs, wait};

/// Maximum time until the collector listens, or has written what it received.
const LIMIT: Duration = Duration::from_secs(30);
/// Maximum size, in bytes, of a request to the receiver that refuses large requests.
pub const SMALL: usize = 1000;

/// A collector with four receivers. It is killed when the value is dropped.
#[derive(Debug)]
pub struct Collector {
    program: String,
    process: Option<Process>,
    folder: tempfile::TempDir,
    ports: [u16; 4],
}

/// A series: metric, attributes and resource attributes.
pub type Series = (String, BTreeMap<String, String>, BTreeMap<String, String>);

/// A value as the collector wrote it, with its start and time in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    pub value: i64,
    pub start: i64,
    pub time: i64,
}

impl Collector {
    /// Starts the collector that `TT_OTEL_COLLECTOR` names. If the variable is not set, prints that and
    /// returns `None`.
    pub fn start() -> Result<Option<Self>> {
        let Ok(program) = std::env::var("TT_OTEL_COLLECTOR") else {
            needs::skip("TT_OTEL_COLLECTOR names no collector; make test-otlp builds one");
            return Ok(None);
        };
        let folder = tempfile::tempdir().map_err(TestError::io("make a folder"))?;
        certificate(folder.path())?;
        let ports = [free_port()?, free_port()?, free_port()?, free_port()?];
        let [http, grpc, https, small] = ports;
        let path = folder.path().display();
        let tls = format!("tls: {{cert_file: {path}/certificate.pem, key_file: {path}/key.pem}}");
        let config = format!(
            "receivers:
  otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{http}'}}, grpc: {{endpoint: '127.0.0.1:{grpc}'}}}}}}
  otlp/tls: {{protocols: {{http: {{endpoint: '127.0.0.1:{https}', {tls}}}}}}}
  otlp/small: {{protocols: {{http: {{endpoint: '127.0.0.1:{small}', max_request_body_size: {SMALL}}}}}}}
exporters: {{file: {{path: {path}/received.json, flush_interval: 10ms, append: true}}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{metrics: {{receivers: [otlp, otlp/tls, otlp/small], exporters: [file]}}}}
"
        );
        fs::write(folder.path().join("config.yaml"), config)
            .map_err(TestError::io("write a configuration"))?;
        let mut collector = Self { program, process: None, folder, ports };
        collector.restart()?;
        Ok(Some(collector))
    }

    /// Ends the collector if it runs, and starts it with the same ports.
    pub fn restart(&mut self) -> Result<()> {
        self.kill();
        let mut command = Command::new(&self.program);
        command.arg("--config").arg(format!("file:{}/config.yaml", self.folder.path().display()));
        let process = self.process.insert(Process::start_merged(&mut command)?);
        // Output of the collector; if it does not start, the last line is its error.
        let mut said = String::new();
        for port in self.ports {
            wait::until("the collector to listen", LIMIT, || {
                while let Ok(Some(line)) = process.line(Duration::ZERO) {
                    said = line;
                }
                Ok(TcpStream::connect(("127.0.0.1", port))
                    .map(drop)
                    .map_err(|error| format!("{error}; {said}")))
            })?;
        }
        Ok(())
    }

    /// Ends the collector.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Stops the collector (SIGSTOP): its ports accept connections, but nothing responds.
    pub fn stop(&self) -> Result<()> {
        let process = self.process.as_ref().expect("the collector runs");
        process.signal(Signal::STOP)?;
        let tasks = format!("/proc/{}/task", process.pid());
        wait::until("all threads of the collector to stand still", LIMIT, || {
            let tasks = fs::read_dir(&tasks).map_err(TestError::io("list the collector's threads"))?;
            let stats = tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("stat")).ok());
            let moving = stats.filter(|stat| !stat.contains(") T ")).count();
            Ok(if moving == 0 { Ok(()) } else { Err(format!("{moving} that run")) })
        })
    }

    /// Lets a stopped collector continue.
    pub fn go_on(&self) -> Result<()> {
        self.process.as_ref().expect("the collector runs").signal(Signal::CONT)
    }

    /// URL of the HTTP receiver.
    pub fn http(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports[0])
    }

    /// URL of the gRPC receiver.
    pub fn grpc(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports[1])
    }

    /// URL of the HTTPS receiver.
    pub fn https(&self) -> String {
        format!("https://localhost:{}", self.ports[2])
    }

    /// URL of the HTTP receiver that refuses large requests.
    pub fn small(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports[3])
    }

    /// Path of the collector's certificate.
    pub fn certificate(&self) -> String {
        self.folder.path().join("certificate.pem").display().to_string()
    }

    /// Waits until the collector has written `requests` requests, and returns all its points in the order of
    /// their arrival.
    pub fn received(&self, requests: usize) -> Result<BTreeMap<Series, Vec<Point>>> {
        let file = self.folder.path().join("received.json");
        let lines = wait::until("the collector to write what it received", LIMIT, || {
            let text = fs::read_to_string(&file).unwrap_or_default();
            let lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
            let count = lines.iter().map(|line| list(line, "resourceMetrics").len()).sum::<usize>();
            Ok(if count >= requests { Ok(lines) } else { Err(format!("{count} requests of {requests}")) })
        })?;
        let mut all = BTreeMap::<_, Vec<_>>::new();
        for resource in lines.iter().flat_map(|line| list(line, "resourceMetrics")) {
            let of = attributes(&resource["resource"]);
            for metric in list(resource, "scopeMetrics").iter().flat_map(|scope| list(scope, "metrics")) {
                for point in
                    list(&metric["sum"], "dataPoints").iter().chain(list(&metric["gauge"], "dataPoints"))
                {
                    let series = (text(&metric["name"]), attributes(point), of.clone());
                    all.entry(series).or_default().push(Point {
                        value: number(&point["asInt"]),
                        start: number(&point["startTimeUnixNano"]),
                        time: number(&point["timeUnixNano"]),
                    });
                }
            }
        }
        Ok(all)
    }
}

/// Makes a certificate for localhost that is not a certificate authority.
fn certificate(folder: &Path) -> Result<()> {
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=localhost"]);
    command.args([
        "-addext",
        "subjectAltName=DNS:localhost",
        "-addext",
        "basicConstraints=critical,CA:FALSE",
    ]);
    command.args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]);
    command.args(["-keyout", "key.pem", "-out", "certificate.pem"]).current_dir(folder);
    let ended = command.output().map_err(TestError::io("run openssl"))?;
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    Ok(())
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Reads a 64-bit number, which the protocol's JSON represents as a text.
fn number(value: &Value) -> i64 {
    value.as_str().map_or(0, |text| text.parse().expect("a number"))
}

fn attributes(value: &Value) -> BTreeMap<String, String> {
    let pairs = list(value, "attributes").iter();
    let value = |value: &Value| {
        value["stringValue"].as_str().map_or_else(|| value["boolValue"].to_string(), str::to_owned)
    };
    pairs.map(|pair| (text(&pair["key"]), value(&pair["value"]))).collect()
}
