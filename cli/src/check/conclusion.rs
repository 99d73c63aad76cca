//! Conclusions from the findings: whether tracing works, what prevents it, and what to do.

use traffictrace_crd::{VERSION, human::number_of};

use super::findings::{Attempt, Findings, OLDEST, RESOURCES};

impl Findings {
    pub(super) fn with_attempt(mut self, attempt: Attempt) -> Self {
        self.attempt = Some(attempt);
        self.concluded()
    }

    /// Returns true if this account can create and follow a trace here.
    pub(super) fn may_trace(&self) -> bool {
        self.definitions.missing.is_empty() && self.forbidden().next().is_none()
    }

    /// Verbs that `run` needs and that this account may not use.
    fn forbidden(&self) -> impl Iterator<Item = &'static str> {
        let needed = self.rights.iter().filter(|right| right.resource == RESOURCES[0] && !right.allowed);
        needed.map(|right| right.verb)
    }

    /// Adds the conclusion and the advice to the findings.
    pub(super) fn concluded(mut self) -> Self {
        let obstacles = self.obstacles();
        self.works = obstacles.is_empty();
        self.conclusion = match obstacles.first() {
            Some((obstacle, _)) => {
                format!("Tracing does not work in the namespace {}: {obstacle}.", self.namespace)
            }
            None => format!("Tracing works in the namespace {}{}.", self.namespace, self.extent()),
        };
        let advice = obstacles.into_iter().map(|(_, advice)| advice).filter(|advice| !advice.is_empty());
        self.advice = advice.chain(self.hints()).collect();
        self.advice.dedup();
        self
    }

    /// Describes the extent of a positive conclusion.
    fn extent(&self) -> String {
        if let Some(attempt) = &self.attempt
            && attempt.nodes > 0
        {
            return format!(", on all {} with pods in it", number_of(attempt.nodes, "node"));
        }
        match &self.agents {
            Some(agents) if agents.not_ready.is_empty() => {
                format!(", on {}", number_of(agents.ready as u64, "node"))
            }
            Some(agents) => format!(", on {} of {}", agents.ready, number_of(agents.nodes as u64, "node")),
            None => ", as far as this account can see".to_owned(),
        }
    }

    /// Returns the obstacles that keep traces from working, each with its remedy.
    fn obstacles(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        let install = "Whoever runs the cluster installs TrafficTrace with the chart: helm upgrade --install traffictrace \
                       charts/traffictrace --namespace traffictrace-system.";
        if !self.server.is_supported {
            found.push((
                format!(
                    "the API server is Kubernetes {}, and 1.{OLDEST} is the oldest that is supported",
                    self.server.version
                ),
                String::new(),
            ));
        }
        match self.definitions.missing.as_slice() {
            [] => {}
            missing if missing.len() == RESOURCES.len() && self.definitions.versions.is_empty() => {
                found.push(("the definitions are not installed".to_owned(), install.to_owned()));
                return found;
            }
            missing => found.push((
                format!("{} of version {VERSION} are not served", missing.join(", ")),
                "The definitions and this plugin are of different versions: take the plugin of the installed version, or \
                 apply the newer definitions (manifests/crds)."
                    .to_owned(),
            )),
        }
        let forbidden: Vec<&str> = self.forbidden().collect();
        if !forbidden.is_empty() {
            found.push((
                format!("this account may not {} traffictraces there", forbidden.join(", ")),
                format!(
                    "The role edit of the namespace has these rights: kubectl create rolebinding traffictrace \
                     --namespace {} --clusterrole=edit --user=USER.",
                    self.namespace
                ),
            ));
        }
        match &self.controller {
            Some(controller) if controller.deployment.is_none() => {
                found.push(("the controller is not installed".to_owned(), install.to_owned()));
            }
            Some(controller) if !controller.is_ready => {
                let reason = controller.reason.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
                found.push((format!("the controller is not ready{reason}"), String::new()));
            }
            _ => {}
        }
        match &self.agents {
            Some(agents) if agents.daemon_set.is_none() => {
                found.push(("the agents are not installed".to_owned(), install.to_owned()));
            }
            Some(agents) if agents.ready == 0 => {
                found.push(("no agent is ready".to_owned(), String::new()));
            }
            _ => {}
        }
        if let Some(attempt) = &self.attempt {
            if !attempt.controller_answers {
                found.push((
                    "no controller has answered a trace".to_owned(),
                    "Ask whoever runs the cluster whether TrafficTrace's controller runs.".to_owned(),
                ));
            } else if attempt.nodes_reporting < attempt.nodes {
                let missing = attempt.nodes - attempt.nodes_reporting;
                let nodes = number_of(attempt.nodes, "node");
                found.push((
                    format!("no agent reports from {missing} of {nodes} with pods in it"),
                    "Ask whoever runs the cluster whether TrafficTrace's agents run on these nodes."
                        .to_owned(),
                ));
            }
        }
        found
    }

    /// Returns further advice that is not about an obstacle.
    fn hints(&self) -> Vec<String> {
        let mut hints = Vec::new();
        let unread = self.controller.is_none() || self.agents.is_none();
        if unread && self.attempt.is_none() && self.may_trace() {
            hints.push(
                "This account may not read the controller and the agents. To see whether they answer: kubectl traffictrace \
                 check --try."
                    .to_owned(),
            );
        }
        if self.rights.iter().any(|right| right.resource == RESOURCES[2] && !right.allowed) {
            hints.push(
                "Flame graphs take the right to list traffictraceprofiles, which the role view has."
                    .to_owned(),
            );
        }
        if self.attempt.as_ref().is_some_and(|attempt| attempt.controller_answers && attempt.nodes == 0) {
            hints.push(format!(
                "The controller answers; no pod runs in the namespace {}, so no agent was asked.",
                self.namespace
            ));
        }
        hints
    }
}

