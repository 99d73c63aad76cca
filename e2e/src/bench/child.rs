//! Commands that the kernel ends together with the benchmark, however the benchmark ends.

use std::{ffi::OsStr, os::unix::process::CommandExt as _, path::Path, process::Command};

/// Returns a command whose process the kernel kills when this process dies, and which the terminal's Ctrl-C does not
/// reach.
pub(super) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program).process_group(0);
    command
}

/// Returns a [`command`] that first joins a cgroup and is bound to one processor.
pub(super) fn command_in(cgroup: &Path, cpu: usize, program: impl AsRef<OsStr>) -> Command {
    let mut command = command("sh");
    command.args(["-c", "echo 0 >\"$0/cgroup.procs\" && exec taskset -c \"$@\""]);
    command.arg(cgroup).arg(cpu.to_string()).arg(program);
    command
}
