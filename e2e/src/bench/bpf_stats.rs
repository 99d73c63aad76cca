//! The kernel's statistics of BPF programs (`run_time_ns`), which cost every run of every program some tens of
//! nanoseconds: needed for events, forbidden for rates.

use std::{fs, os::fd::OwnedFd};

use aya::sys::{Stats, enable_stats};

use crate::support::{Result, TestError};

const SYSCTL: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// Statistics that are on for as long as this lives. The kernel ends them with the descriptor, however the process ends;
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

/// Sets the sysctl to 0 if it is not, and says so: something before this run left it.
pub(super) fn switch_off() -> Result<()> {
    let value = fs::read_to_string(SYSCTL).map_err(TestError::io(format!("read {SYSCTL}")))?;
    if value.trim() != "0" {
        println!("{SYSCTL} was {}: set to 0, since it costs more than what is measured here", value.trim());
        fs::write(SYSCTL, "0").map_err(TestError::io(format!("write {SYSCTL}")))?;
    }
    Ok(())
}
