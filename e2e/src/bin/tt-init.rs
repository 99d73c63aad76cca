//! `tt-init`: the first process of a guest of the kernel matrix. It tests the guest's kernel and powers off.

use std::process::ExitCode;

use traffictrace_e2e::guest;

fn main() -> ExitCode {
    match guest::run() {
        Ok(never) => match never {},
        // When the first process ends, the guest stops, which the host notices.
        Err(error) => {
            eprintln!("tt-init: {error}");
            ExitCode::FAILURE
        }
    }
}
