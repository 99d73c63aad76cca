//! `tt-workload`: moves known amounts of bytes and prints its own count of them.

use std::process::ExitCode;

use clap::Parser as _;
use traffictrace_e2e::workload;

fn main() -> ExitCode {
    match workload::run(workload::Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(2),
        Err(error) => {
            eprintln!("tt-workload: {error}");
            ExitCode::FAILURE
        }
    }
}
