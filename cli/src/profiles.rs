//! The profiles of a trace, read from the API server.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    time::Duration,
};

use kube::{Api, ResourceExt as _, api::ListParams};
use tokio::time::{Instant, sleep};
use traffictrace_crd::{Phase, TRACE_UID_LABEL, TrafficTrace, TrafficTraceProfile, human::printable};
use traffictrace_profile::{By, Graph, Room, Way};
use traffictrace_view::snapshot::{Function, Functions};

use crate::{cluster::Cluster, error::CliError};

/// Maximum number of profiles in one response. Each has at most half a MiB.
const IN_ONE_ANSWER: u32 = 16;
/// Maximum time to wait for the last profiles of a trace that is over, and the interval between two attempts. Agents write the
/// profiles within seconds of their last reports.
const LAST_WITHIN: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(500);
/// Maximum number of functions in a snapshot, those with the most bytes.
const MAX_FUNCTIONS: usize = 1000;
/// Maximum number of lines that name the container of a function, those with the most bytes. The bytes that a function moves
/// in other containers are one line.
const MAX_OWNED: usize = 5000;

/// The profiles of all nodes of a trace, merged.
#[derive(Debug, Default)]
pub(crate) struct Profiles {
    pub(crate) graph: Graph,
    /// Number of profiles with stacks.
    pub(crate) count: usize,
    /// Nodes whose agents have written a profile without stacks.
    pub(crate) empty: Vec<String>,
    /// Number of profiles that are the last ones of their nodes.
    pub(crate) last: u64,
}

/// Reads and merges the profiles of a trace. If the trace is over, waits for a limited time until its nodes have written their last
/// profiles. Also returns the number of last profiles that are still missing.
///
/// # Errors
///
/// Those of [`of`].
pub(crate) async fn settled(cluster: &Cluster, trace: &TrafficTrace) -> Result<(Profiles, u64), CliError> {
    let deadline = Instant::now() + LAST_WITHIN;
    loop {
        let profiles = of(cluster, trace).await?;
        let awaited = last_expected(trace).saturating_sub(profiles.last);
        if awaited == 0 || Instant::now() >= deadline {
            return Ok((profiles, awaited));
        }
        sleep(PAUSE).await;
    }
}

/// Returns the number of last profiles that a finished trace will have; 0 while the trace runs.
fn last_expected(trace: &TrafficTrace) -> u64 {
    let status = trace.status.as_ref().filter(|status| status.phase == Some(Phase::Completed));
    let stacks = status.and_then(|status| status.stacks.as_ref());
    stacks.and_then(|stacks| u64::try_from(stacks.nodes).ok()).unwrap_or(0)
}

/// Reads and merges the profiles of a trace.
///
/// # Errors
///
/// [`CliError`] if the profiles cannot be listed, or one of them cannot be parsed.
pub(crate) async fn of(cluster: &Cluster, trace: &TrafficTrace) -> Result<Profiles, CliError> {
    let profiles: Api<TrafficTraceProfile> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let uid = trace.uid().unwrap_or_default();
    let mut params = ListParams::default().labels(&format!("{TRACE_UID_LABEL}={uid}")).limit(IN_ONE_ANSWER);
    let mut merging = Merging::new(uid);
    loop {
        let answer = match profiles.list(&params).await {
            Ok(answer) => answer,
            Err(error) => return Err(cluster.explain(error).await),
        };
        for profile in answer.items {
            merging.add(&profile).map_err(CliError::Failed)?;
        }
        match answer.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return merging.end().map_err(CliError::Failed),
        }
    }
}

/// The state of merging profiles.
struct Merging {
    uid: String,
    graphs: Vec<Graph>,
    room: Room,
    empty: Vec<String>,
    last: u64,
}

impl Merging {
    fn new(uid: String) -> Self {
        Self { uid, graphs: Vec::new(), room: Room::of_many(), empty: Vec::new(), last: 0 }
    }

    /// Adds a profile, unless it belongs to another trace with the same name.
    fn add(&mut self, profile: &TrafficTraceProfile) -> Result<(), String> {
        let spec = &profile.spec;
        if spec.trace_uid != self.uid {
            return Ok(());
        }
        self.last += u64::from(spec.is_final);
        if spec.profile.is_empty() {
            self.empty.push(spec.node_name.clone());
            return Ok(());
        }
        let graph = Graph::from_base64_within(&spec.profile, &mut self.room).map_err(|error| {
            let (name, node) = (profile.name_any(), &spec.node_name);
            format!(
                "cannot read the TrafficTraceProfile {} of node {}: {error}",
                printable(&name),
                printable(node)
            )
        })?;
        self.graphs.push(graph);
        Ok(())
    }

    fn end(self) -> Result<Profiles, String> {
        let count = self.graphs.len();
        let graph =
            Graph::sum(self.graphs).map_err(|error| format!("cannot add up the profiles: {error}"))?;
        Ok(Profiles { graph, count, empty: self.empty, last: self.last })
    }
}

