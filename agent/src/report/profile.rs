//! The profile of a trace on this node: the stacks of the code that moved its bytes.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use traffictrace_crd::{
    PROFILE_BYTES, ProfileBytes, StackTotals, TRACE_LABEL, TrafficTraceProfile, TrafficTraceProfileSpec,
    trace_label,
};
use traffictrace_profile::{About, By, Graph, Way};

use super::build::{metadata, signed};
use crate::session::Trace;

/// The profile of a session's stacks, with its sums.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Profiled {
    /// Sent and received bytes, including those without a known stack.
    pub(crate) sent: u64,
    pub(crate) received: u64,
    /// Number of calls whose stack was taken.
    pub(crate) stacks: u64,
    /// Bytes of calls whose own stack was taken. Those of other calls are spread over the stacks of the same process.
    pub(crate) bytes_at_own_call: u64,
    /// Bytes without a known stack.
    pub(crate) bytes_without_stack: u64,
    /// The stacks.
    pub(crate) graph: Graph,
}

impl Profiled {
    /// Computes the sums of a finished profile.
    pub(crate) fn of(graph: Graph) -> Self {
        Self {
            sent: graph.total(Way::Sent, By::Bytes),
            received: graph.total(Way::Received, By::Bytes),
            stacks: graph.coverage.stacks,
            bytes_at_own_call: graph.coverage.own,
            bytes_without_stack: graph.coverage.without_stack(),
            graph,
        }
    }

    /// Returns the sums alone.
    pub(crate) fn totals(&self) -> StackTotals {
        StackTotals {
            bytes: signed(self.sent.saturating_add(self.received)),
            stacks: signed(self.stacks),
            bytes_at_own_call: signed(self.bytes_at_own_call),
            bytes_without_stack: signed(self.bytes_without_stack),
        }
    }
}

/// A profile whose stacks are not compressed yet. Compressing is slow.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Profile {
    object: TrafficTraceProfile,
    /// `None` if the profile only says that the trace is over; the stacks are then those of the previous run.
    stacks: Option<Graph>,
    /// Maximum size of the compressed stacks, in bytes.
    most: usize,
}

/// Makes the profile of a run of counting that began at `began`.
pub(crate) fn profile(
    trace: &Trace,
    node: &str,
    epoch: i64,
    (began, now): (Timestamp, Timestamp),
    is_final: bool,
    profiled: Profiled,
) -> Profile {
    let StackTotals { bytes: _, stacks, bytes_at_own_call, bytes_without_stack } = profiled.totals();
    let spec = TrafficTraceProfileSpec {
        is_final,
        bytes: ProfileBytes::new(signed(profiled.sent), signed(profiled.received)),
        stacks,
        bytes_at_own_call,
        bytes_without_stack,
        ..bare(trace, node, epoch, (began, now))
    };
    let nanoseconds = |time: Timestamp| time.as_nanosecond().try_into().unwrap_or(0_i64);
    let about = About {
        what: trace.description(),
        began: nanoseconds(began),
        lasted: nanoseconds(now).saturating_sub(nanoseconds(began)).max(0),
    };
    let mut graph = profiled.graph;
    graph.about = about;
    Profile { object: object(trace, node, spec), stacks: Some(graph), most: trace.profile_bytes() }
}

/// Makes the last profile of a trace that takes no stacks at its end. It has no stacks of its own, and only marks the
/// stored profile as final.
pub(crate) fn closing_profile(trace: &Trace, node: &str, epoch: i64, now: Timestamp) -> Profile {
    let spec = TrafficTraceProfileSpec { is_final: true, ..bare(trace, node, epoch, (now, now)) };
    Profile { object: object(trace, node, spec), stacks: None, most: trace.profile_bytes() }
}

fn bare(
    trace: &Trace,
    node: &str,
    epoch: i64,
    (began, now): (Timestamp, Timestamp),
) -> TrafficTraceProfileSpec {
    TrafficTraceProfileSpec {
        trace_name: trace.name.clone(),
        trace_uid: trace.uid.clone(),
        node_name: node.to_owned(),
        begin_time: Some(Time(began)),
        end_time: Some(Time(now)),
        epoch,
        ..TrafficTraceProfileSpec::default()
    }
}

fn object(trace: &Trace, node: &str, spec: TrafficTraceProfileSpec) -> TrafficTraceProfile {
    let mut metadata = metadata(trace, node);
    metadata.labels.get_or_insert_default().insert(TRACE_LABEL.to_owned(), trace_label(&trace.name));
    TrafficTraceProfile { metadata, spec }
}

