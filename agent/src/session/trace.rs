//! The parts of a trace that matter on a node.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::Selector;
use traffictrace_crd::{
    self as crd, FINISHED_LABEL, HttpSpec, MAX_PROFILE_KIBIBYTES, MIN_PROFILE_KIBIBYTES, PROFILE_INTERVAL,
    PROFILE_INTERVAL_ANNOTATION, PROFILE_SIZE_ANNOTATION, Phase, REPORT_INTERVAL_ANNOTATION,
    START_TIME_ANNOTATION, StacksSpec, TrafficTrace,
};

use super::{Uid, filter::filter_of};
use crate::flows::{Filter, GroupBy};

/// Maximum interval that the controller can ask for.
const LONGEST_PACE: Duration = Duration::from_secs(3600);

/// Maximum age of a trace without a start time that counts as started at its creation. An older one was created while
/// no controller ran, and begins when the controller says so. The controller uses the same limit.
const SEEN_LATE: Duration = Duration::from_secs(60);

/// A trace, validated and converted for the node.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    /// UID of the object. A trace that is created again with the same name has another UID.
    pub(crate) uid: Uid,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) generation: Option<i64>,
    pub(crate) created: Timestamp,
    /// Selector of the pods.
    pub(crate) selector: Selector,
    /// Names of the wanted containers; empty for all.
    pub(crate) containers: Vec<String>,
    pub(crate) filter: Filter,
    pub(crate) group_by: GroupBy,
    /// Number of flows in the report.
    pub(crate) top_flows: usize,
    /// HTTP settings; `None` if the trace does not ask for requests.
    pub(crate) http: Option<HttpSpec>,
    /// Stack settings; `None` if the trace does not ask for stacks.
    pub(crate) stacks: Option<StacksSpec>,
    /// Interval of reports in the spec.
    pub(crate) asked_interval: Duration,
    /// Interval of reports that the controller asks for. The longer one of this and `asked_interval` is used.
    pub(crate) pace: Option<Duration>,
    /// Interval of profiles that the controller asks for, used if it is longer than a minute.
    pub(crate) profile_pace: Option<Duration>,
    /// Maximum size of a profile that the controller allows this node, in KiB of its base64.
    pub(crate) profile_kibibytes: Option<u64>,
    /// Time when the trace began; `None` while it waits for the controller to start it.
    pub(crate) started: Option<Timestamp>,
    pub(crate) duration: Duration,
    /// Time when the trace ended, if the status has one. Later changes of the spec come too late.
    pub(crate) ended: Option<Timestamp>,
    /// Set if the controller has finished the trace: its phase is Completed or Failed, or it has `FINISHED_LABEL`.
    pub(crate) closed: bool,
}

/// The reason why a node cannot use a trace that the API server accepted.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the trace {namespace}/{name}: spec.{field}: {cause}")]
pub(crate) struct Unusable {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) field: &'static str,
    pub(crate) cause: String,
}

