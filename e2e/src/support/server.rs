//! Real HTTP servers and clients, and the logs that they write themselves.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::Command,
    time::Duration,
};

use rustix::process::Signal;

use super::{Result, TestError, needs, process::Process, tls::Certificate, wait};

/// Time limit of a server or a client.
const LIMIT: Duration = Duration::from_secs(60);

/// Returns a command that first joins a cgroup.
pub fn command_in(cgroup: &Path, program: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "echo 0 >\"$0/cgroup.procs\" && exec \"$@\""]).arg(cgroup).arg(program);
    command
}

/// Returns whether all of these programs are installed; if not, the calling test is [skipped](needs::skip).
pub fn installed(programs: &[&str]) -> bool {
    let missing: Vec<&str> =
        programs.iter().copied().filter(|program| needs::in_path(program).is_none()).collect();
    if !missing.is_empty() {
        needs::skip(format!(
            "not installed: {}; scripts/setup.sh installs what tests use",
            missing.join(", ")
        ));
    }
    missing.is_empty()
}

/// Finds a port of this machine on which nothing listens.
///
/// # Errors
///
/// Fails when no port is free.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(TestError::io("find a port"))?;
    Ok(listener.local_addr().map_err(TestError::io("find a port"))?.port())
}

fn await_listener(at: SocketAddr) -> Result<()> {
    wait::until("the server to listen", LIMIT, || {
        Ok(TcpStream::connect(at).map(drop).map_err(|error| error.to_string()))
    })
}

/// An nginx that serves a folder with one file, `page`, which it also sends slowly at `/slow`, a redirection at
/// `/moved` and an error at `/broken`. HTTP/1 and HTTP/2 have an address each, both with TLS if there is a certificate.
#[derive(Debug)]
pub struct Nginx {
    process: Process,
    folder: tempfile::TempDir,
    at: SocketAddr,
    http2_at: SocketAddr,
    scheme: &'static str,
}

/// A request as nginx logged it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "nginx documents its variables")]
pub struct NginxRequest {
    pub pid: u32,
    pub remote_port: u16,
    pub method: String,
    pub path: String,
    pub status: u16,
    pub bytes_sent: u64,
}

impl Nginx {
    /// Starts nginx in a cgroup: a parent process, and one worker that serves.
    ///
    /// # Errors
    ///
    /// Fails when nginx does not start.
    pub fn start(cgroup: &Path) -> Result<Self> {
        Self::start_as(cgroup, "sendfile on;", None)
    }

    /// Starts nginx as [`Nginx::start`] does, with directives for the `http` block.
    ///
    /// # Errors
    ///
    /// Fails when nginx does not start.
    pub fn start_with(cgroup: &Path, directives: &str) -> Result<Self> {
        Self::start_as(cgroup, directives, None)
    }

    /// Starts nginx as [`Nginx::start`] does, with TLS and this certificate.
    ///
    /// # Errors
    ///
    /// Fails when nginx does not start.
    pub fn start_tls(cgroup: &Path, certificate: &Certificate) -> Result<Self> {
        Self::start_as(cgroup, "sendfile on;", Some(certificate))
    }

    fn start_as(cgroup: &Path, directives: &str, certificate: Option<&Certificate>) -> Result<Self> {
        let folder = tempfile::tempdir().map_err(TestError::io("make a folder"))?;
        let (ssl, files) = certificate.map_or_else(Default::default, |certificate| {
            let (file, key) = (certificate.certificate(), certificate.key());
            ("ssl", format!("ssl_certificate {}; ssl_certificate_key {};", file.display(), key.display()))
        });
        let [at, http2_at] =
            [free_port()?, free_port()?].map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let text = format!(
            "daemon off; user root; worker_processes 1; pid nginx.pid; error_log errors; events {{}}\n\
             http {{\n\
             log_format exact '$pid $remote_port $request_method $uri $status $bytes_sent $request_time';\n\
             access_log requests exact; {directives}\n\
             client_body_temp_path a; proxy_temp_path b; fastcgi_temp_path c; uwsgi_temp_path d; scgi_temp_path e;\n\
             {files}\n\
             server {{ listen {at} {ssl}; listen {http2_at} {ssl} http2; root {};\n\
             location /moved {{ return 301 /page; }} location /broken {{ return 503; }}\n\
             location /slow {{ alias page; limit_rate 400k; }} }}\n\
             }}\n",
            folder.path().display()
        );
        for (name, content) in [("nginx.conf", text), ("page", "x".repeat(100_000))] {
            fs::write(folder.path().join(name), content).map_err(TestError::io(format!("write {name}")))?;
        }
        let mut command = command_in(cgroup, "nginx");
        command.arg("-p").arg(folder.path()).args(["-e", "errors", "-c", "nginx.conf"]);
        let scheme = if certificate.is_some() { "https" } else { "http" };
        let nginx = Self { process: Process::start(&mut command)?, folder, at, http2_at, scheme };
        await_listener(at)?;
        await_listener(http2_at)?;
        Ok(nginx)
    }

    /// Process id of the parent of the worker.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Makes nginx reload its configuration, which replaces the worker; returns the process id of the new one.
    ///
    /// # Errors
    ///
    /// Fails when no new worker appears.
    pub fn reload(&self) -> Result<u32> {
        let workers = || {
            let path = format!("/proc/{0}/task/{0}/children", self.pid());
            let text = fs::read_to_string(path).map_err(TestError::io("list the processes of nginx"))?;
            Ok(text.split_ascii_whitespace().filter_map(|pid| pid.parse::<u32>().ok()).collect::<Vec<_>>())
        };
        let before = workers()?;
        self.process.signal(Signal::HUP)?;
        wait::until("nginx to reload", LIMIT, || match workers()?.as_slice() {
            [worker] if !before.contains(worker) => Ok(Ok(*worker)),
            others => Ok(Err(format!("{others:?}, as {before:?} before"))),
        })
    }

