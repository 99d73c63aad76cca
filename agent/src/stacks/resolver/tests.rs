//! Stacks of real programs that wait in a system call.

mod dump;
mod programs;
