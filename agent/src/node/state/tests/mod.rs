//! Tests of a trace's life on a node, without a kernel or a cluster.

mod fake;
mod http;
mod life;
mod restart;
mod stacks;

use std::collections::BTreeMap;
use std::path::PathBuf;

use traffictrace_crd::decode_rows;

use self::fake::Fake;
use super::*;
use crate::cgroups::PodKey;
use crate::engine::CgroupKind;

/// State of a trace as tests compare it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Idle,
    Counting,
    Refused,
    Ended,
    Unknown,
}

/// A node's state with a fake counter, and all that it has written. The test adds traces and pods, and advances the
/// time.
struct Node {
    state: State<Fake>,
    now: Now,
    reports: Vec<TrafficTraceReport>,
    profiles: Vec<Profile>,
    forgotten: Vec<Uid>,
}

impl Node {
    fn new() -> Self {
        Self::after(Vec::new(), 0)
    }

    /// Creates an agent that begins at this Unix time, in seconds, after another agent that wrote these reports.
    fn after(earlier: Vec<TrafficTraceReportSpec>, seconds: i64) -> Self {
        let settings = Settings {
            node: "node1".into(),
            max_rows: 100,
            without_tls: Some("no rights".into()),
            without_stacks: None,
            denies_tls: false,
        };
        let now = Now { time: Timestamp::from_second(seconds).unwrap(), running: Duration::ZERO };
        let state = State::new(settings, Fake::default(), earlier, now);
        Self { state, now, reports: Vec::new(), profiles: Vec::new(), forgotten: Vec::new() }
    }

    /// Advances the time, with a step each second.
    fn wait(&mut self, seconds: u64) -> &mut Self {
        self.step();
        for _ in 0..seconds {
            self.now.time = self.now.time.checked_add(Duration::from_secs(1)).unwrap();
            self.now.running += Duration::from_secs(1);
            self.step();
        }
        self
    }

    fn step(&mut self) -> &mut Self {
        for action in self.state.step(self.now) {
            match action {
                Action::Report { report, .. } => self.reports.push(*report),
                Action::Profile(profile) => self.profiles.push(*profile),
                Action::Forget(uid) => self.forgotten.push(uid),
            }
        }
        self
    }

    fn apply(&mut self, event: Event) -> &mut Self {
        self.state.apply(event, self.now);
        self
    }

    /// Adds a trace of a namespace that is created now and runs for this number of seconds.
    fn trace(&mut self, uid: &str, namespace: &str, seconds: u64) -> &mut Self {
        let trace = Trace {
            namespace: namespace.to_owned(),
            created: self.now.time,
            started: Some(self.now.time),
            duration: Duration::from_secs(seconds),
            ..session::example(uid)
        };
        self.apply(Event::Trace(Box::new(trace)))
    }

    /// Adds a pod of a namespace, created at Unix time 0, and its cgroup.
    fn pod(&mut self, uid: &str, namespace: &str, cgroup: u64) -> &mut Self {
        let pod = Pod {
            uid: uid.into(),
            key: PodKey::of_uid(uid),
            namespace: namespace.into(),
            name: format!("pod-{uid}"),
            created: Timestamp::UNIX_EPOCH,
            labels: BTreeMap::new(),
            finished: false,
            running: true,
            containers: ["main".to_owned()].into(),
            container_ids: BTreeMap::new(),
            sandboxed: None,
        };
        self.apply(Event::Pod(Box::new(pod)));
        let mut places = self.state.places.clone();
        let place = Place { cgroup, kind: CgroupKind::Pod, path: PathBuf::from(uid), container: None };
        places.insert(uid.into(), vec![place]);
        self.apply(Event::Places(places))
    }

    /// Removes a pod from the API, and its cgroup.
    fn gone(&mut self, uid: &str) -> &mut Self {
        self.apply(Event::PodGone(uid.into()));
        let mut places = self.state.places.clone();
        places.remove(uid);
        self.apply(Event::Places(places))
    }

    fn seen(&self, uid: &str) -> Seen {
        match self.state.traces.get(uid).map(|tracked| &tracked.stand) {
            None => Seen::Unknown,
            Some(Stand::Idle) => Seen::Idle,
            Some(Stand::Counting(_)) => Seen::Counting,
            Some(Stand::Refused(..)) => Seen::Refused,
            Some(Stand::Ended) => Seen::Ended,
        }
    }

    fn fake(&mut self) -> &mut Fake {
        &mut self.state.counter
    }

    /// Returns the newest report of a trace.
    fn last(&self, uid: &str) -> &TrafficTraceReportSpec {
        let of_trace = |report: &&TrafficTraceReport| report.spec.trace_uid == uid;
        &self.reports.iter().rev().find(of_trace).expect("a report").spec
    }
}

/// Returns the received bytes of all rows of a report.
fn row_bytes(report: &TrafficTraceReportSpec) -> i64 {
    decode_rows(&report.columns, &report.flows).map(|row| row.unwrap().rx_bytes).sum()
}
