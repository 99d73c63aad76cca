//! Errors name in one line what was attempted, on what, and what to do.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Command, time::Duration};

use traffictrace_e2e::support::{Result, TestError, needs::Host, process::Process};

use crate::setup::{self, text};

const LIMIT: Duration = Duration::from_secs(30);

/// Runs a command that must fail; the message must be one line with everything in `expected`.
fn refused(command: &mut Command, expected: &[&str]) -> Result<()> {
    let ended = Process::start(command)?.wait(LIMIT)?;
    assert!(!ended.status.success(), "{command:?} succeeded: {:?}", ended.lines);
    assert!(ended.status.code().is_some(), "{command:?} was killed: {}", ended.status);
    let message = ended.stderr.trim();
    assert_eq!(message.lines().count(), 1, "{command:?} said:\n{message}");
    for part in expected {
        assert!(message.contains(part), "{command:?} does not name {part:?}: {message}");
    }
    Ok(())
}

#[test]
fn cgroup_that_is_not_there() -> Result<()> {
    let Some((host, cgroup)) = setup::cgroup() else { return Ok(()) };
    let missing = cgroup.path().join("missing");
    let missing = text(&missing);
    refused(Command::new(&host.traffictrace).args(["top", "--cgroup", missing]), &[missing])
}

#[test]
fn folder_that_is_no_cgroup() -> Result<()> {
    let Some((host, _cgroup)) = setup::cgroup() else { return Ok(()) };
    refused(
        Command::new(&host.traffictrace).args(["top", "--cgroup", "/proc/self"]),
        &["/proc/self", "cgroup"],
    )
}

#[test]
fn pid_that_is_not_there() -> Result<()> {
    let Some((host, _cgroup)) = setup::cgroup() else { return Ok(()) };
    // The process id is above the largest that Linux allows (PID_MAX_LIMIT, 4 Mi).
    refused(Command::new(&host.traffictrace).args(["top", "--pid", "4194305"]), &["4194305"])
}

/// Wrong filters are refused with the same words as by the API server for the same field.
#[test]
fn filters_that_mean_nothing() -> Result<()> {
    let Some((host, cgroup)) = setup::cgroup() else { return Ok(()) };
    for (flag, value, named) in [
        ("--protocol", "SCTP", "must be one of TCP, UDP, ICMP"),
        ("--port", "8100-8000", "write 8000-8100"),
        ("--port", "0", "write a number from 1 to 65535 or a range such as 8000-8100"),
        ("--remote-cidr", "10.0.0.0/33", "must be a network such as 10.0.0.0/8"),
        ("--direction", "sideways", "must be one of Inbound, Outbound, Both"),
    ] {
        let mut command = Command::new(&host.traffictrace);
        command.args(["top", "--cgroup", text(cgroup.path()), flag, value]);
        refused(&mut command, &[&format!("{flag}: "), named])?;
    }
    Ok(())
}

/// If a single capability is missing, the error names it.
#[test]
fn capability_that_is_missing() -> Result<()> {
    let Some((host, cgroup)) = setup::cgroup() else { return Ok(()) };
    for (dropped, named) in [("bpf", "CAP_BPF"), ("perfmon", "CAP_PERFMON")] {
        let bounding = format!("--bounding-set=-{dropped},-sys_admin");
        let mut command = Command::new("setpriv");
        command.args([bounding.as_str(), text(&host.traffictrace), "top", "--cgroup", text(cgroup.path())]);
        refused(&mut command, &[named])?;
    }
    Ok(())
}

/// A user without any privilege gets an error.
#[test]
fn plain_user() -> Result<()> {
    let Some((host, cgroup)) = setup::cgroup() else { return Ok(()) };
    // Other users may have no access to the build's folders, so the program is copied.
    let folder = tempfile::tempdir().map_err(TestError::io("make a folder"))?;
    let copy = folder.path().join("traffictrace");
    let readable = fs::Permissions::from_mode(0o755);
    let opened =
        fs::copy(&host.traffictrace, &copy).and_then(|_| fs::set_permissions(folder.path(), readable));
    opened.map_err(TestError::io("copy the binary"))?;
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", text(&copy)]);
    command.args(["top", "--cgroup", text(cgroup.path())]);
    refused(&mut command, &["CAP_BPF"])
}

/// Returns a command that runs the product in a mount namespace of its own, after `hide` has hidden a part of the
/// kernel.
fn hidden(hide: &str, host: &Host, arguments: &str) -> Command {
    let script = format!("{hide} && exec {} {arguments}", text(&host.traffictrace));
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", &script]);
    command
}

#[test]
fn kernel_without_btf() -> Result<()> {
    let Some((host, cgroup)) = setup::cgroup() else { return Ok(()) };
    let arguments = format!("top --cgroup {}", text(cgroup.path()));
    let hide = "mount -t tmpfs none /sys/kernel/btf";
    refused(&mut hidden(hide, &host, &arguments), &["BTF", "/sys/kernel/btf"])
}

#[test]
fn machine_without_cgroup2() -> Result<()> {
    let Some((host, _cgroup)) = setup::cgroup() else { return Ok(()) };
    let hide = format!("umount --lazy {}", text(&host.cgroup_root));
    refused(&mut hidden(&hide, &host, "top --pid 1"), &["cgroup2"])
}
