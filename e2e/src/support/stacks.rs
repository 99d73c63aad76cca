//! Programs whose sending and receiving functions are known, and running `traffictrace flamegraph` on them.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use rustix::process::Signal;

use super::{
    Result, TestError,
    needs::Host,
    process::{Ended, Process},
    server::command_in,
};

/// Time limit of every step: compilers and runtimes are slow the first time.
const LIMIT: Duration = Duration::from_secs(300);
/// Number of bytes that a [`Sink`] sends to each client.
pub const ANSWER: u64 = 10_000;

/// A server that reads each connection to its end and then sends [`ANSWER`] bytes. The server runs as long as the test
/// does.
#[derive(Debug)]
pub struct Sink {
    port: u16,
}

impl Sink {
    /// Starts to listen.
    ///
    /// # Errors
    ///
    /// Fails when no port is free.
    pub fn start() -> Result<Self> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(TestError::io("listen for a sender"))?;
        let port = listener.local_addr().map_err(TestError::io("listen for a sender"))?.port();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || drain(stream));
            }
        });
        Ok(Self { port })
    }

    /// Port of the server.
    pub fn port(&self) -> u16 {
        self.port
    }
}

fn drain(mut stream: TcpStream) -> io::Result<()> {
    let mut bytes = [0; 1 << 16];
    while stream.read(&mut bytes)? > 0 {}
    stream.write_all(&vec![0; ANSWER as usize])
}

/// A program that sends by two functions and receives by a third one.
#[derive(Debug)]
pub struct Sender {
    command: Vec<PathBuf>,
    /// True if the program joins its cgroup itself; the cgroup's folder is then an argument before the usual ones.
    /// Other programs are moved by a shell.
    moves_itself: bool,
    /// Working folder of the program, since runtimes write into the folder that they are started in.
    folder: tempfile::TempDir,
}

/// Number of bytes by function, with the names of C: `send_small`, `send_large`, `receive_all`. `soak.c` has only
/// `sent` and `received`.
pub type Moved = BTreeMap<String, u64>;

impl Sender {
    /// Compiles a file of the folder `stacks` by a command; the arguments `-o OUTPUT FILE` follow those given.
    ///
    /// # Errors
    ///
    /// Fails when the file does not compile.
    pub fn compiled(file: &str, compiler: &[&str]) -> Result<Self> {
        let (folder, source) = written(file)?;
        let program = folder.path().join("sender");
        let mut command = Command::new(compiler[0]);
        command.args(&compiler[1..]).arg("-o").arg(&program).arg(&source);
        command.env("GO111MODULE", "off").current_dir(folder.path());
        let ended = Process::start(&mut command)?.wait(LIMIT)?;
        if !ended.status.success() {
            return Err(TestError::unexpected(format!("compiling {file}"), ended.stderr));
        }
        Ok(Self { command: vec![program], moves_itself: false, folder })
    }

    /// Uses an interpreter: `program` is its command line, which a file of the folder `stacks` follows.
    ///
    /// # Errors
    ///
    /// Fails when the file cannot be written.
    pub fn interpreted(file: &str, program: &[&str]) -> Result<Self> {
        let (folder, source) = written(file)?;
        let command = program.iter().map(PathBuf::from).chain([source]).collect();
        Ok(Self { command, moves_itself: false, folder })
    }

    /// Uses an existing program, with its own arguments before the usual ones. The program joins its cgroup itself; the
    /// cgroup's folder is the first argument after its own.
    ///
    /// # Errors
    ///
    /// Fails when the working folder cannot be created.
    pub fn existing(program: &Path, arguments: &[&str]) -> Result<Self> {
        let folder = tempfile::tempdir().map_err(TestError::io("make a folder"))?;
        let command = [program.to_owned()].into_iter().chain(arguments.iter().map(PathBuf::from)).collect();
        Ok(Self { command, moves_itself: true, folder })
    }

    /// Starts the program in a cgroup. It begins to send once `file` exists.
    ///
    /// # Errors
    ///
    /// Fails when the program cannot be started.
    pub fn start(&self, cgroup: &Path, to: &Sink, file: &Path, rounds: u32, seed: u32) -> Result<Running> {
        let mut command = if self.moves_itself {
            let mut command = Command::new(&self.command[0]);
            command.args(&self.command[1..]).arg(cgroup);
            command
        } else {
            let mut command = command_in(cgroup, self.command[0].to_str().unwrap_or_default());
            command.args(&self.command[1..]);
            command
        };
        command.arg(to.port.to_string()).arg(file);
        command.args([rounds.to_string(), seed.to_string()]).current_dir(self.folder.path());
        Ok(Running(Process::start(&mut command)?))
    }
}

