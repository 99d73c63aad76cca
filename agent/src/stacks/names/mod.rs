//! Names of functions: from a file's symbol table, from Go's own table (`elf`), from a runtime's list of generated
//! code, and from the kernel's list.
//!
//! Tables of names stay in their files. A name is read when a function is first seen.

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
