//! A real server: nginx with one process under wrk, both on one processor.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use super::{
    Bench, child,
    compare::{self, Subject},
    worker::Worker,
};
use crate::support::{Result, TestError, wait};

/// Length of a slice.
const SLICE: Duration = Duration::from_millis(20);
const LIMIT: Duration = Duration::from_secs(10);
/// Number of connections that wrk keeps busy.
const CONNECTIONS: &str = "8";
/// Bytes of the file that is asked for.
const PAGE: usize = 1024;

/// A file of 1 KiB, over connections that last or over one for each request.
struct Nginx;

impl Subject for Nginx {
    const NAME: &'static str = "nginx";
    const TITLE: &'static str =
        "nginx, one process, a file of 1 KiB by sendfile, under wrk with 8 connections on the same CPU.";
    const LANES: &'static [&'static str] = &["keep-alive", "a connection a request"];
    const PASSES: usize = 3;
    const LIMITS: (Duration, Duration) = (Duration::from_secs(90), Duration::from_secs(30));

    fn hire(&self, lane: usize, cgroup: &Path, cpu: usize) -> Result<Box<dyn Worker>> {
        Ok(Box::new(Server::start(lane == 0, cgroup, cpu)?))
    }
}

pub(super) fn run(bench: &Bench) -> Result<()> {
    let missing: Vec<&str> =
        ["nginx", "wrk"].into_iter().filter(|program| child::installed(program).is_none()).collect();
    if !missing.is_empty() {
        println!("\nnginx: not measured, since there is no {}.", missing.join(" and no "));
        return Ok(());
    }
    compare::run(bench, &Nginx)
}

/// An nginx with one process in a cgroup, and a wrk outside of it, both on one processor, both stopped between slices.
struct Server {
    nginx: Guarded,
    wrk: Guarded,
    /// Bytes that nginx writes for a request.
    response: f64,
    begun: (Instant, f64),
    _folder: tempfile::TempDir,
}

impl Server {
    /// Starts both; with `keep_alive`, requests share connections, else each has its own.
    fn start(keep_alive: bool, cgroup: &Path, cpu: usize) -> Result<Self> {
        let folder = tempfile::tempdir().map_err(TestError::io("make a folder"))?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(TestError::io("find a port"))?;
        let port = listener.local_addr().map_err(TestError::io("find a port"))?.port();
        drop(listener);
        configure(folder.path(), port)?;
        let mut command = child::command_in(cgroup, cpu, "nginx");
        command.arg("-p").arg(folder.path()).args(["-e", "errors", "-c", "nginx.conf"]);
        let nginx = Guarded::start(&mut command)?;
        let connection = if keep_alive { "keep-alive" } else { "close" };
        wait::until("nginx to listen", LIMIT, || {
            Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map(drop).map_err(|error| error.to_string()))
        })?;
        let before = nginx.written()?;
        ask(port, connection).map_err(TestError::io("ask nginx"))?;
        let response = nginx.written()? - before;
        let mut command = child::command("taskset");
        command.args(["-c", &cpu.to_string(), "wrk", "-t", "1", "-c", CONNECTIONS, "-d", "3600"]);
        command.args(["-H", &format!("Connection: {connection}"), &format!("http://127.0.0.1:{port}/page")]);
        let wrk = Guarded::start(&mut command)?;
        // Connected and warm.
        let warm = before + response * 200.0;
        wait::until("wrk to ask nginx", LIMIT, || {
            let written = nginx.written()?;
            Ok(if written > warm { Ok(()) } else { Err(format!("{written} bytes")) })
        })?;
        wrk.signal(Signal::STOP)?;
        nginx.signal(Signal::STOP)?;
        Ok(Self { nginx, wrk, response, begun: (Instant::now(), 0.0), _folder: folder })
    }
}

impl Worker for Server {
    fn begin(&mut self) -> Result<()> {
        self.begun = (Instant::now(), self.nginx.written()?);
        self.nginx.signal(Signal::CONT)?;
        self.wrk.signal(Signal::CONT)
    }

    fn end(&mut self) -> Result<f64> {
        let (begin, before) = self.begun;
        // Longer where other processes keep them from the processor.
        while begin.elapsed() < SLICE || self.nginx.written()? <= before && begin.elapsed() < LIMIT {
            thread::sleep(SLICE.saturating_sub(begin.elapsed()).max(Duration::from_millis(1)));
        }
        self.wrk.signal(Signal::STOP)?;
        self.nginx.signal(Signal::STOP)?;
        let took = begin.elapsed();
        let requests = (self.nginx.written()? - before) / self.response;
        if requests > 0.0 {
            return Ok(took.as_nanos() as f64 / requests);
        }
        Err(TestError::unexpected("nginx", format!("it answered nothing for {took:?}")))
    }
}

fn configure(folder: &Path, port: u16) -> Result<()> {
    let text = format!(
        "daemon off; master_process off; pid nginx.pid; error_log errors; events {{}}\n\
         http {{\n\
         access_log off; sendfile on; keepalive_requests 1000000000; keepalive_timeout 1h;\n\
         client_body_temp_path a; proxy_temp_path b; fastcgi_temp_path c; uwsgi_temp_path d; scgi_temp_path e;\n\
         server {{ listen 127.0.0.1:{port}; root {}; }}\n\
         }}\n",
        folder.display()
    );
    for (name, content) in [("nginx.conf", text.as_str()), ("page", &"x".repeat(PAGE))] {
        fs::write(folder.join(name), content).map_err(TestError::io(format!("write {name}")))?;
    }
    Ok(())
}

/// One request, as wrk makes them.
fn ask(port: u16, connection: &str) -> std::io::Result<()> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    write!(stream, "GET /page HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: {connection}\r\n\r\n")?;
    stream.shutdown(Shutdown::Write)?;
    stream.read_to_end(&mut Vec::new()).map(drop)
}

/// A process that is killed when it is dropped.
struct Guarded(Child);

impl Guarded {
    fn start(command: &mut Command) -> Result<Self> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        Ok(Self(child.map_err(TestError::io("start nginx or wrk"))?))
    }

    /// Bytes that it wrote to files and sockets.
    fn written(&self) -> Result<f64> {
        let file = format!("/proc/{}/io", self.0.id());
        let text = fs::read_to_string(&file).map_err(TestError::io(format!("read {file}")))?;
        let line = text.lines().find_map(|line| line.strip_prefix("wchar:")?.trim().parse().ok());
        line.ok_or_else(|| TestError::unexpected(file, text))
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| TestError::unexpected("a process id", self.0.id()))?;
        kill_process(pid, signal).map_err(|error| TestError::io("signal nginx or wrk")(error.into()))
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
