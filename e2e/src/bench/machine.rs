//! The machine: its description for the head of the tables, and the processor that is reserved for the load.

use std::{fs, path::Path, process::Command, thread::available_parallelism};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::support::{Result, TestError};

/// Describes the kernel, the processors and the version of the product.
pub(super) fn describe(product: &Path) -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let release = read("/proc/sys/kernel/osrelease");
    let info = read("/proc/cpuinfo");
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or(std::env::consts::ARCH, |(_, name)| name);
    let cpus = available_parallelism().map_or(1, std::num::NonZero::get);
    let said = |command: &mut Command| {
        let output = command.output().ok().filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let version = said(Command::new(product).arg("--version")).unwrap_or_default();
    let source = ["describe", "--always", "--dirty", "--abbrev=10"];
    let folder = env!("CARGO_MANIFEST_DIR");
    let commit = said(Command::new("git").args(["-C", folder]).args(source)).unwrap_or_default();
    format!("{version} {commit}, Linux {}, {cpus} CPUs ({model})", release.trim())
}

/// Reserves the last processor for the load and returns its number. This process and all that it starts stay on the
/// other processors, so that the product's own work takes no time from the load.
pub(super) fn reserve() -> Result<usize> {
    let failed = |error: rustix::io::Errno| TestError::io("choose processors")(error.into());
    let mut cpus = sched_getaffinity(None).map_err(failed)?;
    let allowed = || (0..CpuSet::MAX_CPU).rev().filter(|cpu| cpus.is_set(*cpu));
    let load = allowed().next().unwrap_or(0);
    if allowed().count() > 1 {
        cpus.unset(load);
        sched_setaffinity(None, &cpus).map_err(failed)?;
    } else {
        println!("There is only one CPU: the product's own work is part of all figures.");
    }
    Ok(load)
}

/// Binds the calling thread, and the threads that it starts, to one processor.
pub(super) fn pin(cpu: usize) -> Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(cpu);
    sched_setaffinity(None, &cpus).map_err(|error| TestError::io("stay on one CPU")(error.into()))
}
