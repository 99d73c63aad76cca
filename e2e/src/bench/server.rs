//! An nginx with one process and a wrk that sends requests to it, both on one processor.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use super::{child, worker::Worker};
use crate::support::{Result, TestError, needs, server::free_port, tls::Certificate, wait};

/// Length of a slice.
const SLICE: Duration = Duration::from_millis(20);
const LIMIT: Duration = Duration::from_secs(10);
/// Number of connections that wrk keeps busy.
const CONNECTIONS: &str = "8";
/// Size in bytes of the file that is requested.
const FILE: usize = 1024;
/// Size in bytes of the text that is compressed for each request.
const TEXT: usize = 8192;
/// Number of bytes that TLS 1.3 adds to a small response: a record's header, its content type and its tag (RFC 8446,
/// section 5.2).
const RECORD: f64 = 5.0 + 1.0 + 16.0;
/// Maximum number of connections that nginx accepts.
const MOST_CONNECTIONS: u32 = 20_000;

/// The page that is requested.
#[derive(Clone, Copy, Debug)]
pub(super) enum Page {
    /// Two bytes from nginx's memory: the cheapest response.
    Empty,
    /// A file of 1 KiB, sent by sendfile.
    File,
    /// A text of 8 KiB, compressed for each request: a lower bound of the work of a computed response.
    Compressed,
    /// The two bytes over TLS.
    Encrypted,
}

impl Page {
    fn path(self) -> &'static str {
        match self {
            Self::Empty | Self::Encrypted => "empty",
            Self::File => "page",
            Self::Compressed => "text",
        }
    }
}

/// Returns whether nginx and wrk are installed; if not, prints the part that is not measured.
pub(super) fn is_installed(part: &str) -> bool {
    let missing: Vec<&str> =
        ["nginx", "wrk"].into_iter().filter(|program| needs::in_path(program).is_none()).collect();
    if !missing.is_empty() {
        println!("\n{part}: not measured, since there is no {}.", missing.join(" and no "));
    }
    missing.is_empty()
}

/// An nginx with one process in a cgroup.
pub(super) struct Nginx {
    process: Guarded,
    at: SocketAddr,
    /// Address of the TLS listener, with its certificate, if there is one.
    tls: Option<(SocketAddr, Certificate)>,
    _folder: tempfile::TempDir,
}

impl Nginx {
    /// Starts nginx on a processor and waits until it listens; with `encrypts`, also at a second address with TLS.
    pub(super) fn start(encrypts: bool, cgroup: &Path, cpu: usize) -> Result<Self> {
        let folder = tempfile::tempdir().map_err(TestError::io("make a folder"))?;
        let free = || Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?)));
        let at = free()?;
        let tls = if encrypts { Some((free()?, Certificate::new()?)) } else { None };
        configure(folder.path(), at, tls.as_ref())?;
        let mut command = child::command_in(cgroup, cpu, "nginx");
        command.arg("-p").arg(folder.path()).args(["-e", "errors", "-c", "nginx.conf"]);
        let process = Guarded::start(&mut command)?;
        wait::until("nginx to listen", LIMIT, || {
            Ok(TcpStream::connect(at).map(drop).map_err(|error| error.to_string()))
        })?;
        Ok(Self { process, at, tls, _folder: folder })
    }

    /// Address of the listener without TLS.
    pub(super) fn at(&self) -> SocketAddr {
        self.at
    }
}

/// An nginx, and a wrk outside its cgroup. Both are stopped between slices.
pub(super) struct Server {
    nginx: Nginx,
    wrk: Guarded,
    /// Number of bytes that nginx writes for a request.
    response: f64,
    begun: (Instant, f64),
}

