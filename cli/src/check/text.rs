//! The findings as text.

use traffictrace_crd::{
    VERSION,
    human::{number_of, printable},
};

use super::findings::{Findings, RESOURCES};

/// Formats the findings, the conclusion first.
pub(super) fn of(findings: &Findings) -> String {
    let mut lines = vec![findings.conclusion.clone(), String::new()];
    let mut line = |name: &str, text: &str| lines.push(format!("  {name:<14}{text}").trim_end().to_owned());
    let server = &findings.server;
    let supported = if server.is_supported { "" } else { ", which is too old" };
    line("API server", &format!("{} at {}{supported}", printable(&server.version), printable(&server.url)));
    let definitions = &findings.definitions;
    let versions = match definitions.versions.as_slice() {
        [] => "not installed".to_owned(),
        versions => printable(&versions.join(", ")).into_owned(),
    };
    line("Definitions", &versions);
    if !definitions.versions.is_empty() && !definitions.missing.is_empty() {
        line("", &format!("{VERSION} lacks {}", definitions.missing.join(", ")));
    }
    let rights = |allowed| {
        let of = |resource: &str| {
            let some =
                findings.rights.iter().filter(|right| right.allowed == allowed && right.resource == resource);
            let verbs: Vec<&str> = some.map(|right| right.verb).collect();
            (!verbs.is_empty()).then(|| format!("{} {resource}", verbs.join(", ")))
        };
        RESOURCES.into_iter().filter_map(of).collect::<Vec<_>>().join("; ")
    };
    for (name, allowed, none) in [("Allowed", true, "nothing"), ("Not allowed", false, "")] {
        match rights(allowed).as_str() {
            "" if none.is_empty() => {}
            "" => line(name, none),
            some => line(name, some),
        }
    }
    match &findings.controller {
        None => line("Controller", "not visible to this account"),
        Some(controller) => match &controller.deployment {
            None => line("Controller", "not installed"),
            Some(name) => {
                let state = match (controller.is_ready, &controller.reason) {
                    (true, _) => "ready".to_owned(),
                    (false, None) => "not ready".to_owned(),
                    (false, Some(reason)) => format!("not ready: {reason}"),
                };
                let image = controller.image.as_deref().unwrap_or("no image");
                line("Controller", &format!("{state} ({}, image {})", printable(name), printable(image)));
            }
        },
    }
    match &findings.agents {
        None => line("Agents", "not visible to this account"),
        Some(agents) => match &agents.daemon_set {
            None => line("Agents", "not installed"),
            Some(name) => {
                let images = printable(&agents.images.join(", ")).into_owned();
                line(
                    "Agents",
                    &format!(
                        "ready on {} of {} nodes ({}, image {images})",
                        agents.ready,
                        agents.nodes,
                        printable(name)
                    ),
                );
                for node in &agents.not_ready {
                    line("", &format!("{}: {}", printable(&node.node), node.reason));
                }
            }
        },
    }
    if let Some(attempt) = &findings.attempt {
        let answer = if attempt.controller_answers {
            let (pods, nodes) = (number_of(attempt.pods, "pod"), number_of(attempt.nodes, "node"));
            format!("{pods} on {nodes}, of which {} with an agent that reports", attempt.nodes_reporting)
        } else {
            "no controller has answered".to_owned()
        };
        line("Tried", &answer);
        if let Some(message) = &attempt.message {
            line("", &printable(message));
        }
    }
    if !findings.advice.is_empty() {
        lines.push(String::new());
        lines.extend(findings.advice.iter().cloned());
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            conclusion::tests::{findings, parts},
            findings::{NotReady, Parts},
        },
        *,
    };

    #[test]
    fn the_conclusion_comes_first_and_every_node_has_its_reason() {
        let node = NotReady { node: "n3".into(), reason: "no agent: taint".into() };
        let text = of(&findings(parts(2, vec![node]), &[]));
        let expected = "\
Tracing works in the namespace shop, on 2 of 3 nodes.

  API server    v1.30.4 at https://k
  Definitions   v1alpha1
  Allowed       create traffictraces; list traffictraceprofiles
  Controller    ready (s/controller, image t:1)
  Agents        ready on 2 of 3 nodes (s/agent, image t:1)
                n3: no agent: taint
";
        assert_eq!(text, expected);
    }

    #[test]
    fn what_cannot_be_seen_is_told() {
        let text = of(&findings(Parts::default(), &["create", "list"]));
        for part in
            ["Allowed       nothing", "Not allowed   create traffictraces", "not visible to this account"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
