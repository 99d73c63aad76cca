//! `traffictrace flamegraph`: its files compared with the workloads' counts, and its picture in a browser.

mod browser;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use rustix::process::Signal;
use traffictrace_e2e::{
    support::{
        Result, TestError,
        browser::Browser,
        cgroup::Cgroup,
        needs::Host,
        process::Process,
        stacks::{Sender, Sink},
        workload::Workload,
    },
    workload::count::Line,
};

use crate::setup::{self, client, seed, text};

/// Time limit for the command to start to trace, or to write.
const LIMIT: Duration = Duration::from_secs(60);

/// A running command that traces until it is interrupted.
struct Flamegraph {
    process: Process,
}

impl Flamegraph {
    /// Starts the command, and waits until it traces.
    fn start(host: &Host, cgroup: &Cgroup, output: &Path) -> Result<Self> {
        let mut command = Command::new(&host.traffictrace);
        command.args(["flamegraph", "--duration", "5m", "--cgroup", text(cgroup.path()), "-o", text(output)]);
        let process = Process::start_merged(&mut command)?;
        match process.line(LIMIT)? {
            Some(line) if line.starts_with("Tracing ") => Ok(Self { process }),
            other => Err(TestError::unexpected("the first line of flamegraph", format!("{other:?}"))),
        }
    }

    /// Interrupts the command; returns its last line.
    fn interrupt(self) -> Result<String> {
        self.process.signal(Signal::INT)?;
        let ended = self.process.wait(LIMIT)?;
        assert!(ended.status.success(), "{:?}", ended.lines);
        ended.lines.last().cloned().ok_or_else(|| TestError::unexpected("flamegraph", "no last line"))
    }
}

/// Runs the command to its end; returns its standard output, or its standard error if it failed.
fn run(host: &Host, arguments: &[&str]) -> Result<std::result::Result<Vec<String>, String>> {
    let mut command = Command::new(&host.traffictrace);
    let ended = Process::start(command.arg("flamegraph").args(arguments))?.wait(LIMIT)?;
    Ok(if ended.status.success() { Ok(ended.lines) } else { Err(ended.stderr) })
}

/// Number of bytes by direction and process, as the frames of folded text name them.
type Sums = BTreeMap<(String, String), u64>;

fn folded_sums(lines: &[String]) -> Result<Sums> {
    let mut sums = Sums::new();
    for line in lines {
        let read = || {
            let (stack, bytes) = line.rsplit_once(' ')?;
            let way = stack.split(';').next()?;
            let process = stack.split(';').find(|frame| frame.ends_with(')'))?;
            Some(((way.to_owned(), process.to_owned()), bytes.parse::<u64>().ok()?))
        };
        let (key, bytes) = read().ok_or_else(|| TestError::unexpected("a folded line", line))?;
        *sums.entry(key).or_default() += bytes;
    }
    Ok(sums)
}

fn counted(lines: &[Line]) -> Sums {
    let mut sums = Sums::new();
    for line in lines {
        let process = format!("{} ({})", line.command, line.pid);
        for (way, bytes) in [("sent", line.tx_bytes), ("received", line.rx_bytes)] {
            *sums.entry((way.to_owned(), process.clone())).or_default() += bytes;
        }
    }
    sums.retain(|_, bytes| *bytes > 0);
    sums
}

/// Runs a server and a client that exchange random bytes while they are traced into `output`; returns their counts, and
/// the command's last line.
fn exchange(host: &Host, cgroup: &Cgroup, output: &Path) -> Result<(Vec<Line>, String)> {
    let (server, at) = Workload::server(cgroup.path(), "127.0.0.1:0", &[])?;
    let trace = Flamegraph::start(host, cgroup, output)?;
    let client = client(cgroup.path(), at, &["--connections", "40", "--seed", &seed()])?;
    let lines = [client, server.stop()?].concat();
    Ok((lines, trace.interrupt()?))
}

fn folder() -> Result<tempfile::TempDir> {
    tempfile::tempdir().map_err(TestError::io("make a folder"))
}

