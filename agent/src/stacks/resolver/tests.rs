//! Stacks of real programs, which stand still in a system call.

mod dump;
mod programs;
