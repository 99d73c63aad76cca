//! Programs whose sending and receiving functions are known, and `traffictrace flamegraph` beside them.

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

/// How long anything here may take: compilers and runtimes are slow the first time.
const LIMIT: Duration = Duration::from_secs(300);
/// Bytes that a [`Sink`] sends to each client.
pub const ANSWER: u64 = 10_000;

/// A server that reads each connection to its end, and sends [`ANSWER`] bytes then. It goes on as long as the test does.
#[derive(Debug)]
pub struct Sink {
    port: u16,
}

impl Sink {
    /// Begins to listen.
    ///
    /// # Errors
    ///
    /// When there is no port.
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

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

fn drain(mut stream: TcpStream) -> io::Result<()> {
    let mut bytes = [0; 1 << 16];
    while stream.read(&mut bytes)? > 0 {}
    stream.write_all(&vec![0; ANSWER as usize])
}

/// A program that sends by two functions and receives by a third.
#[derive(Debug)]
pub struct Sender {
    command: Vec<PathBuf>,
    /// It moves to its cgroup by itself, whose folder is an argument before the usual ones. Others are moved by a shell.
    moves_itself: bool,
    /// Its own; runtimes write into the folder that they are started in.
    folder: tempfile::TempDir,
}

/// Bytes by the names of the functions in C: `send_small`, `send_large`, `receive_all`; those of `soak.c` by `sent` and
/// `received`.
pub type Moved = BTreeMap<String, u64>;

impl Sender {
    /// Compiles one: a file of the folder `stacks` by a command, whose arguments before the file and its output are given.
    ///
    /// # Errors
    ///
    /// When it does not compile.
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

    /// One that a program runs, with its arguments before the file.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn interpreted(file: &str, program: &[&str]) -> Result<Self> {
        let (folder, source) = written(file)?;
        let command = program.iter().map(PathBuf::from).chain([source]).collect();
        Ok(Self { command, moves_itself: false, folder })
    }

    /// One that is there already, with its arguments before the usual ones. It moves to its cgroup by itself, whose folder is
    /// the argument after its own.
    ///
    /// # Errors
    ///
    /// When there is no room for its folder.
    pub fn existing(program: &Path, arguments: &[&str]) -> Result<Self> {
        let folder = tempfile::tempdir().map_err(TestError::io("make a folder"))?;
        let command = [program.to_owned()].into_iter().chain(arguments.iter().map(PathBuf::from)).collect();
        Ok(Self { command, moves_itself: true, folder })
    }

    /// Starts it in a cgroup. It begins when the file is there.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
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
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.0.pid()
    }

    /// Waits for its end: what its functions have moved.
    ///
    /// # Errors
    ///
    /// When it fails, or does not end.
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

/// What a flame graph shows.
#[derive(Debug)]
pub struct Shown {
    /// The folded stacks: frames from the root on, and bytes.
    pub stacks: Vec<(Vec<String>, u64)>,
    /// What was printed.
    pub printed: Vec<String>,
}

impl FlameGraph {
    /// Starts it, and waits until it traces.
    ///
    /// # Errors
    ///
    /// When it does not come up.
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

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Ctrl-C: what it shows.
    ///
    /// # Errors
    ///
    /// When it does not end with status 0, or its file is not of its form.
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
    /// Bytes of one way, `sent` or `received`, below a function whose name has this part.
    pub fn bytes(&self, way: &str, function: &str) -> u64 {
        self.of(way, |frames| frames.iter().any(|frame| frame.contains(function)))
    }

    /// Bytes of one way in all.
    pub fn total(&self, way: &str) -> u64 {
        self.of(way, |_| true)
    }

    fn of(&self, way: &str, is_wanted: impl Fn(&[String]) -> bool) -> u64 {
        let wanted = self.stacks.iter().filter(|(frames, _)| frames[0] == way && is_wanted(frames));
        wanted.map(|(_, bytes)| bytes).sum()
    }
}
