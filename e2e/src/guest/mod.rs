//! What runs inside a guest of the kernel matrix: as its first process, and nothing but our own programs after it.
//!
//! The host names the tiers of hooks that the kernel must have in the variable [`TIERS`], and those to be tried in
//! [`TRIED`] (on the kernel's command line, which hands them to its first process). The console is the only way out:
//! what the programs print goes there as it is, and lines that begin with [`MARK`] tell the host where each step begins
//! and how it ended.

mod check;
mod machine;
mod step;

use std::{convert::Infallible, env, time::Duration};

use crate::support::{Result, TestError};

/// Begins the lines that are for the host.
pub const MARK: &str = "##matrix";

/// Names the variable with the tiers that `check` must find, best first, joined by commas.
pub const TIERS: &str = "TT_TIERS";

/// Names the variable with the tiers that the exactness suite is run with, joined by commas.
pub const TRIED: &str = "TT_TRIED";

const PRODUCT: &str = "/bin/traffictrace";
const EXACT: &str = "/bin/tt-exact";

/// The exactness suite takes a minute on a machine that emulates two processors with one.
const EXACT_LIMIT: Duration = Duration::from_secs(600);

/// Makes the guest a machine, runs `check`, the exactness suite once for each tier to be tried, and those of
/// HTTP and of stacks where the kernel can trace them, and powers off.
///
/// # Errors
///
/// When the guest cannot be made ready, or cannot be powered off. How steps end is told on the console.
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

/// The tiers in the environment variable `name`.
fn tiers_in(name: &'static str) -> Result<Vec<String>> {
    let tiers =
        env::var(name).map_err(|_| TestError::unexpected(name, "not set on the kernel's command line"))?;
    Ok(tiers.split(',').map(str::to_owned).collect())
}