impl Profile {
    /// Returns the object without its stacks.
    pub(crate) fn object(&self) -> &TrafficTraceProfile {
        &self.object
    }

    /// Compresses the stacks. This takes up to a second and temporarily several times the memory of the stacks.
    pub(crate) fn pack(self) -> Packed {
        let Self { object, stacks, most } = self;
        let closes = stacks.is_none();
        let pprof = stacks.map(|graph| graph.pprof_within(most)).transpose().unwrap_or_else(|error| {
            let trace = &object.spec.trace_name;
            tracing::error!(trace, %error, "the sums of a profile are written without its stacks");
            None
        });
        Packed { object, pprof: pprof.unwrap_or_default(), closes, most }
    }
}

/// A profile whose stacks are compressed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Packed {
    object: TrafficTraceProfile,
    pprof: Vec<u8>,
    closes: bool,
    most: usize,
}

impl Packed {
    /// Returns the object without its stacks.
    pub(crate) fn object(&self) -> &TrafficTraceProfile {
        &self.object
    }

    /// Returns the stacks as a gzipped pprof.
    pub(crate) fn pprof(&self) -> &[u8] {
        &self.pprof
    }

    /// Returns true if there is nothing to write: this profile should only mark a stored one as final, and none is
    /// stored.
    pub(crate) fn says_nothing(&self) -> bool {
        self.closes && self.pprof.is_empty()
    }

    /// Adds the profile of an earlier run of counting and marks the profile as interrupted, since the earlier run's
    /// traffic after its last write is missing. If the earlier profile cannot be read or has no room, it is left out.
    pub(crate) fn go_on(&mut self, earlier: &TrafficTraceProfileSpec) {
        let spec = &mut self.object.spec;
        spec.interrupted = true;
        let most = PROFILE_BYTES.div_ceil(3) * 4;
        let packed = Some(&earlier.profile).filter(|profile| profile.len() <= most);
        let before = packed.and_then(|profile| BASE64_STANDARD.decode(profile).ok());
        let merged =
            before.and_then(
                |before| {
                    if self.closes { Some(before) } else { merge(&before, &self.pprof, self.most) }
                },
            );
        let Some(merged) = merged else {
            tracing::warn!(
                trace = spec.trace_name,
                "the profile of before the agent began is left out: it cannot be joined with the one of now"
            );
            return;
        };
        self.pprof = merged;
        let sum = |one: i64, two: i64| one.saturating_add(two.max(0));
        spec.begin_time = earlier.begin_time.clone().or(spec.begin_time.take());
        spec.bytes = ProfileBytes::new(
            sum(spec.bytes.sent, earlier.bytes.sent),
            sum(spec.bytes.received, earlier.bytes.received),
        );
        spec.stacks = sum(spec.stacks, earlier.stacks);
        spec.bytes_at_own_call = sum(spec.bytes_at_own_call, earlier.bytes_at_own_call);
        spec.bytes_without_stack = sum(spec.bytes_without_stack, earlier.bytes_without_stack);
    }

    /// Returns the object with its stacks.
    pub(crate) fn into_object(self) -> TrafficTraceProfile {
        let mut object = self.object;
        object.spec.profile = BASE64_STANDARD.encode(self.pprof);
        object
    }
}

