//! Real HTTP servers and clients, with the logs that they write themselves.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::Command,
    time::Duration,
};

use rustix::process::Signal;

use super::{Result, TestError, needs, process::Process, tls::Certificate, wait};

/// How long a server or a client may take.
const LIMIT: Duration = Duration::from_secs(60);

/// A command that runs in a cgroup.
pub fn command_in(cgroup: &Path, program: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "echo 0 >\"$0/cgroup.procs\" && exec \"$@\""]).arg(cgroup).arg(program);
    command
}

/// Whether all of these programs are installed; the calling test is [skipped](needs::skip) otherwise.
pub fn installed(programs: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there = |program: &str| std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    let missing: Vec<&str> = programs.iter().copied().filter(|program| !there(program)).collect();
    if !missing.is_empty() {
        needs::skip(format!(
            "not installed: {}; scripts/setup.sh installs what tests use",
            missing.join(", ")
        ));
    }
    missing.is_empty()
}

/// A port of this machine on which nothing listens.
///
/// # Errors
///
/// When there is none.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(TestError::io("find a port"))?;
    Ok(listener.local_addr().map_err(TestError::io("find a port"))?.port())
}

fn await_listener(at: SocketAddr) -> Result<()> {
    wait::until("the server to listen", LIMIT, || {
        Ok(TcpStream::connect(at).map(drop).map_err(|error| error.to_string()))
    })
}

/// An nginx that serves a folder with one file, `page`, `/moved` as a redirection and `/broken` as a failure. It speaks
/// HTTP/1, and at a second address HTTP/2; with a certificate both by TLS.
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
    /// Starts it in a cgroup: one process that serves, and one that is its parent.
    ///
    /// # Errors
    ///
    /// When it does not come up.
    pub fn start(cgroup: &Path) -> Result<Self> {
        Self::start_as(cgroup, "sendfile on;", None)
    }

    /// As [`Nginx::start`], with these directives of its `http` block.
    ///
    /// # Errors
    ///
    /// When it does not come up.
    pub fn start_with(cgroup: &Path, directives: &str) -> Result<Self> {
        Self::start_as(cgroup, directives, None)
    }

    /// As [`Nginx::start`], with this certificate.
    ///
    /// # Errors
    ///
    /// When it does not come up.
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

    /// Id of the parent of the process that serves.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Has it read its configuration again: the process that serves is another one then, whose id is returned.
    ///
    /// # Errors
    ///
    /// When no other process comes in its place.
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

    /// The address of a path.
    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.at)
    }

    /// The address of a path where HTTP/2 is spoken.
    pub fn http2_url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.http2_at)
    }

    /// Stops it when it has answered everything; what it logged, in order.
    ///
    /// # Errors
    ///
    /// When it does not end, or its log is not as expected.
    pub fn stop(self) -> Result<Vec<NginxRequest>> {
        Ok(self.stop_timed()?.into_iter().map(|(request, _)| request).collect())
    }

    /// As [`Nginx::stop`], with the time from the first byte that nginx read to the last one that it sent, of which its clock
    /// counts milliseconds.
    ///
    /// # Errors
    ///
    /// As [`Nginx::stop`].
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

/// Python's own server, of a folder with one file, `page`.
#[derive(Debug)]
pub struct Python {
    process: Process,
    _folder: tempfile::TempDir,
    at: SocketAddr,
}

impl Python {
    /// Starts it in a cgroup.
    ///
    /// # Errors
    ///
    /// When it does not come up.
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

    /// The address of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.at)
    }

    /// Stops it; method, target and status of the requests that it logged, in order.
    ///
    /// # Errors
    ///
    /// When it does not end.
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

/// What curl tells of a request that it made.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asked {
    /// The method.
    pub method: String,
    /// The status, 0 without a response.
    pub status: u16,
    /// The port that it asked from.
    pub local_port: u16,
    /// Bytes of a request without a body. With one, versions of curl differ in what they count.
    pub request_bytes: Option<u64>,
    /// Bytes of the response, head and body.
    pub response_bytes: u64,
}

/// What curl writes after each request.
const ASKED: &str =
    "%{method} %{http_code} %{local_port} %{size_request} %{size_upload} %{size_header} %{size_download}\\n";

/// Runs curl in a cgroup with these arguments, which name the addresses; one connection serves all that it can.
///
/// # Errors
///
/// When it cannot be run or says nothing of a request. Whether the requests succeed does not matter.
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
