//! Profiles in pprof's format, compressed by gzip. Any profile can be written; only our own can be read.

mod labels;
mod message;
mod read;
mod room;
mod write;

pub use self::{read::ReadError, room::Room, write::WriteError};

/// Prefix of the comment that has the coverage as JSON.
const COVERAGE: &str = "coverage: ";
/// Prefix of the comment that describes the subject.
const WHAT: &str = "traffic of ";
/// File name of a kernel function, to which the name of its module is appended.
const KERNEL: &str = "[kernel]";
/// File name of a generated function, to which the name from the runtime is appended.
const JIT: &str = "[jit]";

#[cfg(test)]
mod tests;
