//! Tests of specs in words and as command lines.

use proptest::{collection::vec, option, prelude::*};
use traffictrace_crd::{Duration, HttpSpec, Protocol, StacksSpec};

use super::*;
use crate::{
    run::{parsed, selector},
    testing::running,
};

#[test]
fn a_spec_reads_as_a_sentence() {
    let trace = running();
    assert_eq!(
        sentence(&trace.spec),
        "It traces the TCP traffic of the pods with app=web, at ports 443 and 8000-8100, with peers in 10.0.0.0/8; a row is a \
         process with a peer and the service's port. It also shows the HTTP requests, those inside TLS too, and which code sends \
         and receives."
    );
    assert_eq!(
        sentence(&TrafficTraceSpec::default()),
        "It traces all traffic of all pods of the namespace; a row is a process with a peer and the service's port."
    );
    let spec = TrafficTraceSpec {
        containers: ["a", "b", "c"].map(str::to_owned).into(),
        direction: DirectionFilter::Inbound,
        group_by: GroupBy::Connection,
        protocols: vec![Protocol::Udp, Protocol::Icmp],
        ..TrafficTraceSpec::default()
    };
    assert_eq!(
        sentence(&spec),
        "It traces the UDP and ICMP traffic of all pods of the namespace, of the containers named a, b or c alone, on \
         connections that the peers opened; a row is a connection."
    );
}

#[test]
fn every_field_has_its_name() {
    let pairs = pairs(&running());
    let text: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    insta::assert_snapshot!(text.join("\n"));
}

#[test]
fn the_command_asks_for_the_same() {
    assert_eq!(
        command(&running()).unwrap(),
        "kubectl traffictrace run -n shop -l app=web --protocol TCP --port 443,8000-8100 --remote-cidr 10.0.0.0/8 --top-flows 4 \
         --interval 10s --duration 10m --top-endpoints 2 --http --tls --stacks --keep"
    );
    let mut trace = TrafficTrace::new("x", TrafficTraceSpec::default());
    trace.metadata.namespace = Some("shop".to_owned());
    trace.spec.ttl_after_finished = Duration::new(TTL);
    (trace.spec.top_flows, trace.spec.interval) = (100, Duration::new("5s"));
    assert_eq!(command(&trace).unwrap(), "kubectl traffictrace run -n shop --duration 10m");
    trace.spec.selector = selector::parse("tier in (web, api),!canary").unwrap();
    let line = command(&trace).unwrap();
    assert!(line.contains("-l 'tier in (api,web),!canary'"), "{line}");
}

fn label() -> impl Strategy<Value = String> {
    "[a-z]{1,6}"
}

prop_compose! {
    fn spec()(
        labels in vec((label(), label()), 0..3),
        absent in vec(label(), 0..2),
        containers in vec(label(), 0..3),
        protocols in vec(prop::sample::select(vec![Protocol::Tcp, Protocol::Udp, Protocol::Icmp]), 0..2),
        ports in vec(1_u16..9000, 0..3),
        cidrs in vec(prop::sample::select(vec!["10.0.0.0/8", "2001:db8::/32"]), 0..2),
        direction in prop::sample::select(vec![DirectionFilter::Inbound, DirectionFilter::Outbound, DirectionFilter::Both]),
        group_by in prop::sample::select(vec![GroupBy::Connection, GroupBy::Endpoint, GroupBy::Process]),
        top_flows in 1_i32..=100,
        http in option::of((any::<bool>(), 1_i32..=100)),
        stacks in option::of((any::<bool>(), any::<bool>())),
        times in (5_u32..90, 5_u32..90),
        ttl in prop::sample::select(vec!["5m", "24h", "1h", "Never"]),
    ) -> TrafficTraceSpec {
        let mut text: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        text.extend(absent.iter().map(|key| format!("!{key}")));
        TrafficTraceSpec {
            selector: selector::parse(&text.join(",")).unwrap(),
            containers,
            protocols,
            ports: ports
                .iter()
                .enumerate()
                .map(|(at, port)| match at {
                    0 => k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::Int((*port).into()),
                    _ => k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::String(format!("{port}-9000")),
                })
                .collect(),
            remote_cidrs: cidrs.into_iter().map(str::to_owned).collect(),
            direction,
            group_by,
            top_flows,
            http: http.map(|(tls, top_endpoints)| HttpSpec { tls, top_endpoints }),
            stacks: stacks.map(|(every_call, kernel)| StacksSpec { every_call, kernel }),
            interval: Duration::new(format!("{}s", times.0)),
            duration: Duration::new(format!("{}m", times.1)),
            ttl_after_finished: Duration::new(ttl),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// A shell and the plugin parse the command line into the same spec.
    #[test]
    fn a_command_line_is_the_spec(spec in spec()) {
        let mut trace = TrafficTrace::new("x", spec.clone());
        trace.metadata.namespace = Some("shop".to_owned());
        let line = command(&trace).unwrap();
        let words = shlex::split(&line).unwrap();
        prop_assert_eq!(&words[..5], ["kubectl", "traffictrace", "run", "-n", "shop"]);
        let read = parsed(&words[5..]).unwrap_or_else(|error| panic!("{line}: {error}"));
        let written = |spec: &TrafficTraceSpec| {
            let mut value = serde_json::to_value(spec).unwrap();
            // A selector has several equivalent forms, so selectors are compared as text.
            value["selector"] = selected(&spec.selector).into();
            value
        };
        prop_assert_eq!(written(&read), written(&spec), "{}", line);
    }
}

#[test]
fn hostile_texts_reach_no_shell() {
    for name in crate::testing::HOSTILE {
        let mut trace = running();
        trace.spec.containers = vec![name.to_owned()];
        let Some(line) = command(&trace) else { continue };
        let words = shlex::split(&line).unwrap();
        assert!(words.iter().any(|word| word == name), "{line}");
    }
}