/// A function: its name, its file and the name of its process.
type Code<'a> = (&'a str, &'a str, &'a str);
/// A pod as `NAMESPACE/NAME`, and a container.
type Owner<'a> = (&'a str, &'a str);

/// Returns the functions of a graph by container, each with the bytes that it moved itself or through functions that it called.
pub(crate) fn functions(graph: &Graph) -> Functions {
    let mut sums: HashMap<(Code<'_>, Owner<'_>), (u64, u64)> = HashMap::new();
    let mut on_stack = HashSet::new();
    for row in graph.rows() {
        let process = &row.key.process;
        on_stack.clear();
        let frames = row.key.frames.iter();
        // A recursive function counts the bytes of a stack once.
        for frame in frames.filter(|frame| on_stack.insert((frame.name.as_str(), frame.module.as_str()))) {
            let code = (frame.name.as_str(), frame.module.as_str(), process.command.as_str());
            let sum = sums.entry((code, (process.pod.as_str(), process.container.as_str()))).or_default();
            match row.key.way {
                Way::Received => sum.0 += row.bytes,
                Way::Sent => sum.1 += row.bytes,
            }
        }
    }
    let coverage = &graph.coverage;
    Functions {
        functions: bounded(sums, MAX_FUNCTIONS, MAX_OWNED),
        notice: None,
        bytes: graph.total(Way::Received, By::Bytes) + graph.total(Way::Sent, By::Bytes),
        nodes: None,
        stacks: coverage.stacks,
        bytes_at_own_call: coverage.own,
        bytes_without_stack: coverage.without_stack(),
    }
}

