//! The program that runs as the first process of a guest of the kernel matrix, and starts nothing but our own programs.
//!
//! The kernel's command line sets two variables for its first process: [`TIERS`] names the hook tiers that the kernel
//! must have, and [`TRIED`] those that are tested. The console is the only output: it shows what the programs print,
//! and lines that begin with [`MARK`] report the beginning and the result of each step to the host.

mod check;
mod machine;
mod step;

use std::{convert::Infallible, env, time::Duration};

use crate::support::{Result, TestError};

/// Prefix of lines that are meant for the host.
pub const MARK: &str = "##matrix";

/// Variable with the tiers that `check` must find, best first, separated by commas.
pub const TIERS: &str = "TT_TIERS";

/// Variable with the tiers that the exactness suite runs with, separated by commas.
pub const TRIED: &str = "TT_TRIED";

const PRODUCT: &str = "/bin/traffictrace";
const EXACT: &str = "/bin/tt-exact";

/// Time limit of the exactness suite, which takes a minute on a machine that emulates two processors with one.
const EXACT_LIMIT: Duration = Duration::from_secs(600);

/// Sets the guest up, runs `check`, the exactness suite once for each tier to be tested, and the suites of HTTP and
/// stacks if the kernel can trace them, and powers off.
///
/// # Errors
///
/// Fails when the guest cannot be set up or powered off. The results of steps are printed on the console.
pub fn run() -> Result<Infallible> {
    machine::mount_all()?;
    machine::raise_loopback()?;
    machine::load_modules();
    let uname = rustix::system::uname();
    // The firmware leaves the cursor in the middle of a line.
    println!("\n{MARK} kernel {}", uname.release().to_string_lossy());
    let (tiers, tried) = (tiers_in(TIERS)?, tiers_in(TRIED)?);
    let (mut http, mut stacks) = (false, false);
    step::compare("check", || {
        let findings = check::findings(PRODUCT)?;
        (http, stacks) = (findings.has_http(), findings.has_stacks());
        check::tiers(&findings, &tiers)
    });
    for tier in tried {
        step::run(&tier, EXACT, &["--product", PRODUCT, "--hook-tier", &tier], EXACT_LIMIT);
    }
    if http {
        step::run("http", EXACT, &["http", "--product", PRODUCT], EXACT_LIMIT);
    }
    if stacks {
        step::run("stacks", EXACT, &["stacks", "--product", PRODUCT], EXACT_LIMIT);
    }
    println!("{MARK} done");
    machine::power_off()
}

/// Reads the tiers in the environment variable `name`.
fn tiers_in(name: &'static str) -> Result<Vec<String>> {
    let tiers =
        env::var(name).map_err(|_| TestError::unexpected(name, "not set on the kernel's command line"))?;
    Ok(tiers.split(',').map(str::to_owned).collect())
}
