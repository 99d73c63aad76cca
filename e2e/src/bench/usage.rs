//! CPU time and memory of a process.

use std::fs;

use crate::support::{Result, TestError};

/// Milliseconds of CPU time of all threads of a process (from `/proc/PID/task/*/schedstat`, which is in ns).
pub(super) fn cpu(pid: u32) -> Result<f64> {
    let folder = format!("/proc/{pid}/task");
    let mut sum = 0.0;
    for task in fs::read_dir(&folder).map_err(TestError::io(format!("read {folder}")))?.flatten() {
        let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        sum += text.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(0.0) / 1e6;
    }
    Ok(sum)
}

/// A memory figure of a process in KiB, by its name in `/proc/PID/status`.
pub(super) fn memory(pid: u32, name: &str) -> Result<f64> {
    let file = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&file).map_err(TestError::io(format!("read {file}")))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kib = line.and_then(|rest| rest.trim_start().split(' ').next()?.parse().ok());
    kib.ok_or_else(|| TestError::unexpected(file, format!("without {name}")))
}
