//! `tt-exact`: does every operation that moves bytes through a socket, and compares what the product shows with what
//! each process counted for itself, byte for byte.
//!
//! The program needs only root, a cgroup2 tree and the product's binary, so it also runs in an initramfs. One
//! `traffictrace top` traces all cases; each JSON snapshot that it prints is called a document. Each case is a process
//! of its own ([`leader`]) inside the traced cgroup, with as many children as it needs. A process counts the results of
//! its own calls ([`tally`]).

mod cases;
mod child;
mod cli;
mod error;
mod http;
mod leader;
mod leading;
mod print;
mod runner;
mod screen;
mod soak;
mod sockets;
mod stacks;
mod stage;
mod sys;
mod tally;
mod verdict;
pub(crate) mod work;

pub use cli::Cli;

use crate::support::{Result, TestError};

/// Runs the command line; returns true if nothing failed.
///
/// # Errors
///
/// Fails when the environment lacks something, or when the product does not start or breaks its own rules.
pub fn run(cli: Cli) -> Result<bool> {
    if cli.options().is_some_and(|options| options.spread) {
        sys::spread::spread_packets().map_err(TestError::io("spread packets over the CPUs"))?;
    }
    match cli.command {
        None => runner::run(&cli.options),
        Some(cli::Command::Soak(args)) => soak::run(&args),
        Some(cli::Command::OpenUnderLoad(args)) => soak::open::run(&args),
        Some(cli::Command::Http(options)) => http::run(&options),
        Some(cli::Command::HttpPlay(args)) => http::play_all(&args)
            .map(|()| true)
            .map_err(|error| TestError::unexpected("playing the cases", error)),
        Some(cli::Command::Stacks(options)) => stacks::run(&options),
        Some(cli::Command::StacksSend(args)) => stacks::send(&args).map(|()| true),
        Some(cli::Command::Hostile(args)) => http::hostile::run(&args)
            .map(|()| true)
            .map_err(|error| TestError::unexpected("the hostile load", error)),
        Some(cli::Command::Case(args)) => match leader::run(args) {
            Ok(()) => Ok(true),
            Err(error) => Err(TestError::unexpected("the case", error)),
        },
    }
}