#[cfg(test)]
pub(super) mod tests {
    use k8s_openapi::apimachinery::pkg::version::Info;

    use super::{
        super::findings::{Agents, Controller, Definitions, NotReady, Parts, Right, Server},
        *,
    };

    pub(in crate::check) fn findings(parts: Parts, denied: &[&str]) -> Findings {
        let info =
            Info { major: "1".into(), minor: "30+".into(), git_version: "v1.30.4".into(), ..Info::default() };
        let right = |verb, resource| Right { verb, resource, allowed: !denied.contains(&verb) };
        let rights = vec![right("create", "traffictraces"), right("list", "traffictraceprofiles")];
        let definitions = Definitions::new(&RESOURCES.map(str::to_owned), vec![VERSION.to_owned()]);
        Findings::new(Server::new("https://k".into(), &info), definitions, "shop".into(), rights, parts)
    }

    pub(in crate::check) fn parts(ready: usize, not_ready: Vec<NotReady>) -> Parts {
        Parts {
            controller: Some(Controller {
                deployment: Some("s/controller".into()),
                image: Some("t:1".into()),
                is_ready: true,
                reason: None,
            }),
            agents: Some(Agents {
                daemon_set: Some("s/agent".into()),
                images: vec!["t:1".into()],
                ready,
                nodes: ready + not_ready.len(),
                not_ready,
            }),
        }
    }

    #[test]
    fn it_works_where_nothing_is_in_the_way() {
        let all = findings(parts(2, Vec::new()), &[]);
        assert!(all.works && all.advice.is_empty(), "{all:?}");
        assert_eq!(all.conclusion, "Tracing works in the namespace shop, on 2 nodes.");
        let one = NotReady { node: "n".into(), reason: "r".into() };
        let most = findings(parts(2, vec![one.clone()]), &[]);
        assert_eq!(most.conclusion, "Tracing works in the namespace shop, on 2 of 3 nodes.");
        assert!(!findings(parts(0, vec![one]), &[]).works);
    }

    #[test]
    fn what_may_not_be_read_can_be_tried() {
        let blind = findings(Parts::default(), &[]);
        assert!(blind.works && blind.advice[0].contains("--try"), "{blind:?}");
        let attempt =
            Attempt { controller_answers: true, pods: 3, nodes: 2, nodes_reporting: 2, message: None };
        let tried = blind.clone().with_attempt(attempt.clone());
        assert_eq!(tried.conclusion, "Tracing works in the namespace shop, on all 2 nodes with pods in it.");
        let half = blind.clone().with_attempt(Attempt { nodes_reporting: 1, ..attempt });
        assert!(!half.works && half.conclusion.contains("no agent reports from 1 of 2 nodes"), "{half:?}");
        assert!(!blind.with_attempt(Attempt::default()).works);
    }

    #[test]
    fn rights_and_versions_are_in_the_way() {
        let denied = findings(parts(1, Vec::new()), &["create"]);
        assert!(!denied.works && denied.conclusion.contains("may not create traffictraces"), "{denied:?}");
        let old = Info { major: "1".into(), minor: "29".into(), ..Info::default() };
        assert!(!Server::new(String::new(), &old).is_supported);
        let missing = Definitions::new(&["traffictraces".to_owned()], vec!["v1alpha1".to_owned()]);
        assert_eq!(missing.missing, ["traffictracereports", "traffictraceprofiles"]);
    }
}