impl Server {
    /// Starts nginx and wrk, and stops both (SIGSTOP). With `keep_alive`, requests share connections; otherwise each
    /// has its own.
    pub(super) fn start(page: Page, keep_alive: bool, cgroup: &Path, cpu: usize) -> Result<Self> {
        let nginx = Nginx::start(matches!(page, Page::Encrypted), cgroup, cpu)?;
        let connection = if keep_alive { "keep-alive" } else { "close" };
        let before = nginx.process.written()?;
        ask(nginx.at, page, connection).map_err(TestError::io("ask nginx"))?;
        let (scheme, end, more) = match &nginx.tls {
            Some((end, _)) => ("https", *end, RECORD),
            None => ("http", nginx.at, 0.0),
        };
        let response = nginx.process.written()? - before + more;
        let mut command = child::command("taskset");
        command.args(["-c", &cpu.to_string(), "wrk", "-t", "1", "-c", CONNECTIONS, "-d", "3600"]);
        command.args(["-H", &format!("Connection: {connection}"), "-H", "Accept-Encoding: gzip"]);
        command.arg(format!("{scheme}://{end}/{}", page.path()));
        let wrk = Guarded::start(&mut command)?;
        // Waits until wrk's connections are open and warm.
        let warm = before + response * 200.0;
        wait::until("wrk to ask nginx", LIMIT, || {
            let written = nginx.process.written()?;
            Ok(if written > warm { Ok(()) } else { Err(format!("{written} bytes")) })
        })?;
        wrk.signal(Signal::STOP)?;
        nginx.process.signal(Signal::STOP)?;
        Ok(Self { nginx, wrk, response, begun: (Instant::now(), 0.0) })
    }

    /// Lets wrk send requests for this long; returns their number.
    pub(super) fn serve(&mut self, slice: Duration) -> Result<f64> {
        self.begin()?;
        Ok(self.stop_after(slice)?.1)
    }

    /// Stops nginx and wrk at the end of a slice of this length; returns its actual length and the number of requests.
    fn stop_after(&mut self, slice: Duration) -> Result<(Duration, f64)> {
        let (begin, before) = self.begun;
        // The slice is prolonged until nginx has written something, in case other processes kept both from the
        // processor.
        while begin.elapsed() < slice
            || self.nginx.process.written()? <= before && begin.elapsed() < slice + LIMIT
        {
            thread::sleep(slice.saturating_sub(begin.elapsed()).max(Duration::from_millis(1)));
        }
        self.wrk.signal(Signal::STOP)?;
        self.nginx.process.signal(Signal::STOP)?;
        let took = begin.elapsed();
        let requests = (self.nginx.process.written()? - before) / self.response;
        if requests > 0.0 {
            return Ok((took, requests));
        }
        Err(TestError::unexpected("nginx", format!("it answered nothing for {took:?}")))
    }
}

impl Worker for Server {
    fn begin(&mut self) -> Result<()> {
        self.begun = (Instant::now(), self.nginx.process.written()?);
        self.nginx.process.signal(Signal::CONT)?;
        self.wrk.signal(Signal::CONT)
    }

    fn end(&mut self) -> Result<f64> {
        let (took, requests) = self.stop_after(SLICE)?;
        Ok(took.as_nanos() as f64 / requests)
    }
}

fn configure(folder: &Path, at: SocketAddr, tls: Option<&(SocketAddr, Certificate)>) -> Result<()> {
    let tls = tls.map_or_else(String::new, |(at, certificate)| {
        let (file, key) = (certificate.certificate(), certificate.key());
        format!("listen {at} ssl; ssl_certificate {}; ssl_certificate_key {};", file.display(), key.display())
    });
    let text = format!(
        "daemon off; master_process off; pid nginx.pid; error_log errors;\n\
         worker_rlimit_nofile {MOST_CONNECTIONS}; events {{ worker_connections {MOST_CONNECTIONS}; }}\n\
         http {{\n\
         access_log off; sendfile on; keepalive_requests 1000000000; keepalive_timeout 1h;\n\
         client_body_temp_path a; proxy_temp_path b; fastcgi_temp_path c; uwsgi_temp_path d; scgi_temp_path e;\n\
         server {{ listen {at} backlog=4096; {tls} root {}; location = /empty {{ return 200 ok; }}\n\
         location = /text {{ gzip on; gzip_types *; }} }}\n\
         }}\n",
        folder.display()
    );
    let words = ["request", "response", "server", "client", "container", "connection"];
    let prose: String =
        (0..TEXT).map_while(|at| Some(format!("{} {at}, ", words.get(at * at % 7 % 6)?))).collect();
    for (name, content) in
        [("nginx.conf", text.as_str()), ("page", &"x".repeat(FILE)), ("text", &prose[..TEXT])]
    {
        fs::write(folder.join(name), content).map_err(TestError::io(format!("write {name}")))?;
    }
    Ok(())
}

/// Sends one request in wrk's form and reads the response.
fn ask(at: SocketAddr, page: Page, connection: &str) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(at)?;
    write!(
        stream,
        "GET /{} HTTP/1.1\r\nHost: {at}\r\nAccept-Encoding: gzip\r\nConnection: {connection}\r\n\r\n",
        page.path()
    )?;
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

    /// Number of bytes that the process has written to files and sockets.
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