/// The sum of all stacks equals what each process sent and received, to the byte, also in merged profiles.
#[test]
fn stacks_add_up_to_what_was_moved() -> Result<()> {
    let Some((host, cgroup)) = setup::cgroup() else { return Ok(()) };
    let folder = folder()?;
    let files = ["first.pb.gz", "second.pb.gz"].map(|name| folder.path().join(name));
    let mut lines = Vec::new();
    for file in &files {
        let (counted, last) = exchange(&host, &cgroup, file)?;
        assert!(last.contains(text(file)) && last.contains("at their own call"), "{last}");
        lines.extend(counted);
    }
    let [first, second] = files.each_ref().map(|file| text(file));
    let shown = run(&host, &["--from", first, second, "-o", "-"])?;
    let shown = shown.map_err(|error| TestError::unexpected("merged profiles", error))?;
    assert_eq!(folded_sums(&shown)?, counted(&lines));
    Ok(())
}

#[test]
fn what_cannot_be_written_is_refused_before_tracing() -> Result<()> {
    let Some((host, cgroup)) = setup::cgroup() else { return Ok(()) };
    let folder = folder()?;
    let directory = folder.path().join("there.svg");
    fs::create_dir(&directory).map_err(TestError::io("make a folder"))?;
    for (output, part) in [
        (directory, "no regular file"),
        (folder.path().join("missing/out.svg"), "cannot write"),
        (PathBuf::from("out.png"), ".svg, .folded or .pb.gz"),
    ] {
        let result = run(&host, &["--cgroup", text(cgroup.path()), "-o", text(&output)])?;
        let error = result.err().ok_or_else(|| TestError::unexpected("the output", output.display()))?;
        assert!(error.contains(part) && !error.contains("Tracing"), "{error}");
    }
    Ok(())
}

/// A file that is no profile of ours is named in the error, and the existing output stays.
#[test]
fn files_that_are_no_profiles_are_named() -> Result<()> {
    let Some((host, _cgroup)) = setup::cgroup() else { return Ok(()) };
    let folder = folder()?;
    let (input, output) = (folder.path().join("input.pb.gz"), folder.path().join("out.folded"));
    let write = |path: &Path| fs::write(path, "before").map_err(TestError::io("write a file"));
    write(&input)?;
    write(&output)?;
    let result = run(&host, &["--from", text(&input), "-o", text(&output)])?;
    let error = result.err().ok_or_else(|| TestError::unexpected("the input", "it was taken"))?;
    assert!(error.contains(text(&input)) && error.contains("traffictraceprofiles"), "{error}");
    assert_eq!(fs::read_to_string(&output).map_err(TestError::io("read a file"))?, "before");
    Ok(())
}

/// The picture's own search finds a function, whose share is that of the bytes that it counted; the picture zooms in
/// and out.
#[test]
fn the_picture_searches_and_zooms() -> Result<()> {
    const FUNCTION: &str = "send_large";
    const ROUNDS: u32 = 100;
    let Some((host, cgroup)) = setup::cgroup() else { return Ok(()) };
    let Some(browser) = Browser::find() else { return Ok(()) };
    let folder = folder()?;
    let picture = folder.path().join("out.svg");
    let sender = Sender::compiled("sender.c", &["cc", "-O2", "-fno-optimize-sibling-calls"])?;
    let (sink, go) = (Sink::start()?, setup::Go::new()?);
    let trace = Flamegraph::start(&host, &cgroup, &picture)?;
    let running = sender.start(cgroup.path(), &sink, &go.file(), ROUNDS, fastrand::u32(..))?;
    go.release()?;
    let moved = running.moved()?;
    let last = trace.interrupt()?;
    assert!(last.ends_with("in a browser."), "{last}");
    let all: u64 = moved.values().sum();
    let seen = browser::look(&browser, &picture, FUNCTION)?;
    assert_eq!(seen.error, None, "{seen:?}");
    assert_eq!(seen.total, all, "{seen:?}");
    let share = 100.0 * moved[FUNCTION] as f64 / all as f64;
    assert!((seen.matched - share).abs() <= 0.1, "{share}: {seen:?}");
    assert!(!seen.marked.is_empty() && seen.marked.iter().all(|name| name.starts_with(FUNCTION)), "{seen:?}");
    // After the zoom, the function is as wide as the picture, and frames beside the function are hidden.
    assert_eq!(seen.width, "100.0000%", "{seen:?}");
    assert!(seen.zoomed < seen.before && seen.after == seen.before, "{seen:?}");
    Ok(())
}
