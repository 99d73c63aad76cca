//! Whether a process is still the one that was looked at.

use std::io;

use procfs::{ProcError, process::Process as Procfs};

/// Why a process that may have more rights than this one is not looked into.
const NOT_PERMITTED: &str = "no permission to look into the process: CAP_SYS_PTRACE is missing";
/// Why a process with too much mapped is not looked into.
const TOO_LARGE: &str = "the process has too many mappings";
const ENDED: &str = "the process has ended";

/// What tells a process from another one with its number, and from itself before it executed another program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    start_time: u64,
    code: u64,
    stack: u64,
}

impl Identity {
    /// Reads it.
    ///
    /// # Errors
    ///
    /// The system's error if the process has ended.
    pub(super) fn of(pid: u32) -> Result<Self, ProcError> {
        let stat = Procfs::new(i32::try_from(pid).unwrap_or(0))?.stat()?;
        Ok(Self { start_time: stat.starttime, code: stat.startcode, stack: stat.startstack })
    }

    /// What became of the process with this number.
    pub(super) fn fate(self, pid: u32) -> Fate {
        match Self::of(pid) {
            Ok(identity) if identity == self => Fate::Lives,
            // Nobody has waited for it yet: the kernel tells no addresses of what has no memory any more.
            Ok(Self { start_time, code: 0, .. }) if start_time == self.start_time => Fate::Ended,
            Ok(_) => Fate::Another,
            Err(_) => Fate::Ended,
        }
    }
}

/// What became of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Nothing.
    Lives,
    /// It has ended; what was taken of its stacks before can still be read.
    Ended,
    /// It executes another program, or another process has its number.
    Another,
}

/// The number of a process in its own namespace. Its name, which comes first in the file, can be any bytes.
pub(super) fn inner_number(pid: u32) -> Option<u32> {
    let status = std::fs::read(format!("/proc/{pid}/status")).ok()?;
    let line = status.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"NSpid:"))?;
    str::from_utf8(line).ok()?.split_whitespace().last()?.parse().ok()
}

/// Why there is nothing to see, in a few words.
pub(super) fn reason(error: &ProcError) -> &'static str {
    match error {
        ProcError::PermissionDenied(_) => NOT_PERMITTED,
        _ => ENDED,
    }
}

/// Why the mappings cannot be seen, in a few words.
pub(super) fn reason_of(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => NOT_PERMITTED,
        io::ErrorKind::FileTooLarge => TOO_LARGE,
        _ => ENDED,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        ffi::OsStr,
        os::unix::{ffi::OsStrExt as _, process::CommandExt as _},
        process::Command,
    };

    use super::*;

    #[test]
    fn a_process_whose_name_is_no_text_has_its_number() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(OsStr::from_bytes(b"\xc3\xa9\xc3"));
        std::fs::copy("/bin/sleep", &path).unwrap();
        let mut child = Command::new(&path).arg0("sleep").arg("60").spawn().unwrap();
        assert_eq!(inner_number(child.id()), Some(child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(inner_number(child.id()), None);
    }
}
