//! Planning: from traces and this node's pods to the kernel's selection.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use jiff::Timestamp;
use kube::core::SelectorExt as _;
use traffictrace_crd::NotVisible;
use traffictrace_ebpf::layout::SESSIONS;

use super::{Pod, Trace, Uid};
use crate::cgroups::PodKey;
use crate::engine::{CgroupKind, HttpSpec, SelectedCgroup, SessionSpec, StackSpec};

/// Maximum number of pods that a report names as not visible.
const NOT_VISIBLE: usize = 8;

/// A cgroup of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) cgroup: u64,
    pub(crate) kind: CgroupKind,
    /// The cgroup's folder, relative to the root of the tree.
    pub(crate) path: PathBuf,
    /// Name of the container, if the cgroup belongs to a single one.
    pub(crate) container: Option<String>,
}

/// State of a trace that this node already works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Running {
    /// The trace has a session, which counts its traffic.
    Armed,
    /// The trace was refused, or an earlier agent traced it.
    Waiting,
}

/// Plans of the traces that this node has to count. Other traces are absent.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) traces: BTreeMap<Uid, Planned>,
}

/// Plan of one trace: the specification of its session, and what the trace selects.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) spec: SessionSpec,
    /// The pods that the trace selects now.
    pub(crate) pods: BTreeSet<Uid>,
    /// The containers that the trace selects now, by pod and name.
    pub(crate) containers: BTreeSet<(Uid, String)>,
    pub(crate) not_visible: Vec<NotVisible>,
    pub(crate) refused: Option<Refusal>,
}

/// The reason why a trace gets no session on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// All sessions are in use.
    TooManySessions,
}

/// Plans all traces that run now.
///
/// A trace is planned if it selects a pod of this node, or did so earlier (`running`). It then stays planned until its
/// end, so that the counts of removed pods stay. At most [`SESSIONS`] (64) traces get a session, and namespaces share
/// the sessions fairly: a namespace below its share gets a session before a namespace above its share. Within a
/// namespace, traces that are counted already come first, then older ones, so that a new trace never displaces another
/// one of its own namespace.
pub(crate) fn plan<'a>(
    traces: impl Iterator<Item = &'a Trace>,
    pods: &BTreeMap<Uid, Pod>,
    places: &BTreeMap<Uid, Vec<Place>>,
    running: &BTreeMap<Uid, Running>,
    max_rows: usize,
    now: Timestamp,
) -> Plan {
    let owners = folder_owners(pods);
    let wanted = traces
        .filter(|trace| trace.is_running(now))
        .map(|trace| (trace, select(trace, pods, places, &owners, max_rows)))
        .filter(|(trace, planned)| !planned.pods.is_empty() || running.contains_key(&trace.uid));
    let mut plan = Plan::default();
    for (place, (trace, mut planned)) in fair_order(wanted.collect(), running).into_iter().enumerate() {
        if place >= SESSIONS {
            planned.refused = Some(Refusal::TooManySessions);
        }
        plan.traces.insert(trace.uid.clone(), planned);
    }
    plan
}

/// Sorts traces into the order in which they get a session: the first of each namespace, then the second of each, and
/// so on.
fn fair_order<'a>(
    mut wanted: Vec<(&'a Trace, Planned)>,
    running: &BTreeMap<Uid, Running>,
) -> Vec<(&'a Trace, Planned)> {
    let is_armed = |trace: &Trace| running.get(&trace.uid) == Some(&Running::Armed);
    wanted.sort_by_key(|(trace, _)| {
        (trace.namespace.clone(), !is_armed(trace), trace.created, trace.uid.clone())
    });
    let mut ranked = Vec::with_capacity(wanted.len());
    let (mut namespace, mut rank) = ("", 0);
    for (trace, planned) in wanted {
        rank = if trace.namespace == namespace { rank + 1 } else { 0 };
        namespace = &trace.namespace;
        ranked.push((rank, trace, planned));
    }
    // Among traces of the same rank, those that have a session already come first.
    ranked.sort_by_key(|(rank, trace, _)| (*rank, !is_armed(trace), trace.created, trace.uid.clone()));
    ranked.into_iter().map(|(_, trace, planned)| (trace, planned)).collect()
}

