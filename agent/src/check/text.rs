//! The findings as text for people, conclusion first.

use std::fmt::Write as _;

use super::findings::Findings;

/// Width of the left column in characters.
const LABEL: usize = 16;

/// Formats the findings as a short text with aligned columns.
pub(super) fn text(findings: &Findings) -> String {
    let mut out = String::new();
    let conclusion = &findings.conclusion;
    let _ = match findings.works {
        true => writeln!(out, "{conclusion}\n"),
        false => writeln!(out, "Tracing does not work here: {conclusion}.\n"),
    };
    let btf = if findings.btf { "with BTF" } else { "without BTF" };
    line(&mut out, "Kernel", &format!("{} {}, {btf}", findings.kernel_release, findings.architecture));
    let mut label = "Hook tiers";
    for tier in &findings.hook_tiers {
        let answer = match &tier.reason {
            Some(reason) => format!("no: {reason}"),
            None if findings.hook_tier == Some(tier.name) => "yes, used".into(),
            None => "yes".into(),
        };
        line(&mut out, label, &format!("{:<9}  {answer}", tier.name));
        label = "";
    }
    let root = findings.cgroup_root.as_ref().map_or("not found".into(), |root| root.display().to_string());
    line(&mut out, "cgroup2", &root);
    let missing = match findings.missing_capabilities.as_slice() {
        [] => "all that are needed".into(),
        missing => format!("missing: {}", missing.join(", ")),
    };
    line(&mut out, "Capabilities", &missing);
    if findings.works {
        line(&mut out, "ICMP peers", if findings.icmp_peers { "yes" } else { "no" });
        let answers =
            [("HTTP requests", &findings.http), ("HTTP by TLS", &findings.tls), ("Stacks", &findings.stacks)];
        for (label, answer) in answers {
            let answer = answer.reason.as_ref().map_or("yes".into(), |reason| format!("no: {reason}"));
            line(&mut out, label, &answer);
        }
        let owners = if findings.sees_all_processes {
            "all processes of the machine are visible"
        } else {
            "owners are learned at their next call: the machine's process ids are not visible"
        };
        line(&mut out, "Older sockets", owners);
    }
    let not_seen = findings.not_seen.iter().map(|unseen| format!("{} ({})", unseen.meaning, unseen.name));
    list(&mut out, "Not seen here:", &not_seen.collect::<Vec<_>>());
    list(&mut out, "What to do:", &findings.advice);
    out
}

fn line(out: &mut String, label: &str, value: &str) {
    let _ = writeln!(out, "  {label:<LABEL$}{value}");
}

fn list(out: &mut String, heading: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{heading}");
    for line in lines {
        let _ = writeln!(out, "  - {line}");
    }
}
