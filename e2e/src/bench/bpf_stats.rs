//! The kernel's statistics of BPF programs (`run_time_ns`). They cost some tens of nanoseconds for each run of a
//! program, so they are on while events are measured and must be off while rates are measured.

use std::{fs, os::fd::OwnedFd};

use aya::sys::{Stats, enable_stats};

use crate::support::{Result, TestError};

const SYSCTL: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// Keeps the statistics on until dropped. The kernel ends them when the descriptor is closed, however the process ends;
/// the sysctl stays 0.
pub(super) struct Statistics {
    _on: OwnedFd,
}

impl Statistics {
    pub(super) fn on() -> Result<Self> {
        let on = enable_stats(Stats::RunTime);
        Ok(Self { _on: on.map_err(|error| TestError::unexpected("BPF statistics", error))? })
    }
}

/// Sets the sysctl to 0, and prints that, if something before this run left it on.
pub(super) fn switch_off() -> Result<()> {
    let value = fs::read_to_string(SYSCTL).map_err(TestError::io(format!("read {SYSCTL}")))?;
    if value.trim() != "0" {
        println!("{SYSCTL} was {}: set to 0, since it costs more than what is measured here", value.trim());
        fs::write(SYSCTL, "0").map_err(TestError::io(format!("write {SYSCTL}")))?;
    }
    Ok(())
}
