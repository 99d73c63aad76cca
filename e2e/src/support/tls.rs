//! HTTPS servers and clients that count their own requests, and detection of probes in a process.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use rustix::process::Signal;

pub use super::peer::Counted;
use super::{Result, TestError, process::Process, server::command_in, wait};

/// Time limit of every step: Go compiles its library the first time.
const LIMIT: Duration = Duration::from_secs(300);

/// A certificate for this machine, and its key.
#[derive(Debug)]
pub struct Certificate {
    folder: tempfile::TempDir,
}

impl Certificate {
    /// Creates a certificate with the program `openssl`.
    ///
    /// # Errors
    ///
    /// Fails when `openssl` does.
    pub fn new() -> Result<Self> {
        let folder = tempfile::tempdir().map_err(TestError::io("make a folder"))?;
        let mut command = Command::new("openssl");
        command.args(["req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=localhost"]);
        command.args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]);
        command.args(["-keyout", "key.pem", "-out", "certificate.pem"]).current_dir(folder.path());
        run(&mut command)?;
        Ok(Self { folder })
    }

    /// Path of the certificate.
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("certificate.pem")
    }

    /// Path of the key.
    pub fn key(&self) -> PathBuf {
        self.folder.path().join("key.pem")
    }
}

/// The program of a [`Peer`].
#[derive(Debug)]
pub struct Program {
    command: Vec<PathBuf>,
    _folder: tempfile::TempDir,
}

impl Program {
    /// Compiles the peer that is written in Go, with these flags.
    ///
    /// # Errors
    ///
    /// Fails when the peer does not compile.
    pub fn go(flags: &[&str]) -> Result<Self> {
        let (folder, source) = written("peer.go", include_str!("tls/peer.go"))?;
        let program = folder.path().join("go-peer");
        let mut command = Command::new("go");
        command.arg("build").args(flags).arg("-o").arg(&program).arg(&source);
        command.env("GO111MODULE", "off").current_dir(folder.path());
        run(&mut command)?;
        Ok(Self { command: vec![program], _folder: folder })
    }

    /// Prepares the peer for Node.
    ///
    /// # Errors
    ///
    /// Fails when the peer's file cannot be written.
    pub fn node() -> Result<Self> {
        let (folder, source) = written("peer.js", include_str!("tls/peer.js"))?;
        Ok(Self { command: vec!["node".into(), source], _folder: folder })
    }

    /// Prepares the peer for Python.
    ///
    /// # Errors
    ///
    /// Fails when the peer's file cannot be written.
    pub fn python() -> Result<Self> {
        let (folder, source) = written("peer.py", include_str!("tls/peer.py"))?;
        Ok(Self { command: vec!["python3".into(), source], _folder: folder })
    }

    fn start(&self, cgroup: &Path, arguments: &[&Path]) -> Result<Process> {
        let mut command = command_in(cgroup, self.command[0].to_str().unwrap_or_default());
        command.args(&self.command[1..]).args(arguments);
        Process::start(&mut command)
    }
}

/// A running server or client.
#[derive(Debug)]
pub struct Peer {
    process: Process,
    port: u16,
}

impl Peer {
    /// Starts a server in a cgroup.
    ///
    /// # Errors
    ///
    /// Fails when the server does not start.
    pub fn serve(program: &Program, cgroup: &Path, certificate: &Certificate) -> Result<Self> {
        let arguments = [Path::new("server"), &certificate.certificate(), &certificate.key()];
        let process = program.start(cgroup, &arguments)?;
        let line = process.line(LIMIT)?.unwrap_or_default();
        let port = line.parse().map_err(|_| TestError::unexpected("the port of a server", &line))?;
        Ok(Self { process, port })
    }

    /// Starts a client in a cgroup; it sends its requests once `file` exists.
    ///
    /// # Errors
    ///
    /// Fails when the client cannot be started.
    pub fn connect(
        program: &Program,
        cgroup: &Path,
        port: u16,
        file: &Path,
        requests: u32,
        protocol: &str,
    ) -> Result<Self> {
        let (at, number) = (port.to_string(), requests.to_string());
        let arguments = ["client".as_ref(), at.as_ref(), file, number.as_ref(), protocol.as_ref()];
        Ok(Self { process: program.start(cgroup, &arguments)?, port })
    }

    /// Port of the server.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Id of the process.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Terminates a server; returns its counts.
    ///
    /// # Errors
    ///
    /// Fails when the server does.
    pub fn stop(self) -> Result<Counted> {
        self.process.signal(Signal::TERM)?;
        self.counted()
    }

