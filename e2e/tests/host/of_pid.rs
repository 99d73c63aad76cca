//! `top --pid`: the processes whose flows are shown.

use std::{process::Command, time::Duration};

use traffictrace_e2e::support::{Result, process::Process, top::Top, workload::Workload};

use crate::setup::{self, client, compare, seed};

/// Returns the name of a cgroup as a container engine forms it.
fn container_name() -> String {
    format!("docker-{}.scope", "0123456789abcdef".repeat(4))
}

/// For a process of a container, the flows of all processes in the container and below are shown, and no others.
#[test]
fn of_a_container_shows_all_of_its_processes() -> Result<()> {
    let Some((host, cgroup)) = setup::cgroup() else { return Ok(()) };
    let container = cgroup.child(&container_name())?;
    let nested = cgroup.child(&format!("{}/init.scope", container_name()))?;
    let outside = cgroup.child("outside")?;
    let (first, first_at) = Workload::server(&container, "127.0.0.1:0", &["--comm", "first"])?;
    let (second, second_at) = Workload::server(&nested, "127.0.0.1:0", &["--comm", "second"])?;
    let top = Top::start(&host, &["--pid", &first.pid().to_string()])?;
    let arguments = ["--connections", "60", "--concurrency", "2", "--seed", &seed()];
    client(&outside, first_at, &arguments)?;
    client(&outside, second_at, &arguments)?;
    let inside = client(&container, second_at, &arguments)?;
    compare(&[inside, first.stop()?, second.stop()?].concat(), &top.interrupt()?)
}

/// Outside a container, the flows of the process and its descendants are shown, whatever cgroup they are in.
#[test]
fn of_a_plain_process_shows_its_descendants() -> Result<()> {
    let Some((host, cgroup)) = setup::cgroup() else { return Ok(()) };
    let service = cgroup.child("some.service")?;
    let (server, at) = Workload::server(&service, "127.0.0.1:0", &["--fork", "2"])?;
    let (other, other_at) = Workload::server(&service, "127.0.0.1:0", &[])?;
    let top = Top::start(&host, &["--pid", &server.pid().to_string()])?;
    let arguments = ["--connections", "60", "--concurrency", "4", "--seed", &seed()];
    client(&service, at, &arguments)?;
    client(&service, other_at, &arguments)?;
    other.stop()?;
    compare(&server.stop()?, &top.interrupt()?)
}

/// With `--only-pid`, only that process is shown, not its neighbors in the container.
#[test]
fn only_pid_shows_one_process() -> Result<()> {
    let Some((host, cgroup)) = setup::cgroup() else { return Ok(()) };
    let container = cgroup.child(&container_name())?;
    let (one, one_at) = Workload::server(&container, "127.0.0.1:0", &[])?;
    let (other, other_at) = Workload::server(&container, "127.0.0.1:0", &[])?;
    let top = Top::start(&host, &["--pid", &one.pid().to_string(), "--only-pid"])?;
    for at in [one_at, other_at] {
        client(&container, at, &["--connections", "40", "--seed", &seed()])?;
    }
    other.stop()?;
    compare(&one.stop()?, &top.interrupt()?)
}

/// The heading of the table shows whether `--pid` selects a container or a process.
#[test]
fn heading_says_container_or_process() -> Result<()> {
    let Some((host, cgroup)) = setup::cgroup() else { return Ok(()) };
    for (folder, expected) in [(container_name(), "container"), ("some.service".to_owned(), "process")] {
        let (server, _) = Workload::server(&cgroup.child(&folder)?, "127.0.0.1:0", &[])?;
        let mut command = Command::new(&host.traffictrace);
        command.args(["top", "--count", "1", "--pid", &server.pid().to_string()]);
        let ended = Process::start(&mut command)?.wait(Duration::from_secs(30))?;
        let told = ended.lines.join("\n");
        assert!(told.contains(expected), "{folder}: {told}{}", ended.stderr);
        assert!(told.contains(&server.pid().to_string()), "{folder}: {told}");
        server.stop()?;
    }
    Ok(())
}
