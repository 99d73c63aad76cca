//! The ways in which `top` ends, and that nothing stays in the kernel.

use std::{fs, path::Path, process::Command, time::Duration};

use rustix::process::Signal;
use traffictrace_e2e::support::{
    Result, TestError,
    bpf::{self, Objects},
    process::Process,
    top::{Document, Top},
    wait,
    workload::Workload,
};

use crate::setup::{self, client, compare, seed, text};

/// Waits until the kernel has freed the objects, which takes an RCU grace period after the last holder is gone.
fn gone(held: &Objects) -> Result<()> {
    wait::until("the kernel to free every object", Duration::from_secs(10), || {
        let left = held.still_there()?;
        Ok(if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) })
    })
}

/// The document that Ctrl-C prints includes what moved after the last full interval, and nothing stays attached.
#[test]
fn ctrl_c_prints_a_last_complete_interval() -> Result<()> {
    let Some((host, cgroup)) = setup::cgroup() else { return Ok(()) };
    let top = Top::start(&host, &["--cgroup", text(cgroup.path()), "--interval", "5s"])?;
    let held = bpf::held_by(top.pid())?;
    assert!(!held.programs.is_empty() && !held.maps.is_empty(), "top holds {held:?}");
    let (server, at) = Workload::server(&cgroup.child("server")?, "127.0.0.1:0", &[])?;
    let clients = client(&cgroup.child("client")?, at, &["--connections", "50", "--seed", &seed()])?;
    let lines = [clients, server.stop()?].concat();
    compare(&lines, &top.interrupt()?)?;
    gone(&held)
}

/// A killed `top` cannot clean up; the kernel does, since links are freed with their holder.
#[test]
fn kill_leaves_nothing_in_the_kernel() -> Result<()> {
    let Some((host, cgroup)) = setup::cgroup() else { return Ok(()) };
    let top = Top::start(&host, &["--cgroup", text(cgroup.path())])?;
    let held = bpf::held_by(top.pid())?;
    assert!(!held.is_empty(), "top holds {held:?}");
    let (server, at) = Workload::server(cgroup.path(), "127.0.0.1:0", &[])?;
    client(cgroup.path(), at, &["--connections", "5"])?;
    top.kill()?;
    gone(&held)?;
    // The processes that were traced are not affected.
    client(cgroup.path(), at, &["--connections", "5"])?;
    server.stop()?;
    Ok(())
}

/// With `--count`, `top` ends by itself after that number of documents, with status 0.
#[test]
fn count_ends_by_itself() -> Result<()> {
    let Some((host, cgroup)) = setup::cgroup() else { return Ok(()) };
    let mut command = Command::new(&host.traffictrace);
    command.args(["top", "-o", "json", "--count", "2", "--cgroup", text(cgroup.path())]);
    let ended = Process::start(&mut command)?.wait(Duration::from_secs(30))?;
    assert!(ended.status.success(), "{}: {}", ended.status, ended.stderr);
    assert_eq!(ended.lines.len(), 2, "{:?}", ended.lines);
    Ok(())
}

/// With `--pid`, `top` runs as long as a descendant of the process does, and ends with the last of them.
#[test]
fn the_end_of_the_last_descendant_is_told() -> Result<()> {
    let Some((host, _cgroup)) = setup::cgroup() else { return Ok(()) };
    let (reader, writer) = std::io::pipe().map_err(TestError::io("make a pipe"))?;
    let mut command = Command::new("sh");
    // The child ends when the last holder of the pipe's other end closes it.
    command.args(["-c", "exec 3<&0; cat <&3 >/dev/null & exec sleep 600"]).stdin(reader);
    let process = Process::start(&mut command)?;
    drop(command);
    let pid = process.pid().to_string();
    let mut top = Top::start(&host, &["--interval", "1s", "--pid", &pid])?;
    process.signal(Signal::TERM)?;
    // Without the child, `top` would have ended by then.
    for _ in 0..4 {
        top.document()?;
    }
    drop(writer);
    let (_, said) = top.end()?;
    assert!(said.contains(&format!("process {pid} with all its descendants is gone")), "{said}");
    Ok(())
}

/// A service that restarts gets a new cgroup with its old name, and traffic there is counted too. When the name is
/// gone, `top` reports that and ends.
#[test]
fn a_cgroup_made_anew_is_followed_and_its_end_is_told() -> Result<()> {
    let Some((host, cgroup)) = setup::cgroup() else { return Ok(()) };
    let service = cgroup.child("service")?;
    let (server, at) = Workload::server(&cgroup.child("server")?, "127.0.0.1:0", &[])?;
    let mut top = Top::start(&host, &["--cgroup", text(&service), "--interval", "1s"])?;
    let mut lines = client(&service, at, &["--connections", "5", "--seed", &seed()])?;
    let closed = |flows: usize| {
        move |document: &Document| {
            document.flows.len() == flows && document.flows.iter().all(|flow| flow.state == "Closed")
        }
    };
    top.document_where("the first client's connections", closed(5))?;
    remove(&service)?;
    cgroup.child("service")?;
    // `top` looks the cgroup up before each document. The first document may have begun before the change, so the test
    // awaits two.
    for _ in 0..2 {
        top.document()?;
    }
    lines.extend(client(&service, at, &["--connections", "7", "--seed", &seed()])?);
    top.document_where("both clients' connections", closed(12))?;
    remove(&service)?;
    let (document, stderr) = top.end()?;
    compare(&lines, &document)?;
    assert!(stderr.contains("service is gone"), "{stderr}");
    server.stop()?;
    Ok(())
}

/// Removes the empty cgroup at `path`.
fn remove(path: &Path) -> Result<()> {
    fs::remove_dir(path).map_err(TestError::io("remove the cgroup"))
}