    /// Waits for the end of a client; returns its counts.
    ///
    /// # Errors
    ///
    /// Fails when the client does.
    pub fn counted(self) -> Result<Counted> {
        let ended = self.process.wait(LIMIT)?;
        if !ended.status.success() {
            return Err(TestError::unexpected(
                "the end of a peer",
                format!("{}: {}", ended.status, ended.stderr),
            ));
        }
        let counted = |line: &String| {
            let mut words = line.split(' ').map(str::to_owned);
            let key = (words.next()?, words.next()?, words.next()?.parse().ok()?);
            Some((key, words.next()?.parse().ok()?))
        };
        let all: Option<Counted> = ended.lines.iter().map(counted).collect();
        all.ok_or_else(|| TestError::unexpected("the counts of a peer", format!("{:?}", ended.lines)))
    }
}

/// Returns whether a process has uprobes in the code of a file whose name contains `name`: a uprobe is a breakpoint in
/// memory that the file does not have.
///
/// # Errors
///
/// Fails when the process has no such code, or the code cannot be read.
pub fn is_probed(pid: u32, name: &str) -> Result<bool> {
    probes(pid, name).map(|probes| probes > 0)
}

/// Returns the number of bytes in which the code in memory differs from the file.
fn probes(pid: u32, name: &str) -> Result<usize> {
    let maps =
        fs::read_to_string(format!("/proc/{pid}/maps")).map_err(TestError::io("read a process's maps"))?;
    let code: Vec<Code<'_>> =
        maps.lines().filter_map(Code::of).filter(|code| code.name().contains(name)).collect();
    if code.is_empty() {
        return Err(TestError::unexpected("the maps of a process", format!("no {name} in {maps}")));
    }
    let differs = |code: &Code<'_>| code.differs(pid).map_err(TestError::io("compare code with its file"));
    code.iter().map(differs).sum()
}

/// An executable mapping of a process.
struct Code<'a> {
    start: u64,
    end: u64,
    offset: u64,
    path: &'a str,
}

impl<'a> Code<'a> {
    fn of(line: &'a str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let (range, permissions, offset) = (words.next()?, words.next()?, words.next()?);
        let (start, end) = range.split_once('-')?;
        let number = |text: &str| u64::from_str_radix(text, 16).ok();
        let path = words.nth(2).filter(|_| permissions.contains('x'))?;
        Some(Self { start: number(start)?, end: number(end)?, offset: number(offset)?, path })
    }

    fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    fn differs(&self, pid: u32) -> io::Result<usize> {
        let length = usize::try_from(self.end - self.start).map_err(io::Error::other)?;
        let (mut in_file, mut in_memory) = (vec![0; length], vec![0; length]);
        // The mapping ends with a whole page, which can extend beyond the end of the file: only bytes of the file are
        // compared.
        let in_file_length = File::open(self.path)?.read_at(&mut in_file, self.offset)?;
        File::open(format!("/proc/{pid}/mem"))?.read_exact_at(&mut in_memory, self.start)?;
        Ok(in_file
            .iter()
            .zip(&in_memory)
            .take(in_file_length)
            .filter(|(file, memory)| file != memory)
            .count())
    }
}

/// Time for which the number of changed bytes must stay the same: the kernel adds the probes one by one.
const STEADY: Duration = Duration::from_millis(300);

/// Waits until a process has probes in the code of the file `name` if `there` is set, or has none there otherwise.
///
/// # Errors
///
/// Fails when that does not happen in time.
pub fn await_probes(pid: u32, name: &str, there: bool) -> Result<()> {
    let (mut last, mut since) = (None, Instant::now());
    wait::until("the probes to come or go", LIMIT, || {
        let now = probes(pid, name).ok();
        if now != last {
            (last, since) = (now, Instant::now());
        }
        let is_so = now.is_some_and(|probes| (probes > 0) == there);
        let is_steady = !there || since.elapsed() >= STEADY;
        Ok(if is_so && is_steady { Ok(()) } else { Err(format!("{name}: {now:?} bytes of probes")) })
    })
}

fn written(name: &str, source: &str) -> Result<(tempfile::TempDir, PathBuf)> {
    let folder = tempfile::tempdir().map_err(TestError::io("make a folder"))?;
    let path = folder.path().join(name);
    fs::write(&path, source).map_err(TestError::io(format!("write {name}")))?;
    Ok((folder, path))
}

fn run(command: &mut Command) -> Result<()> {
    let ended = Process::start(command)?.wait(LIMIT)?;
    if ended.status.success() {
        Ok(())
    } else {
        Err(TestError::unexpected(format!("{command:?}"), ended.stderr))
    }
}
