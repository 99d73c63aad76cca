//! Profiles in the format of pprof, compressed by gzip: written, and our own read back.

mod labels;
mod message;
mod read;
mod room;
mod write;

pub use self::{read::ReadError, room::Room, write::WriteError};

/// Beginning of the comment with the coverage as JSON.
const COVERAGE: &str = "coverage: ";
/// Beginning of the comment that says what was profiled.
const WHAT: &str = "traffic of ";
/// File of a kernel's function, before the name of its module.
const KERNEL: &str = "[kernel]";
/// File of a function that a runtime wrote, before the name that the runtime gave.
const JIT: &str = "[jit]";

#[cfg(test)]
mod tests;