/// Returns the pod that each folder belongs to. By annotations any pod can claim the folder of a static pod (see
/// [`Pod::read`]), so the oldest pod that claims a folder gets it: the static pod existed before.
fn folder_owners(pods: &BTreeMap<Uid, Pod>) -> BTreeMap<&PodKey, &Uid> {
    let mut owners: BTreeMap<&PodKey, &Pod> = BTreeMap::new();
    for pod in pods.values() {
        let owner = owners.entry(&pod.key).or_insert(pod);
        if (pod.created, &pod.uid) < (owner.created, &owner.uid) {
            *owner = pod;
        }
    }
    owners.into_iter().map(|(key, pod)| (key, &pod.uid)).collect()
}

fn select(
    trace: &Trace,
    pods: &BTreeMap<Uid, Pod>,
    places: &BTreeMap<Uid, Vec<Place>>,
    owners: &BTreeMap<&PodKey, &Uid>,
    max_rows: usize,
) -> Planned {
    let mut planned = Planned {
        spec: SessionSpec {
            filter: trace.filter.clone(),
            group_by: trace.group_by,
            max_rows,
            http: trace.http.as_ref().map(|http| HttpSpec { tls: http.tls, ..HttpSpec::default() }),
            stacks: trace
                .stacks
                .as_ref()
                .map(|stacks| StackSpec { every_call: stacks.every_call, kernel: stacks.kernel }),
            ..SessionSpec::default()
        },
        pods: BTreeSet::new(),
        containers: BTreeSet::new(),
        not_visible: Vec::new(),
        refused: None,
    };
    for pod in
        pods.values().filter(|pod| pod.namespace == trace.namespace && trace.selector.matches(&pod.labels))
    {
        let containers: Vec<&String> = pod.containers.iter().filter(|name| trace.wants(name)).collect();
        if containers.is_empty() || owners.get(&pod.key) != Some(&&pod.uid) {
            continue;
        }
        let places = places.get(&pod.uid).map_or(&[][..], Vec::as_slice);
        if pod.finished && places.is_empty() {
            continue;
        }
        planned.pods.insert(pod.uid.clone());
        if let Some(reason) = not_visible(pod, places) {
            if planned.not_visible.len() < NOT_VISIBLE {
                planned.not_visible.push(NotVisible { pod: pod.name.clone(), reason });
            }
            continue;
        }
        planned.containers.extend(containers.into_iter().map(|name| (pod.uid.clone(), name.clone())));
        for place in places {
            // A container's name becomes known only some time after its start, but its first byte must be counted. So
            // the whole pod is armed, even if the trace names containers, and the report leaves out the rows of other
            // containers. A cgroup of a single container, whose name is known, is armed only if the trace wants it.
            if place.container.as_ref().is_none_or(|name| trace.wants(name)) {
                let selected = SelectedCgroup { kind: place.kind, path: place.path.clone() };
                planned.spec.cgroups.insert(place.cgroup, selected);
            }
        }
    }
    planned
}

