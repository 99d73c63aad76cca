//! `--fork N`: the same work in child processes.
//!
//! A child is a new instance of the same program, since `fork` alone would need `unsafe`. To the kernel, the children
//! look like those of a pre-forking server: separate processes that accept on a socket of their parent.

use std::{
    env,
    io::{BufRead as _, BufReader},
    net::TcpListener,
    os::fd::OwnedFd,
    process::{self, Child, Stdio},
    thread,
};

use rustix::process::{Pid, Signal, kill_process};

use super::{
    WorkloadError,
    cli::{Command, ProcessArgs},
    count::Output,
    server,
    stop::{CALL_TIMEOUT, Stop},
};

/// Runs the children and prints their lines; returns true if each of them did all of its work.
pub(super) fn run(
    process: &ProcessArgs,
    command: &Command,
    stop: &Stop,
    output: &Output,
) -> Result<bool, WorkloadError> {
    let listener = match command {
        Command::Server(args) if args.listen.len() == 1 => server::bind(&args.listen)?.pop(),
        Command::Server(_) => {
            let usage = "--fork takes one --listen ([::]:PORT serves IPv4 too)";
            return Err(WorkloadError::Usage(usage.to_owned()));
        }
        _ => None,
    };
    let mut children = (0..process.fork)
        .map(|number| spawn(process, command, number, listener.as_ref()))
        .collect::<Result<Vec<_>, _>>()?;
    drop(listener);
    thread::scope(|scope| {
        let readers: Vec<_> = children
            .iter_mut()
            .filter_map(|child| child.stdout.take())
            .map(|stdout| {
                scope.spawn(move || {
                    BufReader::new(stdout)
                        .lines()
                        .map_while(Result::ok)
                        .try_for_each(|line| output.write(&format!("{line}\n")))
                })
            })
            .collect();
        while !stop.by_signal() && readers.iter().any(|reader| !reader.is_finished()) {
            thread::sleep(CALL_TIMEOUT);
        }
        if stop.by_signal() {
            terminate(&children);
        }
        readers.into_iter().try_for_each(|reader| {
            reader.join().unwrap_or_else(|_| Err(WorkloadError::Usage("a reader panicked".to_owned())))
        })
    })?;
    let mut complete = true;
    for child in &mut children {
        let status =
            child.wait().map_err(|source| WorkloadError::system("wait for a child process", source))?;
        complete &= status.success();
    }
    Ok(complete)
}

/// Starts this program again with the same arguments, but without `--fork` and with a seed of its own.
fn spawn(
    process: &ProcessArgs,
    command: &Command,
    number: u16,
    listener: Option<&TcpListener>,
) -> Result<Child, WorkloadError> {
    let action = "start a child process";
    let failed = |source| WorkloadError::system(action, source);
    let stdin = match listener {
        Some(listener) => Stdio::from(OwnedFd::from(listener.try_clone().map_err(failed)?)),
        None => Stdio::null(),
    };
    let mut child = process::Command::new(env::current_exe().map_err(failed)?);
    child.args(child_arguments(env::args().skip(1), process, command, number));
    if listener.is_some() {
        child.arg("--inherited-listener");
    }
    child.stdin(stdin).stdout(Stdio::piped()).spawn().map_err(failed)
}

/// Returns the arguments of a child. `--fork` and `--result` are only for the parent; later options override earlier
/// ones, so the seed is appended.
fn child_arguments(
    arguments: impl Iterator<Item = String>,
    process: &ProcessArgs,
    command: &Command,
    number: u16,
) -> Vec<String> {
    let mut kept = Vec::new();
    let mut seed = None;
    let mut arguments = arguments.peekable();
    while let Some(argument) = arguments.next() {
        let (name, inline) = match argument.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (argument.clone(), None),
        };
        match name.as_str() {
            "--fork" | "--result" if inline.is_none() => {
                arguments.next();
            }
            "--fork" | "--result" => {}
            "--seed" => seed = inline.or_else(|| arguments.next()),
            _ => kept.push(argument),
        }
    }
    if matches!(command, Command::Client(_)) {
        let base: u64 = seed.and_then(|seed| seed.parse().ok()).unwrap_or(1);
        let own = base.wrapping_mul(u64::from(process.fork) + 1).wrapping_add(number.into());
        kept.extend(["--seed".to_owned(), own.to_string()]);
    }
    kept
}

fn terminate(children: &[Child]) {
    for pid in children.iter().filter_map(|child| Pid::from_raw(i32::try_from(child.id()).ok()?)) {
        // A child that has already ended needs no signal.
        let _ = kill_process(pid, Signal::TERM);
    }
}
