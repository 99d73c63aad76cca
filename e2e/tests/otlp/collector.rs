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

/// The time within which a collector must listen or have written.
const LIMIT: Duration = Duration::from_secs(30);
/// Most bytes of a request that one of its receivers takes.
pub const SMALL: usize = 1000;

/// A collector with four receivers. When dropped, it is killed.
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
    /// Starts the collector that `TT_OTEL_COLLECTOR` names; `None`, after saying so, where that is not set.
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

    /// Ends it, if it runs, and starts it with the same ports.
    pub fn restart(&mut self) -> Result<()> {
        self.kill();
        let mut command = Command::new(&self.program);
        command.arg("--config").arg(format!("file:{}/config.yaml", self.folder.path().display()));
        let process = self.process.insert(Process::start_merged(&mut command)?);
        // What it says, the last line of which is its error when it does not start.
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

    /// Ends it.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Makes it stand still: it listens, and answers nothing.
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

    /// Lets it go on.
    pub fn go_on(&self) -> Result<()> {
        self.process.as_ref().expect("the collector runs").signal(Signal::CONT)
    }

    /// The URL of its receiver over HTTP.
    pub fn http(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports[0])
    }

    /// The URL of its receiver over gRPC.
    pub fn grpc(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports[1])
    }

    /// The URL of its receiver over HTTPS.
    pub fn https(&self) -> String {
        format!("https://localhost:{}", self.ports[2])
    }

    /// The URL of its receiver over HTTP that refuses large requests.
    pub fn small(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports[3])
    }

    /// The file with its certificate.
    pub fn certificate(&self) -> String {
        self.folder.path().join("certificate.pem").display().to_string()
    }

    /// All points that it has written, in the order in which they came, once there are `requests` requests.
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

/// A certificate for localhost that is no authority.
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

/// A 64-bit number, which JSON of the protocol has as a text.
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
