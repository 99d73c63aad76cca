//! Reasons why a node has no agent, or one that is not ready.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{Node, NodeSelectorTerm, Pod, PodSpec, Taint, Toleration},
    apimachinery::pkg::apis::meta::v1::LabelSelectorRequirement,
};
use kube::core::{Expression, Selector, SelectorExt as _};
use traffictrace_crd::human::printable;

/// Taints that the pods of every DaemonSet tolerate.
const TOLERATED: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];

/// Returns the reason why an agent's pod is not ready; `None` if it is ready.
pub(super) fn not_ready(pod: &Pod) -> Option<String> {
    let status = pod.status.clone().unwrap_or_default();
    let condition = |kind: &str| status.conditions.iter().flatten().find(|condition| condition.type_ == kind);
    if pod.metadata.deletion_timestamp.is_some() {
        return Some("its pod is being deleted".to_owned());
    }
    if condition("Ready").is_some_and(|ready| ready.status == "True") {
        return None;
    }
    let told = |reason: &str, message: Option<&String>| {
        let message = message
            .map(|message| format!(": {}", printable(message.trim().trim_end_matches('.'))))
            .unwrap_or_default();
        format!("{}{message}", printable(reason))
    };
    let states = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    for container in states {
        let state = container.state.clone().unwrap_or_default();
        let ended = container.last_state.clone().and_then(|state| state.terminated);
        let ended = ended.map(|ended| {
            let reason = ended.reason.clone().unwrap_or_else(|| "ended".to_owned());
            format!(" (before: {}, exit status {})", told(&reason, ended.message.as_ref()), ended.exit_code)
        });
        if let Some(waiting) = state.waiting
            && waiting.reason.as_deref().is_some_and(|reason| reason != "ContainerCreating")
        {
            let reason = waiting.reason.unwrap_or_default();
            return Some(told(&reason, waiting.message.as_ref()) + &ended.unwrap_or_default());
        }
    }
    if let Some(scheduled) = condition("PodScheduled").filter(|scheduled| scheduled.status == "False") {
        let reason = scheduled.reason.clone().unwrap_or_else(|| "Unscheduled".to_owned());
        // The scheduler appends why preemption does not help, which adds nothing here.
        let message = scheduled
            .message
            .as_ref()
            .map(|text| text.split(" preemption:").next().unwrap_or(text).to_owned());
        return Some(told(&reason, message.as_ref()));
    }
    let phase = status.phase.unwrap_or_else(|| "Pending".to_owned());
    match (status.reason, phase.as_str()) {
        (Some(reason), _) => Some(told(&reason, status.message.as_ref())),
        (None, "Running") => Some("its pod runs and is not ready yet: see its log".to_owned()),
        (None, phase) => Some(format!("its pod is {}", printable(phase))),
    }
}

/// Returns the reason why a node has no pod of a DaemonSet.
pub(super) fn no_pod(node: &Node, template: &PodSpec) -> String {
    let labels = node.metadata.labels.clone().unwrap_or_default();
    for (key, value) in template.node_selector.iter().flatten() {
        if labels.get(key) != Some(value) {
            return format!(
                "no agent: the DaemonSet is for nodes with the label {key}={value} (nodeSelector)"
            );
        }
    }
    let required = template.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required =
        required.and_then(|node| node.required_during_scheduling_ignored_during_execution.as_ref());
    if required.is_some_and(|required| !required.node_selector_terms.iter().any(|term| takes(term, &labels)))
    {
        return "no agent: the node affinity of the DaemonSet leaves this node out".to_owned();
    }
    let tolerations = template.tolerations.clone().unwrap_or_default();
    let spec = node.spec.clone().unwrap_or_default();
    let taints = spec.taints.unwrap_or_default();
    if let Some(taint) = taints.iter().find(|taint| !is_tolerated(taint, &tolerations)) {
        let value = taint.value.as_deref().map(|value| format!("={value}")).unwrap_or_default();
        return format!(
            "no agent: it does not tolerate the taint {}{value}:{} (agent.tolerations of the chart)",
            taint.key, taint.effect
        );
    }
    "no agent: its pod is not there yet, or was refused (see kubectl describe daemonset)".to_owned()
}

