//! Names of functions: by a file's table of symbols, by Go's own table (`elf`), by what a runtime writes about the code that it
//! makes, and by the kernel's list.
//!
//! Tables of names stay in their files; a name is read when a function is first seen.

mod clean;
mod kernel;
mod perf_map;
mod symbols;

pub(super) use self::{
    clean::{clean, demangled},
    kernel::Kernel,
    perf_map::PerfMap,
    symbols::Symbols,
};