    /// URL of a path with HTTP/1.
    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.at)
    }

    /// URL of a path at the address for HTTP/2.
    pub fn http2_url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.http2_at)
    }

    /// Stops nginx after it has answered everything; returns the logged requests in order.
    ///
    /// # Errors
    ///
    /// Fails when nginx does not end, or its log has another form.
    pub fn stop(self) -> Result<Vec<NginxRequest>> {
        Ok(self.stop_timed()?.into_iter().map(|(request, _)| request).collect())
    }

    /// Stops nginx as [`Nginx::stop`] does; also returns the time of each request from the first byte that nginx read
    /// to the last one that it sent, in whole milliseconds.
    ///
    /// # Errors
    ///
    /// Fails as [`Nginx::stop`] does.
    pub fn stop_timed(self) -> Result<Vec<(NginxRequest, Duration)>> {
        self.process.signal(Signal::QUIT)?;
        self.process.wait(LIMIT)?;
        let log = fs::read_to_string(self.folder.path().join("requests"))
            .map_err(TestError::io("read the log of nginx"))?;
        let request = |line: &str| {
            let mut fields = line.split(' ');
            let mut next = || fields.next().unwrap_or_default();
            let request = NginxRequest {
                pid: next().parse().ok()?,
                remote_port: next().parse().ok()?,
                method: next().to_owned(),
                path: next().to_owned(),
                status: next().parse().ok()?,
                bytes_sent: next().parse().ok()?,
            };
            Some((request, Duration::try_from_secs_f64(next().parse().ok()?).ok()?))
        };
        log.lines()
            .map(|line| request(line).ok_or_else(|| TestError::unexpected("a line of nginx's log", line)))
            .collect()
    }
}

/// The HTTP server of Python's library, which serves a folder with one file, `page`.
#[derive(Debug)]
pub struct Python {
    process: Process,
    _folder: tempfile::TempDir,
    at: SocketAddr,
}

impl Python {
    /// Starts the server in a cgroup.
    ///
    /// # Errors
    ///
    /// Fails when the server does not start.
    pub fn start(cgroup: &Path) -> Result<Self> {
        let folder = tempfile::tempdir().map_err(TestError::io("make a folder"))?;
        fs::write(folder.path().join("page"), "hello\n").map_err(TestError::io("write a page"))?;
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let mut command = command_in(cgroup, "python3");
        command.args(["-u", "-m", "http.server", "--bind", "127.0.0.1", "--directory"]).arg(folder.path());
        command.arg(at.port().to_string());
        let python = Self { process: Process::start(&mut command)?, _folder: folder, at };
        await_listener(at)?;
        Ok(python)
    }

    /// URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.at)
    }

    /// Stops the server; returns method, target and status of the logged requests in order.
    ///
    /// # Errors
    ///
    /// Fails when the server does not end.
    pub fn stop(self) -> Result<Vec<(String, String, u16)>> {
        self.process.signal(Signal::INT)?;
        let log = self.process.wait(LIMIT)?.stderr;
        // 127.0.0.1 - - [01/Jan/2026 00:00:00] "GET /page HTTP/1.1" 200 -
        let request = |line: &str| {
            let (_, rest) = line.split_once("] \"")?;
            let (request, after) = rest.split_once("\" ")?;
            let mut words = request.split(' ');
            let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
            Some((method, target, after.split(' ').next()?.parse().ok()?))
        };
        Ok(log.lines().filter_map(request).collect())
    }
}

/// A request as curl reports it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asked {
    /// Method of the request.
    pub method: String,
    /// Status of the response; 0 if there was none.
    pub status: u16,
    /// Local port of the request.
    pub local_port: u16,
    /// Number of bytes of the request; `None` if it has a body, because versions of curl count those differently.
    pub request_bytes: Option<u64>,
    /// Number of bytes of the response, head and body.
    pub response_bytes: u64,
}

/// Format of the line that curl writes after each request.
const ASKED: &str =
    "%{method} %{http_code} %{local_port} %{size_request} %{size_upload} %{size_header} %{size_download}\\n";

/// Runs curl in a cgroup with these arguments and URLs; connections are reused as far as possible.
///
/// # Errors
///
/// Fails when curl cannot be run, or reports nothing for a request. Requests may fail.
pub fn curl(cgroup: &Path, arguments: &[&str], urls: &[String]) -> Result<Vec<Asked>> {
    let mut command = command_in(cgroup, "curl");
    command.args(["-s", "-w", ASKED]);
    command.args(arguments);
    for url in urls {
        command.args(["-o", "/dev/null", url]);
    }
    let ended = Process::start(&mut command)?.wait(LIMIT)?;
    let asked = |line: &String| {
        let mut words = line.split(' ');
        let mut next = || words.next().unwrap_or_default();
        let (method, status, local_port) = (next().to_owned(), next().parse().ok()?, next().parse().ok()?);
        let mut bytes = || next().parse::<u64>().ok();
        let (request_head, request_body) = (bytes()?, bytes()?);
        let request_bytes = (request_body == 0).then_some(request_head);
        let response_bytes = bytes()? + bytes()?;
        Some(Asked { method, status, local_port, request_bytes, response_bytes })
    };
    let asked: Option<Vec<Asked>> = ended.lines.iter().map(asked).collect();
    asked.filter(|asked| asked.len() == urls.len()).ok_or_else(|| {
        TestError::unexpected("the words of curl", format!("{:?} {}", ended.lines, ended.stderr))
    })
}
