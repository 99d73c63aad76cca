//! `tt-bench`: measures the cost of the product, compared with a baseline in the same run.

use std::process::ExitCode;

use clap::Parser as _;
use traffictrace_e2e::bench;

fn main() -> ExitCode {
    match bench::run(bench::Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tt-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