fn written(file: &str) -> Result<(tempfile::TempDir, PathBuf)> {
    let text = match file {
        "sender.c" => include_str!("stacks/sender.c"),
        "sender.cpp" => include_str!("stacks/sender.cpp"),
        "sender.rs" => include_str!("stacks/sender.rs"),
        "sender.go" => include_str!("stacks/sender.go"),
        "sender.py" => include_str!("stacks/sender.py"),
        "soak.c" => include_str!("stacks/soak.c"),
        "sender.js" => include_str!("stacks/sender.js"),
        _ => return Err(TestError::unexpected("a program", file)),
    };
    let folder = tempfile::tempdir().map_err(TestError::io("make a folder"))?;
    let path = folder.path().join(file);
    fs::write(&path, text).map_err(TestError::io(format!("write {file}")))?;
    Ok((folder, path))
}

/// A running [`Sender`].
#[derive(Debug)]
pub struct Running(Process);

impl Running {
    /// Process id of the program.
    pub fn pid(&self) -> u32 {
        self.0.pid()
    }

    /// Waits for the end of the program; returns the bytes that its functions have moved.
    ///
    /// # Errors
    ///
    /// Fails when the program fails, or does not end in time.
    pub fn moved(self) -> Result<Moved> {
        let Ended { status, lines, stderr } = self.0.wait(LIMIT)?;
        let line = lines.last().filter(|_| status.success());
        line.and_then(|line| serde_json::from_str(line).ok()).ok_or_else(|| {
            TestError::unexpected("what a sender has moved", format!("{status}: {lines:?}, {stderr}"))
        })
    }
}

/// A running `traffictrace flamegraph`.
#[derive(Debug)]
pub struct FlameGraph {
    process: Process,
    folder: tempfile::TempDir,
}

/// The contents of a flame graph.
#[derive(Debug)]
pub struct Shown {
    /// The folded stacks: frames from the root on, and number of bytes.
    pub stacks: Vec<(Vec<String>, u64)>,
    /// Lines that the command printed.
    pub printed: Vec<String>,
}

impl FlameGraph {
    /// Starts the command, and waits until it traces.
    ///
    /// # Errors
    ///
    /// Fails when the command does not start to trace.
    pub fn start(host: &Host, arguments: &[&str]) -> Result<Self> {
        let folder = tempfile::tempdir().map_err(TestError::io("make a folder"))?;
        let mut command = Command::new(&host.traffictrace);
        command.args(["flamegraph", "--duration", "10m"]).args(arguments);
        command.arg("-o").arg(folder.path().join("out.folded"));
        let process = Process::start_merged(&mut command)?;
        match process.line(LIMIT)? {
            Some(line) if line.starts_with("Tracing ") => Ok(Self { process, folder }),
            other => Err(TestError::unexpected("the start of flamegraph", format!("{other:?}"))),
        }
    }

    /// Process id of the command.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Interrupts the command as Ctrl-C does; returns its flame graph.
    ///
    /// # Errors
    ///
    /// Fails when the command does not end with status 0, or its file has another form.
    pub fn interrupt(self) -> Result<Shown> {
        self.process.signal(Signal::INT)?;
        let ended = self.process.wait(LIMIT)?;
        if !ended.status.success() {
            return Err(TestError::unexpected(
                "the end of flamegraph",
                format!("{}: {:?}", ended.status, ended.lines),
            ));
        }
        let text = fs::read_to_string(self.folder.path().join("out.folded"))
            .map_err(TestError::io("read the folded stacks"))?;
        let parse = |line: &str| {
            let (frames, bytes) = line.rsplit_once(' ')?;
            Some((frames.split(';').map(str::to_owned).collect(), bytes.parse().ok()?))
        };
        let stacks = text
            .lines()
            .map(|line| parse(line).ok_or_else(|| TestError::unexpected("a folded stack", line)))
            .collect::<Result<_>>()?;
        Ok(Shown { stacks, printed: ended.lines })
    }
}

impl Shown {
    /// Returns the number of bytes of one direction, `sent` or `received`, below functions whose name contains
    /// `function`.
    pub fn bytes(&self, way: &str, function: &str) -> u64 {
        self.of(way, |frames| frames.iter().any(|frame| frame.contains(function)))
    }

    /// Returns the number of all bytes of one direction.
    pub fn total(&self, way: &str) -> u64 {
        self.of(way, |_| true)
    }

    fn of(&self, way: &str, is_wanted: impl Fn(&[String]) -> bool) -> u64 {
        let wanted = self.stacks.iter().filter(|(frames, _)| frames[0] == way && is_wanted(frames));
        wanted.map(|(_, bytes)| bytes).sum()
    }
}
