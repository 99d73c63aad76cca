use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde_json::json;

use super::*;
use crate::{HttpSpec, Phase, StacksSpec, TrafficTraceStatus};

fn manifest(spec: Value) -> Value {
    json!({
        "apiVersion": "traffictrace.dev/v1alpha1", "kind": "TrafficTrace",
        "metadata": { "name": "t", "namespace": "shop" }, "spec": spec,
    })
}

fn read(spec: Value) -> Result<TrafficTrace, ValidationFailed> {
    TrafficTrace::from_manifest(&manifest(spec))
}

/// Validates a spec and returns the message of its only error.
fn message(spec: Value) -> String {
    let failed = read(spec.clone()).expect_err(&format!("accepted {spec}"));
    assert_eq!(failed.errors.len(), 1, "{failed}");
    failed.to_string()
}

/// The smallest valid spec with one more field.
fn with(field: &str, value: Value) -> Value {
    let mut spec = json!({ "selector": {} });
    spec[field] = value;
    spec
}

#[test]
fn a_bare_spec_gets_the_defaults() {
    let trace = read(json!({ "selector": { "matchLabels": { "app": "web" } } })).unwrap();
    let spec = TrafficTraceSpec { selector: trace.spec.selector.clone(), ..Default::default() };
    assert_eq!(trace.spec, spec);
    assert_eq!((spec.top_flows, spec.interval.to_string().as_str()), (20, "10s"));
}

#[test]
fn a_full_spec_is_accepted() {
    let spec = json!({
        "selector": { "matchLabels": { "app": "web" }, "matchExpressions": [
            { "key": "tier", "operator": "In", "values": ["a", "b"] }, { "key": "x", "operator": "Exists" } ] },
        "containers": ["app", "side-car"], "protocols": ["TCP", "UDP", "ICMP"],
        "ports": [443, "8080", "8000-8100", "1-65535"],
        "remoteCIDRs": ["10.0.0.0/8", "0.0.0.0/0", "255.255.255.255/32", "::/0", "2001:db8::/32", "2001:DB8::1/128",
            "1:2:3:4:5:6:7:8/128", "::1:2:3:4:5:6:7/64", "1:2:3:4:5:6:7::/112"],
        "direction": "Inbound", "groupBy": "Connection", "topFlows": 100,
        "interval": "5s", "duration": "1h30m", "ttlAfterFinished": "0s",
    });
    let trace = read(spec.clone()).unwrap();
    assert_eq!(serde_json::to_value(&trace.spec).unwrap(), spec);
}

#[test]
fn durations_have_one_message() {
    for (field, limits) in [("interval", "at least 5s"), ("duration", "at least 5s and at most 24h")] {
        for wrong in ["4s", "0s", "", "10", "ten", "-10s", "1.5h", "500ms", "1h1h1h1h", "Never"] {
            let text = message(with(field, json!(wrong)));
            assert_eq!(
                text,
                format!("spec.{field}: must be a duration such as 30s, 10m or 1h, {limits}"),
                "{wrong}"
            );
        }
    }
    assert!(message(with("duration", json!("24h1s"))).ends_with("at most 24h"));
    assert!(read(with("duration", json!("24h"))).is_ok());
    for (text, ttl) in [("0s", Some(0)), ("1h", Some(3600)), ("Never", None)] {
        let spec = read(with("ttlAfterFinished", json!(text))).unwrap().spec;
        assert_eq!(spec.ttl().unwrap().map(|ttl| ttl.as_secs()), ttl);
    }
    for wrong in ["soon", "never", "10"] {
        let text = message(with("ttlAfterFinished", json!(wrong)));
        assert_eq!(text, "spec.ttlAfterFinished: must be a duration such as 30s, 10m or 1h, or Never");
    }
    assert_eq!(
        message(with("interval", json!("00000000000000010s"))),
        "spec.interval: must have at most 16 characters"
    );
}

