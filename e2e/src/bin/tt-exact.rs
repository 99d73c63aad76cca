//! `tt-exact`: does every operation that moves bytes through a socket, and compares the results with what the product
//! shows.

use std::process::ExitCode;

use clap::Parser as _;
use traffictrace_e2e::exactness;

fn main() -> ExitCode {
    match exactness::run(exactness::Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("tt-exact: {error}");
            ExitCode::from(2)
        }
    }
}
