//! Checks if a process is still the one that was examined.

use std::io;

use procfs::{ProcError, process::Process as Procfs};

/// Reason shown for a process that the kernel does not permit this one to examine.
const NOT_PERMITTED: &str = "no permission to look into the process: CAP_SYS_PTRACE is missing";
/// Reason shown for a process with too many mappings.
const TOO_LARGE: &str = "the process has too many mappings";
const ENDED: &str = "the process has ended";

/// Values that distinguish a process from another one with the same id, and from itself before it executed another
/// program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    start_time: u64,
    code: u64,
    stack: u64,
}

impl Identity {
    /// Reads the identity of a process.
    ///
    /// # Errors
    ///
    /// The system's error if the process has ended.
    pub(super) fn of(pid: u32) -> Result<Self, ProcError> {
        let stat = Procfs::new(i32::try_from(pid).unwrap_or(0))?.stat()?;
        Ok(Self { start_time: stat.starttime, code: stat.startcode, stack: stat.startstack })
    }

    /// Returns what has happened to process `pid` since its identity was read.
    pub(super) fn fate(self, pid: u32) -> Fate {
        match Self::of(pid) {
            Ok(identity) if identity == self => Fate::Lives,
            // The process is a zombie, which has no memory any more, so the kernel shows its addresses as 0.
            Ok(Self { start_time, code: 0, .. }) if start_time == self.start_time => Fate::Ended,
            Ok(_) => Fate::Another,
            Err(_) => Fate::Ended,
        }
    }
}

/// State of a process that was examined earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// The process still runs the same program.
    Lives,
    /// The process has ended. Stacks that were taken before can still be resolved.
    Ended,
    /// The process executes another program, or its id belongs to another process.
    Another,
}

/// Returns the id of a process in its own pid namespace. The file is read as bytes, because the name in it can contain
/// any bytes.
pub(super) fn inner_number(pid: u32) -> Option<u32> {
    let status = std::fs::read(format!("/proc/{pid}/status")).ok()?;
    let line = status.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"NSpid:"))?;
    str::from_utf8(line).ok()?.split_whitespace().last()?.parse().ok()
}

/// Returns the reason for an error, in a few words.
pub(super) fn reason(error: &ProcError) -> &'static str {
    match error {
        ProcError::PermissionDenied(_) => NOT_PERMITTED,
        _ => ENDED,
    }
}

/// Returns the reason why mappings cannot be read, in a few words.
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
