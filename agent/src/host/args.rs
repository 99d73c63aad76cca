//! Options shared by all commands that trace one host.

use std::{path::PathBuf, time::Duration};

use clap::{ArgGroup, Args};

use super::containers::ContainerPattern;
use crate::{
    engine::{Engine, EngineOptions},
    kernel::TierChoice,
};

/// Names of the options that say what to trace and how. None of them can be combined with a file that is shown instead of a
/// trace.
pub(crate) const TRACING: [&str; 14] = [
    "cgroup",
    "container",
    "wait",
    "pid",
    "all",
    "host",
    "only_pid",
    "cgroup_root",
    "max_flows",
    "hook_tier",
    "protocol",
    "port",
    "remote_cidr",
    "direction",
];

/// The target of a trace.
#[derive(Debug, Clone, Args)]
#[command(group = ArgGroup::new("target").required(true).args(["container", "all", "host", "cgroup", "pid"]))]
pub(crate) struct TargetArgs {
    /// Trace this container, given by its name in Docker, Podman or nerdctl; for a pod by CONTAINER, POD, POD/CONTAINER or
    /// NAMESPACE/POD/CONTAINER; or by its id, of which the first four characters are enough. If the container restarts under
    /// its name, the trace continues. It ends three seconds after the container has ended, unless --wait is given.
    #[arg(short, long, value_name = "NAME|ID")]
    pub(super) container: Option<ContainerPattern>,

    /// With --container: wait for a container that has not started yet, and again whenever it has ended. Waits without
    /// end, or for a time such as --wait=5m.
    #[arg(long, value_name = "TIME", requires = "container", conflicts_with_all = ["all", "host", "cgroup", "pid"], num_args = 0..=1, require_equals = true, default_missing_value = "", value_parser = wait)]
    pub(super) wait: Option<Wait>,

    /// Trace all containers of this host, including those that start later.
    #[arg(short, long)]
    pub(super) all: bool,

    /// Trace everything on this host: containers, systemd's services and sessions, and the kernel.
    #[arg(long)]
    pub(super) host: bool,

    /// Trace this cgroup and everything below it. The path starts at the root of the cgroup2 tree (see /proc/PID/cgroup).
    /// If the cgroup is removed and made again, as for a service that restarts, the trace continues.
    #[arg(long, value_name = "PATH")]
    pub(super) cgroup: Option<PathBuf>,

    /// Trace the container of this process or, if the process is in no container, the process and its descendants.
    #[arg(short, long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) pid: Option<u32>,

    /// With --pid: trace only that process, without its container or descendants.
    #[arg(long, requires = "pid", conflicts_with_all = ["cgroup", "container", "all", "host"])]
    pub(super) only_pid: bool,

    /// Mount point of the host's cgroup2 tree [default: found in /proc/self/mountinfo].
    #[arg(long, value_name = "PATH")]
    pub(super) cgroup_root: Option<PathBuf>,
}

/// Maximum time to wait for a container; `None` waits without end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wait(pub(super) Option<Duration>);

fn wait(text: &str) -> Result<Wait, String> {
    if text.is_empty() { Ok(Wait(None)) } else { some_time(text).map(|limit| Wait(Some(limit))) }
}

/// Settings of the counting engine.
#[derive(Debug, Clone, Args)]
pub(crate) struct EngineArgs {
    /// Approximate maximum number of flows to keep. Beyond it, closed flows are folded into one row for each process
    /// and protocol.
    #[arg(long, default_value_t = 131_072, value_parser = max_flows)]
    pub(crate) max_flows: usize,

    /// Kind of kernel hooks to count with: tp_btf, fexit or kretprobe. auto takes the first of these that works (see
    /// `traffictrace check`).
    #[arg(long, value_name = "TIER", default_value_t = TierChoice::Auto)]
    hook_tier: TierChoice,
}

impl EngineArgs {
    /// Makes an engine with these settings, for the cgroup2 tree at `cgroup_root`. Nothing is loaded yet.
    pub(crate) fn engine(&self, cgroup_root: PathBuf) -> Engine {
        Engine::new(EngineOptions { slots: self.max_flows, cgroup_root, hook_tier: self.hook_tier })
    }
}

/// Parses a duration with its unit, such as 500ms or 5m.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    const FORM: &str = "write a whole number with its unit, such as 500ms, 1s, 5m or 1h";
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(FORM.to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| FORM.to_owned())?;
    Ok(Duration::from_millis(number.saturating_mul(millis)))
}

/// Parses a duration of more than 0.
pub(crate) fn some_time(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    if time.is_zero() { Err("must be more than nothing, such as 30s".into()) } else { Ok(time) }
}

/// Parses the interval between two reports: at least 100 ms and at most a day.
pub(crate) fn interval(text: &str) -> Result<Duration, String> {
    let interval = duration(text)?;
    if interval < Duration::from_millis(100) || interval > Duration::from_secs(24 * 3600) {
        return Err("must be at least 100ms and at most 24h".into());
    }
    Ok(interval)
}

fn max_flows(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(flows @ 1..=4_000_000) => Ok(flows),
        _ => Err("must be a number from 1 to 4000000".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_need_a_unit_and_sense() {
        assert_eq!(interval("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(interval("2s"), Ok(Duration::from_secs(2)));
        assert_eq!(interval("1m"), Ok(Duration::from_secs(60)));
        for bad in ["", "1", "s", "1.5s", "-1s", "10ms", "1d", "99999999999999999999s", "25h", "1 s"] {
            assert!(interval(bad).is_err(), "{bad}");
        }
        assert_eq!(some_time("1ms"), Ok(Duration::from_millis(1)));
        assert_eq!(wait(""), Ok(Wait(None)));
        assert_eq!(wait("5m"), Ok(Wait(Some(Duration::from_secs(300)))));
        assert!(wait("0s").is_err() && wait("soon").is_err());
        assert!(some_time("0s").is_err_and(|error| error.contains("more than nothing")));
    }
}
