//! `tt-init`: the first process of a guest of the kernel matrix. It tests the kernel that it runs on and powers off.

use std::process::ExitCode;

use traffictrace_e2e::guest;

fn main() -> ExitCode {
    match guest::run() {
        Ok(never) => match never {},
        // The end of the first process stops the guest, which the host sees.
        Err(error) => {
            eprintln!("tt-init: {error}");
            ExitCode::FAILURE
        }
    }
}
