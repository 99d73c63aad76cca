//! Tests of recordings: they equal the workloads' counts, however the recording ends; they can be replayed, and become a
//! report.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use rustix::process::Signal;
use traffictrace_e2e::support::{
    Result, TestError,
    needs::Host,
    process::{Ended, Process},
    top::Document,
    wait,
    workload::Workload,
};

use crate::setup::{self, client, compare, seed, text};

const LIMIT: Duration = Duration::from_secs(60);

/// Starts a recording and waits for its first line.
fn recording(host: &Host, cgroup: &Path, file: &Path) -> Result<Process> {
    let mut command = Command::new(&host.traffictrace);
    command.args(["record", "--cgroup", text(cgroup), "--interval", "1s", "-o", text(file)]);
    let process = Process::start(&mut command)?;
    wait::until("the first line of the recording", LIMIT, || {
        let lines = fs::read_to_string(file).unwrap_or_default().lines().count();
        Ok(if lines > 0 { Ok(()) } else { Err("no line".to_owned()) })
    })?;
    Ok(process)
}

fn run(host: &Host, arguments: &[&str]) -> Result<Ended> {
    Process::start(Command::new(&host.traffictrace).args(arguments))?.wait(LIMIT)
}

/// Parses the last of some JSON lines.
fn last(lines: &[String]) -> Result<Document> {
    let line = lines.last().map(String::as_str).unwrap_or_default();
    serde_json::from_str(line).map_err(|error| TestError::unexpected("a line", format!("{error}: {line}")))
}

/// A recording of a workload that the test starts; a signal ends the recording.
struct Recorded {
    file: PathBuf,
    lines: Vec<traffictrace_e2e::workload::count::Line>,
    _folder: tempfile::TempDir,
}

fn recorded(
    host: &Host,
    cgroup: &traffictrace_e2e::support::cgroup::Cgroup,
    end: Signal,
) -> Result<Recorded> {
    let folder = tempfile::tempdir().map_err(TestError::io("make a folder"))?;
    let file = folder.path().join("a.jsonl");
    let process = recording(host, cgroup.path(), &file)?;
    let (server, at) = Workload::server(&cgroup.child("server")?, "127.0.0.1:0", &[])?;
    let clients = client(&cgroup.child("client")?, at, &["--connections", "20", "--seed", &seed()])?;
    let lines = [clients, server.stop()?].concat();
    let sum: u64 = lines.iter().map(|line| line.rx_bytes).sum();
    wait::until("the recording to have all bytes", LIMIT, || {
        let text = fs::read_to_string(&file).map_err(TestError::io("read the recording"))?;
        // The last line may be incomplete.
        let whole: Vec<String> =
            text.split_inclusive('\n').filter(|line| line.ends_with('\n')).map(str::to_owned).collect();
        let seen = last(&whole)?.totals.rx_bytes;
        Ok(if seen == sum { Ok(()) } else { Err(format!("{seen} of {sum}")) })
    })?;
    process.signal(end)?;
    let ended = process.wait(LIMIT)?;
    assert_eq!(ended.status.success(), end == Signal::INT, "{}: {}", ended.status, ended.stderr);
    Ok(Recorded { file, lines, _folder: folder })
}

/// The last line includes the last byte. `top --from` shows its numbers, and the page of `report` shows the
/// processes' names.
#[test]
fn a_recording_is_shown_again_and_becomes_a_page() -> Result<()> {
    let Some((host, cgroup)) = setup::cgroup() else { return Ok(()) };
    let recorded = recorded(&host, &cgroup, Signal::INT)?;
    let file = text(&recorded.file);
    let shown = run(&host, &["top", "--from", file, "-o", "json"])?;
    assert!(shown.status.success(), "{}", shown.stderr);
    compare(&recorded.lines, &last(&shown.lines)?)?;
    let written = fs::read_to_string(&recorded.file).map_err(TestError::io("read the recording"))?;
    assert_eq!(written.lines().collect::<Vec<_>>(), shown.lines, "each line as it was written");

    let table = run(&host, &["top", "--from", file, "--count", "1", "--by", "connection"])?;
    assert!(
        table.status.success() && table.lines.iter().any(|line| line.starts_with("TOTAL")),
        "{:?}",
        table.lines
    );

    let page = recorded.file.with_extension("html");
    let made = run(&host, &["report", file, "-o", text(&page), "--title", "<who & what>"])?;
    assert!(made.status.success(), "{}", made.stderr);
    let html = fs::read_to_string(&page).map_err(TestError::io("read the page"))?;
    assert!(
        html.contains("tt-workload") && html.contains("&lt;who") | html.contains("&#60;who"),
        "{html:.300}"
    );
    assert!(!html.contains("<who") && html.len() <= 1 << 20, "{}", html.len());
    Ok(())
}

/// A killed recorder loses nothing that it had written. An incomplete last line is reported, and the lines before it are
/// shown.
#[test]
fn a_killed_recording_is_read_up_to_its_last_line() -> Result<()> {
    let Some((host, cgroup)) = setup::cgroup() else { return Ok(()) };
    let recorded = recorded(&host, &cgroup, Signal::KILL)?;
    let file = text(&recorded.file);
    let shown = run(&host, &["top", "--from", file, "-o", "json"])?;
    assert!(shown.status.success(), "{}", shown.stderr);
    compare(&recorded.lines, &last(&shown.lines)?)?;

    let whole = fs::read(&recorded.file).map_err(TestError::io("read the recording"))?;
    let cut = |bytes: &[u8]| fs::write(&recorded.file, bytes).map_err(TestError::io("cut the recording"));
    cut(&whole[..whole.len() - 20])?;
    let shown_of_cut = run(&host, &["top", "--from", file, "-o", "json"])?;
    assert!(shown_of_cut.status.success(), "{}", shown_of_cut.stderr);
    assert_eq!(shown_of_cut.lines, shown.lines[..shown.lines.len() - 1]);
    assert!(shown_of_cut.stderr.contains(&format!("line {}", shown.lines.len())), "{}", shown_of_cut.stderr);

    cut(b"{\"kind\": \"List\", \"items\": []}\n")?;
    let foreign = run(&host, &["top", "--from", file])?;
    assert!(!foreign.status.success() && foreign.stderr.contains("line 1"), "{}", foreign.stderr);
    Ok(())
}

/// An existing file stays unchanged without `--overwrite`.
#[test]
fn a_file_is_not_overwritten_unasked() -> Result<()> {
    let Some((host, cgroup)) = setup::cgroup() else { return Ok(()) };
    let file = tempfile::NamedTempFile::new().map_err(TestError::io("make a file"))?;
    fs::write(file.path(), "precious").map_err(TestError::io("write a file"))?;
    let arguments =
        ["record", "--cgroup", text(cgroup.path()), "--duration", "300ms", "-o", text(file.path())];
    let refused = run(&host, &arguments)?;
    assert!(!refused.status.success() && refused.stderr.contains("--overwrite"), "{}", refused.stderr);
    assert_eq!(fs::read(file.path()).map_err(TestError::io("read the file"))?, b"precious");
    let done = run(&host, &[&arguments[..], &["--overwrite"]].concat())?;
    assert!(done.status.success(), "{}", done.stderr);
    let lines = fs::read_to_string(file.path()).map_err(TestError::io("read the file"))?;
    last(&lines.lines().map(str::to_owned).collect::<Vec<_>>())?;
    Ok(())
}