#[test]
fn ports_say_where_and_what() {
    for (wrong, part) in [
        (json!(0), "spec.ports[0]: must be from 1 to 65535"),
        (json!(65536), "spec.ports[0]: must be from 1 to 65535"),
        (json!("http"), r#"spec.ports[0]: cannot read "http" as a port"#),
        (json!("8100-8000"), r#"spec.ports[0]: the port range "8100-8000" is reversed: write 8000-8100"#),
        (json!("99999"), r#"spec.ports[0]: cannot read "99999" as a port: write a number from 1 to 65535"#),
        (json!("1-99999"), r#"spec.ports[0]: cannot read "1-99999" as a port"#),
        (json!(1.5), "spec.ports[0]: must be a whole number"),
        (json!([1]), "spec.ports[0]: must be of type number or text"),
    ] {
        let text = message(with("ports", json!([wrong])));
        assert!(text.starts_with(part), "{wrong}: {text}");
    }
    let many: Vec<u16> = (1..=16).collect();
    assert_eq!(message(with("ports", json!(many))), "spec.ports: must have at most 15 items, has 16");
    assert!(message(with("ports", json!([]))).contains("leave the field out"));
}

#[test]
fn networks_must_be_networks() {
    for wrong in [
        "10.0.0.0",
        "10.0.0/8",
        "10.0.0.0/33",
        "256.0.0.0/8",
        "fe80::1",
        "fe80::/129",
        "1::2::3/64",
        "1:2/64",
        ":::/0",
        "1:2:3:4:5:6:7:8:9/64",
        "1:2:3::4:5:6:7:8/64",
        "12345::/16",
        "::g/64",
        "a/8",
        "",
        "10.0.0.0/08",
    ] {
        let text = message(with("remoteCIDRs", json!(["10.0.0.0/8", wrong])));
        assert!(
            text.starts_with("spec.remoteCIDRs[1]: must be a network such as 10.0.0.0/8"),
            "{wrong}: {text}"
        );
    }
}

#[test]
fn names_choices_and_selectors_are_checked() {
    for (field, wrong, part) in [
        ("containers", json!(["App"]), "spec.containers[0]: must be the name of a container"),
        ("containers", json!(["a", "a"]), "spec.containers: has \"a\" twice"),
        ("protocols", json!(["SCTP"]), "spec.protocols[0]: must be one of TCP, UDP, ICMP, is \"SCTP\""),
        ("direction", json!("inbound"), "spec.direction: must be one of Inbound, Outbound, Both"),
        ("groupBy", json!("Pod"), "spec.groupBy: must be one of Connection, Endpoint, Process"),
        ("topFlows", json!(0), "spec.topFlows: must be from 1 to 100, is 0"),
        ("topFlows", json!("20"), "spec.topFlows: must be of type integer"),
        ("filter", json!("tcp port 80"), "spec.filter: there is no such field"),
        ("selector", json!({ "app": "web" }), "spec.selector.app: there is no such field"),
        (
            "selector",
            json!({ "matchExpressions": [{ "key": "a", "operator": "Has" }] }),
            "spec.selector.matchExpressions[0].operator: must be one of",
        ),
        (
            "selector",
            json!({ "matchExpressions": [{ "key": "a", "operator": "In" }] }),
            "spec.selector.matchExpressions[0]: ",
        ),
        (
            "selector",
            json!({ "matchExpressions": [{ "key": "a", "operator": "Exists", "values": ["b"] }] }),
            "spec.selector.matchExpressions[0]: ",
        ),
    ] {
        let text = message(with(field, wrong.clone()));
        assert!(text.starts_with(part), "{field} {wrong}: {text}");
    }
    assert_eq!(message(json!({})), "spec.selector: is required");
}

#[test]
fn http_is_asked_for_by_an_object() {
    assert_eq!(read(json!({ "selector": {} })).unwrap().spec.http, None);
    let spec = read(with("http", json!({}))).unwrap().spec;
    assert_eq!(spec.http, Some(HttpSpec { tls: false, top_endpoints: 20 }));
    let full = read(with("http", json!({ "tls": true, "topEndpoints": 100 }))).unwrap().spec;
    assert_eq!(full.http, Some(HttpSpec { tls: true, top_endpoints: 100 }));
    for (wrong, part) in [
        (json!(true), "spec.http: must be of type object, is true"),
        (json!({ "tls": "yes" }), "spec.http.tls: must be of type boolean"),
        (json!({ "topEndpoints": 0 }), "spec.http.topEndpoints: must be from 1 to 100, is 0"),
        (json!({ "topEndpoints": 101 }), "spec.http.topEndpoints: must be from 1 to 100, is 101"),
        (json!({ "paths": ["/"] }), "spec.http.paths: there is no such field"),
    ] {
        let text = message(with("http", wrong.clone()));
        assert!(text.starts_with(part), "{wrong}: {text}");
    }
}

#[test]
fn http_needs_tcp() {
    let spec = |protocols: Value| json!({ "selector": {}, "http": {}, "protocols": protocols });
    assert_eq!(
        message(spec(json!(["UDP", "ICMP"]))),
        "spec.http: needs TCP, which protocols leaves out: add TCP to protocols, or leave out protocols or http"
    );
    read(spec(json!(["UDP", "TCP"]))).unwrap();
}

#[test]
fn http_stays_as_it_was_asked_for() {
    let http = |http: Option<Value>| {
        read(http.map_or(json!({ "selector": {} }), |http| with("http", http))).unwrap()
    };
    for (old, new) in
        [(None, Some(json!({}))), (Some(json!({})), None), (Some(json!({})), Some(json!({ "tls": true })))]
    {
        let text = http(new).validate_change(&http(old)).unwrap_err().to_string();
        assert!(text.starts_with("spec.http: cannot be switched on or off"), "{text}");
        assert!(text.contains("delete this TrafficTrace and create a new one"), "{text}");
    }
    http(Some(json!({ "topEndpoints": 5 }))).validate_change(&http(Some(json!({})))).unwrap();
}

#[test]
fn stacks_are_asked_for_by_an_object() {
    assert_eq!(read(json!({ "selector": {} })).unwrap().spec.stacks, None);
    let spec = read(with("stacks", json!({}))).unwrap().spec;
    assert_eq!(spec.stacks, Some(StacksSpec { every_call: false, kernel: false }));
    let full = read(with("stacks", json!({ "everyCall": true, "kernel": true }))).unwrap().spec;
    assert_eq!(full.stacks, Some(StacksSpec { every_call: true, kernel: true }));
    for (wrong, part) in [
        (json!(true), "spec.stacks: must be of type object, is true"),
        (json!({ "everyCall": 1 }), "spec.stacks.everyCall: must be of type boolean"),
        (json!({ "kernel": "yes" }), "spec.stacks.kernel: must be of type boolean"),
        (json!({ "rate": 5 }), "spec.stacks.rate: there is no such field"),
    ] {
        let text = message(with("stacks", wrong.clone()));
        assert!(text.starts_with(part), "{wrong}: {text}");
    }
}

#[test]
fn stacks_stay_as_they_were_asked_for() {
    let stacks = |stacks: Option<Value>| {
        read(stacks.map_or(json!({ "selector": {} }), |stacks| with("stacks", stacks))).unwrap()
    };
    for (old, new) in [
        (None, Some(json!({}))),
        (Some(json!({})), None),
        (Some(json!({})), Some(json!({ "everyCall": true }))),
        (Some(json!({ "kernel": true })), Some(json!({}))),
    ] {
        let text = stacks(new).validate_change(&stacks(old)).unwrap_err().to_string();
        assert!(text.starts_with("spec.stacks: cannot be changed, switched on or off"), "{text}");
        assert!(text.contains("delete this TrafficTrace and create a new one"), "{text}");
    }
    stacks(Some(json!({ "kernel": false }))).validate_change(&stacks(Some(json!({})))).unwrap();
}

#[test]
fn other_objects_are_not_taken_for_traces() {
    let mut other = manifest(json!({ "selector": {} }));
    other["kind"] = json!("Pod");
    other["data"] = json!({});
    let failed = TrafficTrace::from_manifest(&other).unwrap_err().to_string();
    assert!(
        failed.contains("kind: must be TrafficTrace") && failed.contains("data: there is no such field"),
        "{failed}"
    );
    assert!(TrafficTrace::from_manifest(&json!("text")).is_err());
}

#[test]
fn every_wrong_field_is_named_at_once() {
    let failed = read(json!({ "selector": {}, "topFlows": 0, "direction": "Up" })).unwrap_err();
    assert_eq!(failed.errors.len(), 2, "{failed}");
}

#[test]
fn what_a_row_is_cannot_change_and_filters_can() {
    let old = read(with("containers", json!(["app"]))).unwrap();
    for (field, value) in [
        ("selector", json!({ "matchLabels": { "a": "b" } })),
        ("containers", json!(["other"])),
        ("groupBy", json!("Process")),
    ] {
        let mut spec = with("containers", json!(["app"]));
        spec[field] = value;
        let text = read(spec).unwrap().validate_change(&old).unwrap_err().to_string();
        assert!(
            text.contains(field) && text.contains("delete this TrafficTrace and create a new one"),
            "{text}"
        );
    }
    assert!(read(json!({ "selector": {} })).unwrap().validate_change(&old).is_err(), "containers removed");
    let filters = json!({
        "selector": {}, "containers": ["app"], "protocols": ["TCP"], "ports": [1], "remoteCIDRs": ["::/0"],
        "direction": "Inbound", "topFlows": 1, "interval": "1m", "duration": "1h", "ttlAfterFinished": "1m",
    });
    read(filters).unwrap().validate_change(&old).unwrap();
}

#[test]
fn a_trace_that_is_over_does_not_start_again() {
    let mut old = read(json!({ "selector": {} })).unwrap();
    let ended = |reason: &str| -> Vec<Condition> {
        let condition = json!([{
            "type": "Tracing", "status": "False", "reason": reason, "message": "",
            "lastTransitionTime": "2026-11-23T10:00:00Z",
        }]);
        serde_json::from_value(condition).unwrap()
    };
    let changes = [("duration", json!("1h")), ("ports", json!([1])), ("topFlows", json!(1))];
    // The rule holds in every phase: a trace that has ended is still Running until its last reports have come.
    for phase in [Phase::Running, Phase::Completed, Phase::Failed] {
        old.status =
            Some(TrafficTraceStatus { phase: Some(phase), conditions: ended("Ended"), ..Default::default() });
        for (field, value) in &changes {
            let mut new = read(with(field, value.clone())).unwrap();
            new.status.clone_from(&old.status);
            let text = new.validate_change(&old).unwrap_err().to_string();
            assert!(text.contains("does not start again"), "{text}");
        }
        let mut new = read(with("ttlAfterFinished", json!("Never"))).unwrap();
        new.status.clone_from(&old.status);
        new.validate_change(&old).unwrap();
    }
    old.status = Some(TrafficTraceStatus { conditions: ended("Reporting"), ..Default::default() });
    for (field, value) in changes {
        let mut new = read(with(field, value)).unwrap();
        new.status.clone_from(&old.status);
        new.validate_change(&old).unwrap();
    }
    let mut http = read(with("http", json!({}))).unwrap();
    http.status = Some(TrafficTraceStatus { conditions: ended("Ended"), ..Default::default() });
    let mut more = read(with("http", json!({ "topEndpoints": 5 }))).unwrap();
    more.status.clone_from(&http.status);
    let text = more.validate_change(&http).unwrap_err().to_string();
    assert!(text.contains("does not start again"), "{text}");
}