/// Limits the functions to the `functions` ones with the most bytes. At most `owned` lines name a pod and container; the other
/// lines of a function are added up into one, so that the function keeps all of its bytes. Lines are in descending order of
/// bytes.
fn bounded(
    sums: HashMap<(Code<'_>, Owner<'_>), (u64, u64)>,
    functions: usize,
    owned: usize,
) -> Vec<Function> {
    let mut codes: HashMap<Code<'_>, u64> = HashMap::new();
    for ((code, _), (rx_bytes, tx_bytes)) in &sums {
        *codes.entry(*code).or_default() += rx_bytes + tx_bytes;
    }
    let mut largest: Vec<(Code<'_>, u64)> = codes.into_iter().collect();
    largest.sort_by_key(|(code, bytes)| (Reverse(*bytes), *code));
    let kept: HashSet<Code<'_>> = largest.into_iter().take(functions).map(|(code, _)| code).collect();
    let mut lines: Vec<_> = sums.into_iter().filter(|((code, _), _)| kept.contains(code)).collect();
    lines.sort_by_key(|(key, (rx_bytes, tx_bytes))| (Reverse(rx_bytes + tx_bytes), *key));
    let mut others: HashMap<Code<'_>, (u64, u64)> = HashMap::new();
    for ((code, _), (rx_bytes, tx_bytes)) in lines.drain(owned.min(lines.len())..) {
        let other = others.entry(code).or_default();
        (other.0, other.1) = (other.0 + rx_bytes, other.1 + tx_bytes);
    }
    lines.extend(others.into_iter().map(|(code, bytes)| ((code, ("", "")), bytes)));
    lines.sort_by_key(|(key, (rx_bytes, tx_bytes))| (Reverse(rx_bytes + tx_bytes), *key));
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let function = |(((name, module, command), (pod, container)), (rx_bytes, tx_bytes)): (
        (Code<'_>, Owner<'_>),
        (u64, u64),
    )| {
        let (namespace, pod) = pod.split_once('/').unwrap_or(("", pod));
        Function {
            name: name.to_owned(),
            module: some(module),
            command: some(command),
            namespace: some(namespace),
            pod: some(pod),
            container: some(container),
            rx_bytes,
            tx_bytes,
        }
    };
    lines.into_iter().map(function).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    };

    use serde_json::json;
    use traffictrace_profile::testing::graph;

    use super::*;
    use crate::testing::{cluster, completed, forbidden, profile, running};

    #[test]
    fn the_profiles_of_the_trace_add_up() {
        let mut merging = Merging::new("u1".to_owned());
        let one = graph(&[(Way::Sent, &["main", "write"], 10, 1)]);
        let two = graph(&[(Way::Sent, &["main", "write"], 100, 1), (Way::Received, &["main", "read"], 5, 1)]);
        merging.add(&profile("u1", "a", &one)).unwrap();
        merging.add(&profile("u1", "b", &two)).unwrap();
        merging.add(&profile("another", "a", &two)).unwrap();
        let mut empty = profile("u1", "c", &one);
        empty.spec.profile.clear();
        merging.add(&empty).unwrap();
        let profiles = merging.end().unwrap();
        assert_eq!((profiles.count, profiles.empty), (2, vec!["c".to_owned()]));
        assert_eq!(profiles.graph.total(Way::Sent, By::Bytes), 110);
        assert_eq!(profiles.graph.total(Way::Received, By::Bytes), 5);
    }

    #[tokio::test]
    async fn all_answers_of_the_api_server_are_read() {
        let trace = running();
        let uid = trace.uid().unwrap();
        let cluster = cluster(move |path| {
            assert!(path.contains(&format!("labelSelector=traffictrace.dev%2Ftrace-uid%3D{uid}")), "{path}");
            let is_second = path.contains("continue=more");
            let bytes = if is_second { 1 } else { 1000 };
            let profile = profile(&uid, &format!("n{bytes}"), &graph(&[(Way::Sent, &["main"], bytes, 1)]));
            let next = if is_second { "" } else { "more" };
            let list = json!({
                "kind": "TrafficTraceProfileList", "apiVersion": "traffictrace.dev/v1alpha1",
                "metadata": {"continue": next}, "items": [profile],
            });
            (200, list)
        });
        let profiles = of(&cluster, &trace).await.unwrap();
        assert_eq!((profiles.count, profiles.graph.total(Way::Sent, By::Bytes)), (2, 1001));
    }

    #[tokio::test]
    async fn the_last_profiles_of_a_trace_that_is_over_are_waited_for() {
        let (requests, uid) = (Arc::new(AtomicU64::new(0)), running().uid().unwrap());
        let asked = Arc::clone(&requests);
        let cluster = cluster(move |_| {
            let is_late = asked.fetch_add(1, Ordering::Relaxed) > 0;
            let profile = |node, is_final| {
                let mut profile = profile(&uid, node, &graph(&[(Way::Sent, &["main"], 10, 1)]));
                profile.spec.is_final = is_final;
                profile
            };
            (200, json!({"metadata": {}, "items": [profile("a", true), profile("b", is_late)]}))
        });
        let (profiles, awaited) = settled(&cluster, &completed()).await.unwrap();
        assert_eq!((profiles.last, awaited, requests.load(Ordering::Relaxed)), (2, 0, 2));
        // A running trace has no last profiles to wait for.
        let (_, awaited) = settled(&cluster, &running()).await.unwrap();
        assert_eq!((awaited, requests.load(Ordering::Relaxed)), (0, 3));
    }

    #[tokio::test]
    async fn who_may_not_read_profiles_is_told_so() {
        let error = of(&cluster(|_| forbidden()), &running()).await.unwrap_err();
        assert_eq!(error.to_string(), "Error from server (Forbidden): no");
    }

    #[test]
    fn a_damaged_profile_is_told_with_its_node() {
        let mut damaged = profile("u1", "a\u{1b}", &graph(&[(Way::Sent, &["main"], 1, 1)]));
        damaged.spec.profile = "&&&".to_owned();
        let error = Merging::new("u1".to_owned()).add(&damaged).unwrap_err();
        assert!(error.contains("of node a?: it is no base64"), "{error}");
    }

    #[test]
    fn a_function_has_the_bytes_of_what_it_calls_once() {
        let graph = graph(&[
            (Way::Sent, &["main", "walk", "walk", "write"], 100, 1),
            (Way::Received, &["main", "read"], 7, 1),
            (Way::Sent, &["main", "write"], 20, 1),
        ]);
        let functions = functions(&graph);
        let shown: Vec<_> = functions
            .functions
            .iter()
            .map(|function| (function.name.as_str(), function.rx_bytes, function.tx_bytes))
            .collect();
        assert_eq!(shown, [("main", 7, 120), ("write", 0, 120), ("walk", 0, 100), ("read", 7, 0)]);
        assert_eq!((functions.bytes, functions.functions[0].command.as_deref()), (127, Some("nginx")));
    }

    #[test]
    fn functions_keep_all_of_their_bytes_however_many_containers_they_are_in() {
        let mut sums = HashMap::new();
        let (write, send, rare) = (("write", "", "nginx"), ("send", "", "nginx"), ("rare", "", "nginx"));
        for (code, pod, bytes) in [
            (write, "shop/a", 100),
            (write, "shop/b", 30),
            (write, "shop/c", 5),
            (send, "shop/a", 40),
            (rare, "shop/a", 1),
        ] {
            sums.insert((code, (pod, "main")), (0, bytes));
        }
        let functions = bounded(sums, 2, 2);
        let shown: Vec<_> = functions
            .iter()
            .map(|function| (function.name.as_str(), function.pod.as_deref(), function.tx_bytes))
            .collect();
        assert_eq!(shown, [("write", Some("a"), 100), ("send", Some("a"), 40), ("write", None, 35)]);
        assert_eq!(functions[0].namespace.as_deref(), Some("shop"));
    }
}
