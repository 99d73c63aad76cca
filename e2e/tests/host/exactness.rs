//! Every operation that moves bytes through a socket, by `tt-exact`.

use std::{process::Command, time::Duration};

use serde_json::Value;
use traffictrace_e2e::support::{Result, TestError, needs, process::Process};

use crate::setup::text;

/// Runs `tt-exact` with these arguments, and asserts that its JSON report has no failure. Cases that this kernel cannot
/// run are printed as skipped.
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
    // Many kernels have no module for TLS; the guests of the kernel matrix do.
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

/// Every unusual form of HTTP is shown exactly, and so are requests over a link that loses, duplicates and reorders
/// packets.
#[test]
fn every_form_of_http() -> Result<()> {
    let Some(host) = needs::host() else { return Ok(()) };
    for options in [&[][..], &["--spread", "--only", "forms/", "--only", "early/"]] {
        let mut command = Command::new(needs::program("tt-exact")?);
        command.arg("http").args(options).args(["--product", text(&host.traffictrace)]);
        command.arg("--cgroup-root").arg(&host.cgroup_root);
        let ended = Process::start(&mut command)?.wait(Duration::from_secs(300))?;
        let of = |verdict: &str| -> Vec<&String> {
            ended.lines.iter().filter(|line| line.starts_with(verdict)).collect()
        };
        assert!(ended.status.success(), "{}\n{}", ended.lines.join("\n"), ended.stderr);
        assert!(of("ok").len() > 50, "{:?}", ended.lines);
        if !of("SKIPPED").is_empty() {
            needs::skip(format!("{:?}", of("SKIPPED")));
        }
    }
    Ok(())
}