/// Returns the reason why a pod's traffic cannot be seen, if there is one. Such a pod must not look idle.
fn not_visible(pod: &Pod, places: &[Place]) -> Option<String> {
    match &pod.sandboxed {
        Some(class) => Some(format!("SandboxedRuntime ({class})")),
        // A pod's folder exists from before its containers start until after they have ended.
        None if pod.running && places.is_empty() => Some("CgroupNotFound".to_owned()),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kube::core::Selector;

    use super::*;
    use crate::session::trace::example;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn trace(uid: &str, labels: &[(&'static str, &'static str)], containers: &[&str]) -> Trace {
        Trace {
            selector: labels.iter().copied().collect::<Selector>(),
            containers: containers.iter().map(|name| (*name).to_owned()).collect(),
            ..example(uid)
        }
    }

    fn pod(uid: &str, namespace: &str, app: &str) -> Pod {
        Pod {
            uid: uid.into(),
            key: PodKey::of_uid(uid),
            namespace: namespace.into(),
            name: format!("{app}-{uid}"),
            created: NOW,
            labels: [("app".to_owned(), app.to_owned())].into(),
            finished: false,
            running: false,
            containers: ["main".to_owned(), "sidecar".to_owned()].into(),
            container_ids: BTreeMap::new(),
            sandboxed: None,
        }
    }

    fn by_uid(pods: Vec<Pod>) -> BTreeMap<Uid, Pod> {
        pods.into_iter().map(|pod| (pod.uid.clone(), pod)).collect()
    }

    fn folders(of: &[(&str, u64)]) -> BTreeMap<Uid, Vec<Place>> {
        let place =
            |cgroup| vec![Place { cgroup, kind: CgroupKind::Pod, path: PathBuf::new(), container: None }];
        of.iter().map(|(uid, cgroup)| ((*uid).to_owned(), place(*cgroup))).collect()
    }

    fn planned(traces: &[Trace], pods: Vec<Pod>, places: &[(&str, u64)]) -> Plan {
        plan(traces.iter(), &by_uid(pods), &folders(places), &BTreeMap::new(), 10, NOW)
    }

    fn cgroups(plan: &Plan, uid: &str) -> Vec<u64> {
        plan.traces[uid].spec.cgroups.keys().copied().collect()
    }

    #[test]
    fn arms_the_pods_that_a_trace_selects_in_its_own_namespace() {
        let pods = vec![pod("p1", "web", "shop"), pod("p2", "web", "db"), pod("p3", "other", "shop")];
        let places = [("p1", 11), ("p2", 12), ("p3", 13)];
        let plan = planned(&[trace("t1", &[("app", "shop")], &[]), trace("t2", &[], &[])], pods, &places);
        assert_eq!(cgroups(&plan, "t1"), [11]);
        assert_eq!(cgroups(&plan, "t2"), [11, 12], "an empty selector selects all pods of the namespace");
        assert_eq!(plan.traces["t1"].spec.cgroups[&11].kind, CgroupKind::Pod);
        assert_eq!(plan.traces["t1"].containers.len(), 2);
    }

    #[test]
    fn stacks_are_asked_for_where_the_trace_does() {
        let stacks = |stacks: Option<traffictrace_crd::StacksSpec>| {
            let trace = Trace { stacks, ..trace("t1", &[], &[]) };
            planned(&[trace], vec![pod("p1", "web", "shop")], &[("p1", 11)]).traces["t1"].spec.stacks
        };
        assert_eq!(stacks(None), None);
        let asked = traffictrace_crd::StacksSpec { every_call: true, kernel: false };
        assert_eq!(stacks(Some(asked)), Some(StackSpec { every_call: true, kernel: false }));
    }

    #[test]
    fn http_is_asked_for_where_the_trace_does() {
        let http = |http: Option<traffictrace_crd::HttpSpec>| {
            let trace = Trace { http, ..trace("t1", &[], &[]) };
            planned(&[trace], vec![pod("p1", "web", "shop")], &[("p1", 11)]).traces["t1"].spec.http.clone()
        };
        assert_eq!(http(None), None);
        let tls = traffictrace_crd::HttpSpec { tls: true, ..Default::default() };
        assert_eq!(http(Some(tls)), Some(HttpSpec { tls: true, ..HttpSpec::default() }));
    }

    #[test]
    fn a_trace_without_pods_here_needs_nothing_here() {
        let plan =
            planned(&[trace("t1", &[("app", "none")], &[])], vec![pod("p1", "web", "shop")], &[("p1", 11)]);
        assert!(plan.traces.is_empty());
    }

    #[test]
    fn a_pod_counts_before_its_folder_is_there() {
        let plan = planned(&[trace("t1", &[], &[])], vec![pod("p1", "web", "shop")], &[]);
        assert_eq!(plan.traces["t1"].pods.len(), 1);
        assert!(cgroups(&plan, "t1").is_empty());
    }

    #[test]
    fn a_pod_that_finished_before_the_trace_is_none_of_it() {
        let mut finished = pod("p1", "web", "shop");
        finished.finished = true;
        assert!(planned(&[trace("t1", &[], &[])], vec![finished.clone()], &[]).traces.is_empty());
        let plan = planned(&[trace("t1", &[], &[])], vec![finished], &[("p1", 11)]);
        assert_eq!(cgroups(&plan, "t1"), [11], "its folder is still there");
    }

    #[test]
    fn with_containers_named_the_pod_is_armed_if_it_has_one_of_them() {
        let pods = vec![pod("p1", "web", "shop")];
        let plan =
            planned(&[trace("t1", &[], &["main"]), trace("t2", &[], &["absent"])], pods, &[("p1", 11)]);
        assert_eq!(cgroups(&plan, "t1"), [11]);
        assert_eq!(plan.traces["t1"].containers, [("p1".to_owned(), "main".to_owned())].into());
        assert!(!plan.traces.contains_key("t2"));
    }

    #[test]
    fn a_place_that_is_one_container_is_armed_only_when_it_is_wanted() {
        let place = |cgroup, name: &str| Place {
            cgroup,
            kind: CgroupKind::Container,
            path: name.into(),
            container: Some(name.to_owned()),
        };
        let places = [("p1".to_owned(), vec![place(21, "main"), place(22, "sidecar")])].into();
        let trace = trace("t1", &[], &["sidecar"]);
        let pods = by_uid(vec![pod("p1", "web", "shop")]);
        let plan = plan([&trace].into_iter(), &pods, &places, &BTreeMap::new(), 10, NOW);
        let selected = SelectedCgroup { kind: CgroupKind::Container, path: "sidecar".into() };
        assert_eq!(plan.traces["t1"].spec.cgroups, [(22, selected)].into());
    }

    #[test]
    fn a_sandboxed_pod_is_named_and_not_armed() {
        let mut sandboxed = pod("p1", "web", "shop");
        sandboxed.sandboxed = Some("gvisor".into());
        let plan = planned(&[trace("t1", &[], &[])], vec![sandboxed], &[("p1", 11)]);
        assert!(cgroups(&plan, "t1").is_empty());
        assert_eq!(plan.traces["t1"].not_visible[0].pod, "shop-p1");
        assert!(plan.traces["t1"].not_visible[0].reason.contains("gvisor"));
    }

    #[test]
    fn a_running_pod_without_a_cgroup_is_named_too() {
        let mut running = pod("p1", "web", "shop");
        running.running = true;
        let lost = planned(&[trace("t1", &[], &[])], vec![running.clone()], &[]);
        assert_eq!(lost.traces["t1"].not_visible[0].reason, "CgroupNotFound");
        let found = planned(&[trace("t1", &[], &[])], vec![running], &[("p1", 11)]);
        assert!(found.traces["t1"].not_visible.is_empty());
    }

    #[test]
    fn a_folder_belongs_to_the_oldest_pod_that_claims_it() {
        let hash = PodKey::of_config_hash("8f14e45fceea167a5a36dedd4bea2543").unwrap();
        let mut real = pod("z-real", "kube-system", "apiserver");
        real.key = hash.clone();
        let mut claim = pod("a-claim", "web", "shop");
        claim.key = hash;
        claim.created = Timestamp::from_second(5).unwrap();
        let plan = planned(&[trace("t1", &[], &[])], vec![real, claim], &[("z-real", 11), ("a-claim", 11)]);
        assert!(plan.traces.is_empty(), "{plan:?}");
    }

    #[test]
    fn what_is_over_is_not_armed() {
        let mut over = trace("t1", &[], &[]);
        over.duration = Duration::ZERO;
        let mut waiting = trace("t2", &[], &[]);
        waiting.started = None;
        let plan = planned(&[over, waiting], vec![pod("p1", "web", "shop")], &[("p1", 11)]);
        assert!(plan.traces.is_empty());
    }

    #[test]
    fn a_trace_goes_on_when_its_pods_are_gone() {
        let trace = trace("t1", &[], &[]);
        let running = [("t1".to_owned(), Running::Armed)].into();
        let plan = plan([&trace].into_iter(), &BTreeMap::new(), &BTreeMap::new(), &running, 10, NOW);
        assert!(plan.traces["t1"].pods.is_empty());
    }

    #[test]
    fn the_65th_is_refused_and_pushes_no_other_out() {
        let traces: Vec<Trace> = (0..=SESSIONS)
            .map(|at| {
                let mut trace = trace(&format!("t{at:02}"), &[], &[]);
                // Traces are created in reverse order of their names: the last one is the oldest.
                trace.created = Timestamp::from_second(100 - at as i64).unwrap();
                trace
            })
            .collect();
        let pods = by_uid(vec![pod("p1", "web", "shop")]);
        let running = traces[..SESSIONS].iter().map(|trace| (trace.uid.clone(), Running::Armed)).collect();
        let refused = |running: &BTreeMap<Uid, Running>| -> Vec<Uid> {
            let plan = plan(traces.iter(), &pods, &BTreeMap::new(), running, 10, NOW);
            plan.traces
                .into_iter()
                .filter(|(_, planned)| planned.refused.is_some())
                .map(|(uid, _)| uid)
                .collect()
        };
        assert_eq!(refused(&running), ["t64"], "those that run stay");
        assert_eq!(refused(&BTreeMap::new()), ["t00"], "else the oldest come first");
    }

    #[test]
    fn sessions_are_shared_fairly_by_namespaces() {
        let of = |namespace: &str, count: usize| -> Vec<Trace> {
            (0..count)
                .map(|at| Trace {
                    namespace: namespace.to_owned(),
                    created: Timestamp::from_second(at as i64).unwrap(),
                    ..trace(&format!("{namespace}{at:02}"), &[], &[])
                })
                .collect()
        };
        let pods = by_uid(["a", "b", "c"].map(|namespace| pod(namespace, namespace, "shop")).into());
        let armed = |traces: &[Trace], running: &BTreeMap<Uid, Running>| -> BTreeMap<String, usize> {
            let plan = plan(traces.iter(), &pods, &BTreeMap::new(), running, 10, NOW);
            let mut counts = BTreeMap::new();
            for (uid, _) in plan.traces.iter().filter(|(_, planned)| planned.refused.is_none()) {
                *counts.entry(uid[..1].to_owned()).or_default() += 1;
            }
            counts
        };
        let counts = |counts: &[(&str, usize)]| -> BTreeMap<String, usize> {
            counts.iter().map(|(namespace, count)| ((*namespace).to_owned(), *count)).collect()
        };
        let crowd = of("a", 64);
        let running = crowd.iter().map(|trace| (trace.uid.clone(), Running::Armed)).collect();
        let with = |more: Vec<Trace>| -> Vec<Trace> { crowd.iter().cloned().chain(more).collect() };
        assert_eq!(armed(&crowd, &running), counts(&[("a", 64)]), "what nobody else wants");
        assert_eq!(armed(&with(of("b", 1)), &running), counts(&[("a", 63), ("b", 1)]));
        assert_eq!(armed(&with(of("b", 100)), &running), counts(&[("a", 32), ("b", 32)]));
        let many = with([of("b", 100), of("c", 5)].concat());
        let shares = armed(&many, &running);
        assert_eq!((shares["c"], shares.values().sum::<usize>()), (5, SESSIONS), "{shares:?}");
        assert!(shares["a"].abs_diff(shares["b"]) <= 1, "{shares:?}");
    }
}
