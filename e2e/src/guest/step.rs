//! A step of the guest's plan: one program, from start to end.

use std::{
    os::unix::process::CommandExt as _,
    process::{Command, Stdio},
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    process::{Pid, Signal, WaitOptions, WaitStatus, kill_process_group, wait},
};

use super::MARK;

/// Runs a program and reports its result to the host: exit status, `signal N`, `timeout` or `error: reason`.
pub(super) fn run(name: &str, program: &str, arguments: &[&str], limit: Duration) {
    println!("{MARK} begin {name}");
    let begin = Instant::now();
    let end = end_of(program, arguments, limit);
    println!("{MARK} end {name} {} s: {end}", begin.elapsed().as_secs());
}

/// Runs a comparison and reports its result to the host: 0, or the difference.
pub(super) fn compare(name: &str, holds: impl FnOnce() -> Result<(), String>) {
    println!("{MARK} begin {name}");
    let begin = Instant::now();
    let end = holds().err().unwrap_or_else(|| "0".to_owned());
    println!("{MARK} end {name} {} s: {end}", begin.elapsed().as_secs());
}

fn end_of(program: &str, arguments: &[&str], limit: Duration) -> String {
    // The program has a process group of its own, so that a program that hangs is killed together with its children.
    let mut command = Command::new(program);
    // The console looks like a terminal, but its output goes to a file, so colors and cursor movements are turned off.
    command.args(arguments).env("TERM", "dumb").env("NO_COLOR", "1").stdin(Stdio::null()).process_group(0);
    let child = command.spawn();
    let child = match child.map(|child| Pid::from_child(&child)) {
        Ok(child) => child,
        Err(error) => return format!("error: cannot start {program}: {error}"),
    };
    let (ended, watched) = channel::<()>();
    let watchdog = thread::spawn(move || {
        let late = watched.recv_timeout(limit) == Err(RecvTimeoutError::Timeout);
        // The program may have ended by itself at that moment; then the signal fails, and it was no timeout.
        late && kill_process_group(child, Signal::KILL).is_ok()
    });
    let status = wait_for(child);
    drop(ended);
    match (watchdog.join(), status) {
        (Ok(true), _) => format!("timeout after {} s", limit.as_secs()),
        (_, Err(error)) => format!("error: cannot wait for {program}: {error}"),
        (_, Ok(status)) => match (status.exit_status(), status.terminating_signal()) {
            (Some(status), _) => status.to_string(),
            (None, signal) => format!("signal {}", signal.unwrap_or_default()),
        },
    }
}

/// Waits for `child` and reaps all orphans meanwhile, as a first process must.
fn wait_for(child: Pid) -> Result<WaitStatus, Errno> {
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == child => return Ok(status),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}
