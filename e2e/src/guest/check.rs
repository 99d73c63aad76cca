//! Does the product say of this kernel what is known of it?

use std::{collections::BTreeSet, process::Command};

use serde::Deserialize;

/// What `traffictrace check -o json` says; these fields alone are read.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Findings {
    hook_tier: Option<String>,
    hook_tiers: Vec<Tier>,
    kernel_release: String,
    not_seen: Vec<NotSeen>,
    http: Part,
    stacks: Part,
    /// Whether `check` ended as if all were well.
    #[serde(skip)]
    is_well: bool,
}

impl Findings {
    /// Whether HTTP can be traced here.
    pub(super) fn has_http(&self) -> bool {
        self.http.reason.is_none()
    }

    /// Whether stacks can be taken here.
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

/// Runs `check`.
///
/// # Errors
///
/// When it does not answer.
pub(super) fn findings(product: &str) -> Result<Findings, String> {
    let output = Command::new(product)
        .args(["check", "-o", "json"])
        .output()
        .map_err(|error| format!("cannot start {product}: {error}"))?;
    let findings: Findings = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("check did not answer ({}): {error}", output.status))?;
    Ok(Findings { is_well: output.status.success(), ..findings })
}

/// Compares the tiers that work with those that this kernel must have, `expected`, best first. Prints what cannot be seen
/// here, and whether HTTP and stacks can.
///
/// # Errors
///
/// What is not as expected, in one line.
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
    // Of the kernels of the matrix, 5.10 alone is older than bpf_loop().
    let expected = if findings.kernel_release.starts_with("5.10.") { "bpf_loop" } else { "works" };
    if !http.contains(expected) {
        return Err(format!("check says of HTTP: {http}; expected was {expected}"));
    }
    let stacks = findings.stacks.reason.as_deref().unwrap_or("works");
    println!("stacks   {stacks}");
    // They need the tracepoints that came with the first tier.
    let expected = if has_tracepoints { "works" } else { "sock_send_length" };
    if !stacks.contains(expected) {
        return Err(format!("check says of stacks: {stacks}; expected was {expected}"));
    }
    if findings.is_well { Ok(()) } else { Err("check ended as if something were wrong".to_owned()) }
}