/// Merges two gzipped pprofs into one; `None` if either cannot be read.
fn merge(earlier: &[u8], newer: &[u8], most: usize) -> Option<Vec<u8>> {
    let [earlier, newer] = [earlier, newer].map(Graph::from_pprof);
    let sum = Graph::sum([earlier.ok()?, newer.ok()?]).ok()?;
    sum.pprof_within(most).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::example;
    use traffictrace_profile::testing::graph;

    fn stacks(bytes: u64) -> Graph {
        graph(&[(Way::Sent, &["main", "write"], bytes, 1)])
    }

    fn made(bytes: u64) -> Profile {
        let profiled = Profiled {
            sent: bytes,
            received: 12,
            stacks: 4,
            bytes_at_own_call: 40,
            bytes_without_stack: 2,
            graph: stacks(bytes),
        };
        let at = |second| Timestamp::from_second(second).unwrap();
        profile(&example("u1"), "node1", 7, (at(5), at(9)), true, profiled)
    }

    fn spec(profile: Profile) -> TrafficTraceProfileSpec {
        profile.pack().into_object().spec
    }

    fn read(pprof: &[u8]) -> Graph {
        Graph::from_pprof(pprof).unwrap()
    }

    #[test]
    fn a_profile_belongs_to_its_trace_and_node() {
        let object = made(30).pack().into_object();
        assert_eq!(object.metadata.name.as_deref(), Some("u1.node1"));
        let labels = object.metadata.labels.unwrap();
        assert_eq!(labels[TRACE_LABEL], "shop");
        assert_eq!(labels[traffictrace_crd::TRACE_UID_LABEL], "u1");
        assert_eq!(labels[traffictrace_crd::NODE_LABEL], "node1");
        let owner = &object.metadata.owner_references.unwrap()[0];
        assert_eq!(
            (owner.kind.as_str(), owner.name.as_str(), owner.uid.as_str()),
            ("TrafficTrace", "shop", "u1")
        );
        let spec = object.spec;
        assert_eq!((spec.bytes.sent, spec.bytes.received, spec.bytes.text.as_str()), (30, 12, "42 B"));
        assert_eq!((spec.stacks, spec.bytes_at_own_call, spec.bytes_without_stack), (4, 40, 2));
        assert!(spec.is_final && !spec.interrupted);
        let graph = read(&BASE64_STANDARD.decode(spec.profile).unwrap());
        assert_eq!(graph.about.what, "trace web/shop (all pods)");
        assert_eq!((graph.about.began, graph.about.lasted), (5_000_000_000, 4_000_000_000));
        assert_eq!(graph.total(Way::Sent, By::Bytes), 30);
    }

    #[test]
    fn what_the_run_before_had_is_added() {
        let mut now = made(30).pack();
        now.go_on(&spec(made(1000)));
        let graph = read(now.pprof());
        assert_eq!(graph.total(Way::Sent, By::Bytes), 1030);
        assert_eq!(graph.about.what, "trace web/shop (all pods)", "named once");
        let spec = &now.object().spec;
        assert!(spec.interrupted, "its last part may be missing");
        assert_eq!((spec.bytes.sent, spec.bytes.received), (1030, 24));
        assert_eq!((spec.stacks, spec.bytes_at_own_call, spec.bytes_without_stack), (8, 80, 4));
    }

    #[test]
    fn a_trace_that_ended_without_an_agent_keeps_what_the_last_one_had() {
        let at = Timestamp::from_second(20).unwrap();
        let closing = || closing_profile(&example("u1"), "node1", 8, at).pack();
        assert!(closing().says_nothing());
        let (mut closed, before) = (closing(), spec(made(30)));
        closed.go_on(&before);
        assert!(!closed.says_nothing());
        let spec = closed.into_object().spec;
        assert_eq!((&spec.bytes, spec.stacks, &spec.profile), (&before.bytes, 4, &before.profile));
        assert_eq!((spec.begin_time, spec.end_time), (before.begin_time, Some(Time(at))));
        assert!(spec.is_final && spec.interrupted);
    }

    #[test]
    fn what_cannot_be_read_is_left_out_and_told() {
        let large = TrafficTraceProfileSpec { profile: "A".repeat(PROFILE_BYTES * 2), ..Default::default() };
        let broken = TrafficTraceProfileSpec { profile: "no base64!".into(), ..Default::default() };
        let foreign =
            TrafficTraceProfileSpec { profile: BASE64_STANDARD.encode(b"stacks"), ..Default::default() };
        for earlier in [large, broken, foreign] {
            let mut now = made(30).pack();
            let before = now.pprof().to_vec();
            now.go_on(&earlier);
            assert_eq!((now.pprof(), now.object().spec.bytes.sent), (before.as_slice(), 30));
            assert!(now.object().spec.interrupted);
        }
    }

    #[test]
    fn a_node_of_a_large_trace_has_less_room() {
        let names: Vec<String> =
            (0..5000_u64).map(|n| format!("f{:x}", n.wrapping_mul(n) << 20 | n)).collect();
        let lists: Vec<[&str; 2]> = names.iter().map(|name| ["main", name.as_str()]).collect();
        let rows: Vec<(Way, &[&str], u64, u64)> =
            lists.iter().enumerate().map(|(at, names)| (Way::Sent, &names[..], 1 + at as u64, 1)).collect();
        let profiled = Profiled::of(graph(&rows));
        let mut trace = example("u1");
        trace.profile_kibibytes = Some(16);
        let times = (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH);
        let packed = profile(&trace, "node1", 7, times, false, profiled.clone()).pack();
        assert!(packed.pprof().len() <= 12 << 10, "{}", packed.pprof().len());
        assert_eq!(read(packed.pprof()).total(Way::Sent, By::Bytes), profiled.sent);
        let object = serde_json::to_vec(&packed.into_object()).unwrap();
        assert!(object.len() <= 18 << 10, "{}", object.len());
    }
}