/// Returns true if a term of a node affinity matches a node. Requirements that are not about labels count as
/// fulfilled.
fn takes(term: &NodeSelectorTerm, labels: &BTreeMap<String, String>) -> bool {
    let expressions = term.match_expressions.iter().flatten().filter_map(|wanted| {
        Expression::try_from(LabelSelectorRequirement {
            key: wanted.key.clone(),
            operator: wanted.operator.clone(),
            values: wanted.values.clone(),
        })
        .ok()
    });
    expressions.collect::<Selector>().matches(labels)
}

fn is_tolerated(taint: &Taint, tolerations: &[Toleration]) -> bool {
    if taint.effect == "PreferNoSchedule" || TOLERATED.contains(&(taint.key.as_str(), taint.effect.as_str()))
    {
        return true;
    }
    tolerations.iter().any(|toleration| {
        let key = toleration.key.as_deref().unwrap_or_default();
        let of_effect =
            toleration.effect.as_deref().is_none_or(|effect| effect.is_empty() || effect == taint.effect);
        let of_key = match toleration.operator.as_deref() {
            Some("Exists") => key.is_empty() || key == taint.key,
            _ => {
                key == taint.key
                    && toleration.value.as_deref().unwrap_or_default()
                        == taint.value.as_deref().unwrap_or_default()
            }
        };
        of_effect && of_key
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn node(labels: Value, taints: Value) -> Node {
        serde_json::from_value(
            json!({"metadata": {"name": "n", "labels": labels}, "spec": {"taints": taints}}),
        )
        .unwrap()
    }

    fn why(node: &Node, template: Value) -> String {
        let mut template = template;
        template["containers"] = json!([]);
        no_pod(node, &serde_json::from_value(template).unwrap())
    }

    #[test]
    fn a_node_that_the_daemon_set_leaves_out_says_by_what() {
        let gpu = node(
            json!({"kubernetes.io/os": "linux"}),
            json!([{"key": "gpu", "value": "a", "effect": "NoSchedule"}]),
        );
        assert!(
            why(&gpu, json!({"nodeSelector": {"kubernetes.io/os": "windows"}}))
                .contains("kubernetes.io/os=windows")
        );
        assert!(why(&gpu, json!({})).contains("taint gpu=a:NoSchedule"));
        for toleration in [
            json!({"operator": "Exists"}),
            json!({"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}),
            json!({"key": "gpu", "value": "a"}),
        ] {
            assert!(
                why(&gpu, json!({"tolerations": [toleration]})).contains("not there yet"),
                "{toleration}"
            );
        }
        for toleration in
            [json!({"key": "gpu", "value": "b"}), json!({"operator": "Exists", "effect": "NoExecute"})]
        {
            assert!(why(&gpu, json!({"tolerations": [toleration]})).contains("taint"), "{toleration}");
        }
        let cordoned =
            node(json!({}), json!([{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]));
        assert!(why(&cordoned, json!({})).contains("not there yet"));
        let affinity = |operator: &str| {
            json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
            {"nodeSelectorTerms": [{"matchExpressions": [
                {"key": "kubernetes.io/os", "operator": operator, "values": ["linux"]}]}]}}}})
        };
        assert!(why(&gpu, affinity("NotIn")).contains("affinity"));
        assert!(why(&gpu, affinity("In")).contains("taint"));
    }

    #[test]
    fn a_pod_that_is_not_ready_says_why() {
        let why = |status: Value| not_ready(&serde_json::from_value(json!({"status": status})).unwrap());
        assert_eq!(why(json!({"conditions": [{"type": "Ready", "status": "True"}]})), None);
        let container = |state: Value, last: Value| {
            json!({"phase": "Pending", "containerStatuses": [
                {"name": "agent", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state,
                 "lastState": last}]})
        };
        let pull = container(
            json!({"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}),
            json!({}),
        );
        assert_eq!(why(pull).as_deref(), Some("ImagePullBackOff: no such image"));
        let crash = container(
            json!({"waiting": {"reason": "CrashLoopBackOff"}}),
            json!({"terminated": {"reason": "OOMKilled", "exitCode": 137}}),
        );
        assert_eq!(why(crash).as_deref(), Some("CrashLoopBackOff (before: OOMKilled, exit status 137)"));
        let full = json!({"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes: no memory"}]});
        assert_eq!(why(full).as_deref(), Some("Unschedulable: 0/1 nodes: no memory"));
        assert!(why(json!({"phase": "Running"})).unwrap().contains("log"));
    }
}