impl Trace {
    /// Reads a trace. `now` decides whether a trace without a start time has to wait for the controller
    /// ([`SEEN_LATE`]).
    ///
    /// # Errors
    ///
    /// [`Unusable`] with the first field that cannot be used here.
    pub(crate) fn read(object: &TrafficTrace, now: Timestamp) -> Result<Self, Unusable> {
        let (meta, spec) = (&object.metadata, &object.spec);
        let namespace = meta.namespace.clone().unwrap_or_default();
        let name = meta.name.clone().unwrap_or_default();
        let fail = |field: &'static str, cause: String| Unusable {
            namespace: namespace.clone(),
            name: name.clone(),
            field,
            cause,
        };
        let selector =
            Selector::try_from(spec.selector.clone()).map_err(|e| fail("selector", e.to_string()))?;
        let filter = filter_of(spec).map_err(|(field, cause)| fail(field, cause))?;
        let interval = spec.interval.get().map_err(|e| fail("interval", e.to_string()))?;
        let duration = spec.duration.get().map_err(|e| fail("duration", e.to_string()))?;
        let created = meta.creation_timestamp.as_ref().map_or(now, |time| time.0);
        let status = object.status.as_ref();
        let (phase, end) =
            (status.and_then(|status| status.phase), status.and_then(|status| status.end_time.as_ref()));
        let mut trace = Self {
            uid: meta.uid.clone().unwrap_or_default(),
            generation: meta.generation,
            created,
            selector,
            containers: spec.containers.clone(),
            filter,
            group_by: group_by(spec.group_by),
            top_flows: usize::try_from(spec.top_flows).unwrap_or(1),
            http: spec.http.clone(),
            stacks: spec.stacks.clone(),
            asked_interval: interval,
            pace: None,
            profile_pace: None,
            profile_kibibytes: None,
            started: start(object, created, now),
            duration,
            ended: end.map(|end| end.0).filter(|end| *end <= now),
            closed: matches!(phase, Some(Phase::Completed | Phase::Failed)),
            namespace,
            name,
        };
        trace.follow(meta);
        Ok(trace)
    }

    /// Applies the controller's annotations and labels on the trace.
    pub(crate) fn follow(&mut self, meta: &ObjectMeta) {
        let annotation = |name: &str| meta.annotations.as_ref().and_then(|all| all.get(name));
        let number = |name: &str| annotation(name).and_then(|number| number.parse().ok());
        self.pace = number(REPORT_INTERVAL_ANNOTATION).map(Duration::from_secs);
        self.profile_pace = number(PROFILE_INTERVAL_ANNOTATION).map(Duration::from_secs);
        self.profile_kibibytes = number(PROFILE_SIZE_ANNOTATION);
        // A start before the creation belongs to another object, for example if a saved manifest was applied again.
        let start = annotation(START_TIME_ANNOTATION).and_then(|time| time.parse().ok());
        if let Some(start) = start.filter(|start| *start >= self.created) {
            self.started = Some(start);
        }
        self.closed |= meta.labels.as_ref().is_some_and(|labels| labels.contains_key(FINISHED_LABEL));
    }

    /// Returns the interval of reports: `spec.interval`, or a longer one that the controller asks for, of at most an
    /// hour.
    pub(crate) fn interval(&self) -> Duration {
        self.asked_interval.max(self.pace.unwrap_or_default().min(LONGEST_PACE))
    }

    /// Returns the interval of profiles: a minute, or a longer one that the controller asks for, of at most an hour.
    pub(crate) fn profile_interval(&self) -> Duration {
        PROFILE_INTERVAL.max(self.profile_pace.unwrap_or_default().min(LONGEST_PACE))
    }

    /// Returns the maximum size of a gzipped profile of this node, in bytes.
    pub(crate) fn profile_bytes(&self) -> usize {
        let most = self.profile_kibibytes.unwrap_or(MAX_PROFILE_KIBIBYTES);
        crd::profile_bytes(most.clamp(MIN_PROFILE_KIBIBYTES, MAX_PROFILE_KIBIBYTES))
    }

    /// Describes the trace in a profile: its name, and the pods and containers that it selects.
    pub(crate) fn description(&self) -> String {
        let selector = self.selector.to_string();
        let pods = Some(selector).filter(|selector| !selector.is_empty());
        let containers = Some(&self.containers).filter(|names| !names.is_empty());
        let containers = containers.map(|names| format!("containers {}", names.join(" ")));
        let selection: Vec<String> = pods.into_iter().chain(containers).collect();
        let selection = if selection.is_empty() { "all pods".to_owned() } else { selection.join("; ") };
        format!("trace {} ({selection})", self.label())
    }

    /// Returns the time when the trace ends; `None` while it waits for the controller to start it.
    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        self.ended.or_else(|| self.started?.checked_add(self.duration).ok())
    }

    /// Returns namespace and name for messages.
    pub(crate) fn label(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Returns true if the trace is over by the node's own clock, with or without the controller.
    pub(crate) fn is_over(&self, now: Timestamp) -> bool {
        self.closed || self.deadline().is_some_and(|deadline| now >= deadline)
    }

    /// Returns true if the trace has begun and is not over, so that its traffic has to be counted.
    pub(crate) fn is_running(&self, now: Timestamp) -> bool {
        self.started.is_some() && !self.is_over(now)
    }

    /// Returns the maximum number of endpoints in the report.
    pub(crate) fn top_endpoints(&self) -> usize {
        self.http.as_ref().map_or(0, |http| usize::try_from(http.top_endpoints).unwrap_or(1))
    }

    /// Returns true if the trace wants the container with this name.
    pub(crate) fn wants(&self, container: &str) -> bool {
        self.containers.is_empty() || self.containers.iter().any(|name| name == container)
    }
}

/// Returns the time when a trace began: the controller's time or, until there is one, its creation.
fn start(object: &TrafficTrace, created: Timestamp, now: Timestamp) -> Option<Timestamp> {
    let written = object.status.as_ref().and_then(|status| status.start_time.as_ref()).map(|time| time.0);
    let late = created.checked_add(SEEN_LATE).is_ok_and(|limit| now > limit);
    written.or((!late).then_some(created))
}

