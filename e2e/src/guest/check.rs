//! The comparison of what `traffictrace check` reports about this kernel with what is known of the kernel.

use std::{collections::BTreeSet, process::Command};

use serde::Deserialize;

/// The output of `traffictrace check -o json`, reduced to the fields that are compared.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Findings {
    hook_tier: Option<String>,
    hook_tiers: Vec<Tier>,
    kernel_release: String,
    not_seen: Vec<NotSeen>,
    http: Part,
    stacks: Part,
    /// True if `check` ended with status 0.
    #[serde(skip)]
    is_well: bool,
}

impl Findings {
    /// Returns whether HTTP can be traced here.
    pub(super) fn has_http(&self) -> bool {
        self.http.reason.is_none()
    }

    /// Returns whether stacks can be taken here.
    pub(super) fn has_stacks(&self) -> bool {
        self.stacks.reason.is_none()
    }
}

#[derive(Debug, Deserialize)]
struct Part {
    reason: Option<String>,
}

#[derive(Debug, Deserialize)]
struct NotSeen {
    name: String,
    meaning: String,
}

#[derive(Debug, Deserialize)]
struct Tier {
    name: String,
    works: bool,
}

/// Runs `check` and parses its output.
///
/// # Errors
///
/// Fails when `check` prints no such output.
pub(super) fn findings(product: &str) -> Result<Findings, String> {
    let output = Command::new(product)
        .args(["check", "-o", "json"])
        .output()
        .map_err(|error| format!("cannot start {product}: {error}"))?;
    let findings: Findings = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("check did not answer ({}): {error}", output.status))?;
    Ok(Findings { is_well: output.status.success(), ..findings })
}

/// Compares the working tiers with the `expected` ones of this kernel, best first. Prints the limits of this kernel,
/// and whether HTTP and stacks can be traced.
///
/// # Errors
///
/// Fails with the first difference, in one line.
pub(super) fn tiers(findings: &Findings, expected: &[String]) -> Result<(), String> {
    for NotSeen { name, meaning } in &findings.not_seen {
        println!("unseen   {name}: {meaning}");
    }
    let works: BTreeSet<_> =
        findings.hook_tiers.iter().filter(|t| t.works).map(|t| t.name.as_str()).collect();
    if works != expected.iter().map(String::as_str).collect() {
        return Err(format!("check says that {works:?} work, this kernel has {expected:?}"));
    }
    if findings.hook_tier.as_deref() != expected.first().map(String::as_str) {
        return Err(format!(
            "check says that {:?} is used, not the best of {expected:?}",
            findings.hook_tier
        ));
    }
    let has_tracepoints = expected.iter().any(|tier| tier == "tp_btf");
    let http = findings.http.reason.as_deref().unwrap_or("works");
    println!("http     {http}");
    // HTTP needs the helper bpf_loop(). Of the kernels in the matrix, only 5.10 does not have it.
    let expected = if findings.kernel_release.starts_with("5.10.") { "bpf_loop" } else { "works" };
    if !http.contains(expected) {
        return Err(format!("check says of HTTP: {http}; expected was {expected}"));
    }
    let stacks = findings.stacks.reason.as_deref().unwrap_or("works");
    println!("stacks   {stacks}");
    // Stacks need the tracepoints of the tier `tp_btf`; without them, `check` names the one that it misses.
    let expected = if has_tracepoints { "works" } else { "sock_send_length" };
    if !stacks.contains(expected) {
        return Err(format!("check says of stacks: {stacks}; expected was {expected}"));
    }
    if findings.is_well { Ok(()) } else { Err("check ended as if something were wrong".to_owned()) }
}
