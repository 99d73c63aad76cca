//! The CSV and the live screen of `top`, which show the same numbers as its JSON.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use rustix::process::Signal;
use traffictrace_crd::human;
use traffictrace_e2e::support::{Result, TestError, needs::Host, process::Process, workload::Workload};

use crate::setup::{self, client, seed, text};

const LIMIT: Duration = Duration::from_secs(60);

/// The lines of the last interval add up to what each process counted.
#[test]
fn csv_adds_up_to_what_the_processes_counted() -> Result<()> {
    let Some((host, cgroup)) = setup::cgroup() else { return Ok(()) };
    let mut command = Command::new(&host.traffictrace);
    command.args(["top", "-o", "csv", "--interval", "1s", "--cgroup", text(cgroup.path())]);
    let top = Process::start(&mut command)?;
    // The heading is printed with the first interval.
    let header = top.line(LIMIT)?.unwrap_or_default();
    assert!(header.starts_with("time,namespace,pod,node,container,callerContainer,pid,"), "{header}");
    let column = |name: &str| header.split(',').position(|column| column == name);
    let (Some(pid), Some(rx), Some(tx)) = (column("pid"), column("rxBytes"), column("txBytes")) else {
        return Err(TestError::unexpected("the columns", header));
    };
    let (server, at) = Workload::server(&cgroup.child("server")?, "127.0.0.1:0", &[])?;
    let arguments = ["--connections", "50", "--concurrency", "4", "--seed", &seed()];
    let counted = [client(&cgroup.child("client")?, at, &arguments)?, server.stop()?].concat();
    top.signal(Signal::INT)?;
    let ended = top.wait(LIMIT)?;
    assert!(ended.status.success(), "{}: {}", ended.status, ended.stderr);
    let time = |line: &str| line.split(',').next().unwrap_or_default().to_owned();
    let last = ended.lines.last().map(|line| time(line)).unwrap_or_default();
    let mut shown: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for line in ended.lines.iter().filter(|line| time(line) == last) {
        let cells: Vec<_> = line.split(',').collect();
        let number = |place: usize| cells.get(place).and_then(|cell| cell.parse::<u64>().ok());
        let (Some(rx), Some(tx)) = (number(rx), number(tx)) else {
            return Err(TestError::unexpected("a line of CSV", line));
        };
        let sum = shown.entry(cells[pid].to_owned()).or_default();
        *sum = (sum.0 + rx, sum.1 + tx);
    }
    // The line for flows that are not listed has no process.
    assert_eq!(shown.remove(""), Some((0, 0)), "{shown:?}");
    let counted: BTreeMap<_, _> =
        counted.iter().map(|line| (line.pid.to_string(), (line.rx_bytes, line.tx_bytes))).collect();
    assert_eq!(shown, counted);
    Ok(())
}

/// `top` on a terminal of its own.
struct Terminal {
    child: Child,
    keys: ChildStdin,
    screen: ChildStdout,
}

impl Terminal {
    fn start(host: &Host, cgroup: &Path) -> Result<Self> {
        let top = format!("{} top --interval 1s --cgroup {}", host.traffictrace.display(), text(cgroup));
        let mut command = Command::new("timeout");
        // `script` gives the command a terminal of its own.
        command.args(["60", "script", "--quiet", "--return", "--flush", "--command", &top, "/dev/null"]);
        command.env("TERM", "xterm-256color").env("LANG", "C.UTF-8").env_remove("NO_COLOR");
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(TestError::io("start a terminal"))?;
        let (Some(keys), Some(screen)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(TestError::unexpected("the terminal", "it has no input or output"));
        };
        Ok(Self { child, keys, screen })
    }

    fn press(&mut self, keys: &str) -> Result<()> {
        self.keys.write_all(keys.as_bytes()).map_err(TestError::io("press keys"))
    }

    /// Reads what the terminal draws from now on, until it contains a text.
    fn see(&mut self, wanted: &str) -> Result<()> {
        let (mut seen, mut bytes) = (Vec::new(), [0; 4096]);
        while !String::from_utf8_lossy(&seen).contains(wanted) {
            match self.screen.read(&mut bytes).map_err(TestError::io("read the screen"))? {
                0 => return Err(TestError::unexpected("the screen", String::from_utf8_lossy(&seen))),
                length => seen.extend_from_slice(&bytes[..length]),
            }
        }
        Ok(())
    }

    /// Presses `q`; returns the last picture.
    fn quit(mut self) -> Result<String> {
        self.press("q")?;
        let mut rest = String::new();
        self.screen.read_to_string(&mut rest).map_err(TestError::io("read the screen"))?;
        drop(self.keys);
        let status = self.child.wait().map_err(TestError::io("wait for the terminal"))?;
        assert!(status.success(), "{status}");
        // After the return to the normal screen (DECRST 1049), the last picture is printed as text.
        let (_, text) = rest.split_once("\u{1b}[?1049l").unwrap_or_default();
        Ok(text.to_owned())
    }
}

/// On a terminal, `top` shows the live screen until `q`, and leaves its last picture as text.
#[test]
fn a_terminal_has_the_live_screen() -> Result<()> {
    let Some((host, cgroup)) = setup::cgroup() else { return Ok(()) };
    let (server, at) = Workload::server(&cgroup.child("server")?, "127.0.0.1:0", &["--comm", "answering"])?;
    let mut terminal = Terminal::start(&host, cgroup.path())?;
    terminal.see("LIVE")?;
    client(&cgroup.child("client")?, at, &["--connections", "5", "--comm", "asking", "--seed", &seed()])?;
    terminal.see("asking")?;
    let text = terminal.quit()?;
    assert!(["asking", "answering", "TOTAL/s"].iter().all(|word| text.contains(word)), "{text}");
    server.stop()?;
    Ok(())
}

/// The screen lists only some of many connections; the rows of processes have the bytes of all connections.
#[test]
fn processes_on_the_screen_have_the_bytes_of_all_their_connections() -> Result<()> {
    let Some((host, cgroup)) = setup::cgroup() else { return Ok(()) };
    let traced = cgroup.child("traced")?;
    let (server, at) = Workload::server(&traced, "127.0.0.1:0", &["--comm", "answering"])?;
    let mut terminal = Terminal::start(&host, &traced)?;
    terminal.see("LIVE")?;
    let work = ["--connections", "3000", "--concurrency", "4", "--comm", "asking", "--seed", &seed()];
    let (asking, answering) = (client(&traced, at, &work)?, server.stop()?);
    // The trace ends with its cgroup, and the screen then shows the last byte.
    fs::remove_dir(&traced).map_err(TestError::io("remove the cgroup"))?;
    terminal.see("COMPLETED")?;
    // These keys show totals, with every digit.
    terminal.press("tuu")?;
    let text = terminal.quit()?;
    for (name, lines) in [("asking", asking), ("answering", answering)] {
        let rx: u64 = lines.iter().map(|line| line.rx_bytes).sum();
        let tx: u64 = lines.iter().map(|line| line.tx_bytes).sum();
        let row = text.lines().find(|line| line.contains(name)).unwrap_or_default();
        for bytes in [rx, tx] {
            assert!(row.contains(&format!(" {} B", human::count(bytes))), "{name} {bytes}: {text}");
        }
    }
    Ok(())
}