fn group_by(group_by: crd::GroupBy) -> GroupBy {
    match group_by {
        crd::GroupBy::Connection => GroupBy::Connection,
        crd::GroupBy::Endpoint => GroupBy::Endpoint,
        crd::GroupBy::Process => GroupBy::Process,
    }
}

/// Returns a trace of all pods of the namespace `web`, which runs for ten minutes from Unix time 0.
#[cfg(test)]
pub(crate) fn example(uid: &str) -> Trace {
    Trace {
        uid: uid.to_owned(),
        namespace: "web".to_owned(),
        name: "shop".to_owned(),
        generation: Some(3),
        created: Timestamp::UNIX_EPOCH,
        selector: Selector::default(),
        containers: Vec::new(),
        filter: Filter::default(),
        group_by: GroupBy::Endpoint,
        top_flows: 20,
        http: None,
        stacks: None,
        asked_interval: Duration::from_secs(10),
        pace: None,
        profile_pace: None,
        profile_kibibytes: None,
        started: Some(Timestamp::UNIX_EPOCH),
        duration: Duration::from_secs(600),
        ended: None,
        closed: false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::flows::{DirectionFilter, Protocol};

    const CREATED: &str = "2026-11-23T10:00:00Z";

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn object(spec: serde_json::Value, status: serde_json::Value) -> TrafficTrace {
        serde_json::from_value(json!({
            "apiVersion": "traffictrace.dev/v1alpha1",
            "kind": "TrafficTrace",
            "metadata": {
                "name": "shop", "namespace": "web", "uid": "u1", "generation": 2, "creationTimestamp": CREATED,
            },
            "spec": spec,
            "status": status,
        }))
        .unwrap()
    }

    fn spec() -> serde_json::Value {
        json!({ "selector": { "matchLabels": { "app": "shop" } }, "duration": "2m" })
    }

    #[test]
    fn reads_the_filters() {
        let trace = Trace::read(
            &object(
                json!({
                    "selector": {}, "containers": ["web"], "protocols": ["TCP", "UDP"], "ports": [443, "8000-8100"],
                    "remoteCIDRs": ["10.0.0.0/8", "2001:db8::/32"], "direction": "Inbound", "groupBy": "Process",
                    "topFlows": 3, "interval": "5s",
                }),
                json!({}),
            ),
            at(CREATED),
        )
        .unwrap();
        assert_eq!(trace.filter.protocols, [Protocol::Tcp, Protocol::Udp]);
        assert_eq!(trace.filter.ports, [443..=443, 8000..=8100]);
        assert_eq!(trace.filter.remote_cidrs.len(), 2);
        assert_eq!(trace.filter.direction, DirectionFilter::Inbound);
        assert_eq!(trace.group_by, GroupBy::Process);
        assert_eq!((trace.top_flows, trace.interval()), (3, Duration::from_secs(5)));
        assert!(trace.wants("web") && !trace.wants("sidecar"));
    }

    #[test]
    fn says_which_field_makes_no_sense() {
        for (field, value) in [
            ("ports", json!(["90-80"])),
            ("remoteCIDRs", json!(["10.0.0.0/99"])),
            ("duration", json!("soon")),
            ("interval", json!("soon")),
            ("selector", json!({ "matchExpressions": [{ "key": "a", "operator": "Near" }] })),
        ] {
            let mut spec = spec();
            spec[field] = value;
            let error = Trace::read(&object(spec, json!({})), at(CREATED)).unwrap_err();
            assert_eq!(error.field, field);
            assert!(error.to_string().contains("web/shop"), "{error}");
        }
    }

    #[test]
    fn ends_by_itself_with_and_without_the_controller() {
        let alone = Trace::read(&object(spec(), json!({})), at("2026-11-23T10:00:01Z")).unwrap();
        assert_eq!(alone.deadline(), Some(at("2026-11-23T10:02:00Z")));
        assert!(alone.is_running(at("2026-11-23T10:01:59Z")));
        assert!(!alone.is_running(at("2026-11-23T10:02:00Z")));
        let status = json!({ "startTime": "2026-11-23T10:00:30Z", "endTime": "2026-11-23T10:02:30Z" });
        let led = Trace::read(&object(spec(), status.clone()), at("2026-11-23T10:05:00Z")).unwrap();
        assert_eq!(led.deadline(), Some(at("2026-11-23T10:02:30Z")));
        assert!(led.is_over(at("2026-11-23T10:05:00Z")));
        // A changed duration counts at once, before the controller has written the new end.
        let mut longer = spec();
        longer["duration"] = json!("10m");
        let longer = Trace::read(&object(longer, status), at("2026-11-23T10:01:00Z")).unwrap();
        assert_eq!(longer.deadline(), Some(at("2026-11-23T10:10:30Z")));
    }

    #[test]
    fn one_that_was_made_before_any_controller_waits_for_it() {
        let trace = Trace::read(&object(spec(), json!({})), at("2026-11-23T10:01:01Z")).unwrap();
        assert_eq!(trace.deadline(), None);
        assert!(!trace.is_running(at("2026-11-23T10:01:01Z")) && !trace.is_over(at("2026-11-23T10:01:01Z")));
    }

    #[test]
    fn a_closed_one_does_not_start_again() {
        let status = json!({ "phase": "Completed", "startTime": CREATED });
        let trace = Trace::read(&object(spec(), status), at(CREATED)).unwrap();
        assert!(trace.is_over(at(CREATED)));
    }

    #[test]
    fn a_change_that_comes_after_the_end_is_too_late() {
        let status = json!({ "startTime": CREATED, "endTime": "2026-11-23T10:02:00Z", "phase": "Running" });
        let mut longer = spec();
        longer["duration"] = json!("10m");
        let trace = Trace::read(&object(longer, status), at("2026-11-23T10:02:01Z")).unwrap();
        assert!(trace.is_over(at("2026-11-23T10:02:01Z")));
    }

    #[test]
    fn follows_what_the_controller_says_in_the_metadata() {
        let mut trace = Trace::read(&object(spec(), json!({})), at("2026-11-23T11:00:00Z")).unwrap();
        assert!(!trace.is_running(at("2026-11-23T11:00:00Z")), "it waits to be begun");
        let mut follow = |meta: serde_json::Value| {
            trace.follow(&serde_json::from_value(meta).unwrap());
            let now = at("2026-11-23T11:00:10Z");
            (trace.interval().as_secs(), trace.is_running(now), trace.is_over(now))
        };
        let start = json!({ START_TIME_ANNOTATION: "2026-11-23T11:00:00Z" });
        assert_eq!(follow(json!({ "annotations": start })), (10, true, false));
        let before = json!({ START_TIME_ANNOTATION: "2026-11-22T11:00:00Z" });
        assert_eq!(follow(json!({ "annotations": before })), (10, true, false), "of another object");
        for (asked, seconds) in [("33", 33), ("1", 10), ("-5", 10), ("soon", 10), ("999999999", 3600)] {
            let pace = json!({ REPORT_INTERVAL_ANNOTATION: asked });
            assert_eq!(follow(json!({ "annotations": pace })), (seconds, true, false), "{asked}");
        }
        assert_eq!(follow(json!({ "labels": { FINISHED_LABEL: "true" } })), (10, false, true));
    }

    #[test]
    fn follows_how_often_and_how_large_profiles_may_be() {
        let mut trace = Trace::read(&object(spec(), json!({})), at(CREATED)).unwrap();
        for (seconds, kibibytes, interval, bytes) in [
            (None, None, 60, 384 << 10),
            (Some("120"), Some("16"), 120, 12 << 10),
            (Some("5"), Some("99999999999"), 60, 384 << 10),
            (Some("999999999"), Some("0"), 3600, 12 << 10),
            (Some("soon"), Some("-1"), 60, 384 << 10),
        ] {
            let annotations =
                json!({ PROFILE_INTERVAL_ANNOTATION: seconds, PROFILE_SIZE_ANNOTATION: kibibytes });
            let mut meta = json!({ "annotations": annotations });
            meta["annotations"].as_object_mut().unwrap().retain(|_, value| !value.is_null());
            trace.follow(&serde_json::from_value(meta).unwrap());
            assert_eq!((trace.profile_interval().as_secs(), trace.profile_bytes()), (interval, bytes));
        }
    }

    #[test]
    fn says_what_it_is_about() {
        let mut trace = Trace::read(&object(spec(), json!({})), at(CREATED)).unwrap();
        assert_eq!(trace.description(), "trace web/shop (app=shop)");
        trace.containers = vec!["main".into(), "proxy".into()];
        assert_eq!(trace.description(), "trace web/shop (app=shop; containers main proxy)");
        assert_eq!(example("u1").description(), "trace web/shop (all pods)");
    }
}
