//! Every operation that moves bytes through a socket, by `tt-exact`.

use std::{process::Command, time::Duration};

use serde_json::Value;
use traffictrace_e2e::support::{Result, TestError, needs, process::Process};

use crate::setup::text;

/// Runs `tt-exact` with these arguments; its document. What this kernel cannot do is told as skipped.
fn exact(arguments: &[&str]) -> Result<()> {
    let Some(host) = needs::host() else { return Ok(()) };
    let mut command = Command::new(needs::program("tt-exact")?);
    command.args(arguments).args(["-o", "json", "--product", text(&host.traffictrace)]);
    command.arg("--cgroup-root").arg(&host.cgroup_root);
    let ended = Process::start(&mut command)?.wait(Duration::from_secs(300))?;
    let report: Value = serde_json::from_str(&ended.lines.concat())
        .map_err(|error| TestError::unexpected("tt-exact", format!("{error}, {}", ended.stderr)))?;
    let cases = report["cases"].as_array().into_iter().flatten();
    let with = |verdict: &'static str| cases.clone().filter(move |case| case["verdict"] == verdict);
    assert!(with("ok").count() > 0, "{report}");
    let failed: Vec<_> = with("fail").map(ToString::to_string).collect();
    let problems = &report["problems"];
    let none = problems.as_array().is_some_and(Vec::is_empty);
    assert!(failed.is_empty() && none, "seed {}: {problems}\n{}", report["seed"], failed.join("\n"));
    let named = |case: &Value| format!("{} ({})", case["case"], case["notes"][0]);
    // Kernels without a module for TLS are common; the guests of the kernel matrix have it.
    let (elsewhere, skipped): (Vec<_>, Vec<_>) =
        with("skipped").partition(|case| case["case"].as_str().is_some_and(|name| name.starts_with("tls/")));
    if !elsewhere.is_empty() {
        println!("left to the kernel matrix: {} cases, such as {}", elsewhere.len(), named(elsewhere[0]));
    }
    let skipped: Vec<_> = skipped.into_iter().map(named).collect();
    if !skipped.is_empty() {
        needs::skip(skipped.join(", "));
    }
    Ok(())
}

#[test]
fn every_operation() -> Result<()> {
    exact(&[])
}
