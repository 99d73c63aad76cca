//! A trace's spec in words, and as the command line that makes the same trace again.

use kube::{ResourceExt as _, core::Selector};
use traffictrace_crd::{DirectionFilter, GroupBy, HttpSpec, TrafficTrace, TrafficTraceSpec};
use traffictrace_view::shell;

use crate::{
    run::{INTERVAL, TOP_FLOWS, TTL},
    snapshot::selected,
};

/// Returns the spec as names and values.
pub(crate) fn pairs(trace: &TrafficTrace) -> Vec<(String, String)> {
    let spec = &trace.spec;
    let some = |values: Vec<String>| (!values.is_empty()).then(|| values.join(", "));
    [
        ("Namespace", trace.namespace()),
        ("Pods", Some(selected(&spec.selector))),
        ("Containers", some(spec.containers.clone())),
        ("Protocols", some(protocols(spec))),
        ("Ports", some(ports(spec))),
        ("Peers in", some(spec.remote_cidrs.clone())),
        ("Connections", direction(spec).map(str::to_owned)),
        ("One row for each", Some(row(spec).to_owned())),
        ("Flows listed", Some(spec.top_flows.to_string())),
        (
            "HTTP requests",
            spec.http.as_ref().map(|http| {
                if http.tls { "yes, those inside TLS too" } else { "yes, but for those inside TLS" }
                    .to_owned()
            }),
        ),
        (
            "Stacks",
            spec.stacks.as_ref().map(|stacks| {
                let every = if stacks.every_call { "of every call" } else { "of calls taken at random" };
                let kernel = if stacks.kernel { ", into the kernel" } else { "" };
                format!("{every}{kernel}")
            }),
        ),
        ("Reports every", Some(spec.interval.to_string())),
        ("Duration", Some(spec.duration.to_string())),
        ("Stays afterwards", Some(spec.ttl_after_finished.to_string())),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name.to_owned(), value?)))
    .collect()
}

/// Returns the spec in a sentence or two.
pub(crate) fn sentence(spec: &TrafficTraceSpec) -> String {
    let protocols = match spec.protocols.as_slice() {
        [] => "all".to_owned(),
        _ => format!("the {}", listed(&protocols(spec))),
    };
    let mut text = format!("It traces {protocols} traffic of ");
    match selected(&spec.selector).as_str() {
        "all pods" => text.push_str("all pods of the namespace"),
        selected => text.push_str(&format!("the pods with {selected}")),
    }
    if !spec.containers.is_empty() {
        text.push_str(&format!(", of the containers named {} alone", either(&spec.containers)));
    }
    if !spec.ports.is_empty() {
        let ports = ports(spec);
        let port = if ports.len() == 1 { "port" } else { "ports" };
        text.push_str(&format!(", at {port} {}", listed(&ports)));
    }
    if !spec.remote_cidrs.is_empty() {
        text.push_str(&format!(", with peers in {}", either(&spec.remote_cidrs)));
    }
    if let Some(direction) = direction(spec) {
        text.push_str(&format!(", on connections that {direction}"));
    }
    text.push_str(&format!("; a row is {}.", row(spec)));
    match (&spec.http, &spec.stacks) {
        (None, None) => {}
        (http, stacks) => {
            let http = http.as_ref().map(|http| {
                if http.tls { "the HTTP requests, those inside TLS too" } else { "the HTTP requests" }
            });
            let stacks = stacks.as_ref().map(|_| "which code sends and receives");
            let parts: Vec<String> = [http, stacks].into_iter().flatten().map(str::to_owned).collect();
            text.push_str(&format!(" It also shows {}.", parts.join(", and ")));
        }
    }
    text
}

/// Returns the plugin's command line that makes the same trace, quoted for a shell; `None` if the plugin has no
/// options for this spec.
pub(crate) fn command(trace: &TrafficTrace) -> Option<String> {
    let mut words: Vec<String> = ["kubectl", "traffictrace", "run"].map(str::to_owned).into();
    let mut option = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            words.extend([name.to_owned(), value]);
        }
    };
    option("-n", trace.namespace());
    let spec = &trace.spec;
    let selector = Selector::try_from(spec.selector.clone()).ok()?;
    option("-l", (!selector.selects_all()).then(|| selector.to_string()));
    let joined = |values: Vec<String>| (!values.is_empty()).then(|| values.join(","));
    option("--container", joined(spec.containers.clone()));
    option("--protocol", joined(protocols(spec)));
    option("--port", joined(ports(spec)));
    option("--remote-cidr", joined(spec.remote_cidrs.clone()));
    option("--direction", direction(spec).map(|_| format!("{:?}", spec.direction)));
    option("--group-by", (spec.group_by != GroupBy::default()).then(|| format!("{:?}", spec.group_by)));
    option("--top-flows", (spec.top_flows != TOP_FLOWS).then(|| spec.top_flows.to_string()));
    option("--interval", (spec.interval.to_string() != INTERVAL).then(|| spec.interval.to_string()));
    option("--duration", Some(spec.duration.to_string()));
    let endpoints = spec.http.as_ref().map(|http| http.top_endpoints);
    let endpoints = endpoints.filter(|endpoints| *endpoints != HttpSpec::default().top_endpoints);
    option("--top-endpoints", endpoints.map(|endpoints| endpoints.to_string()));
    let ttl = spec.ttl_after_finished.to_string();
    let is_kept = ttl != TTL;
    let kept = TrafficTraceSpec::default().ttl_after_finished.to_string();
    option("--ttl", (is_kept && ttl != kept).then_some(ttl));
    let stacks = spec.stacks.as_ref();
    for (flag, is_set) in [
        ("--http", spec.http.is_some()),
        ("--tls", spec.http.as_ref().is_some_and(|http| http.tls)),
        ("--stacks", stacks.is_some()),
        ("--every-call", stacks.is_some_and(|stacks| stacks.every_call)),
        ("--kernel", stacks.is_some_and(|stacks| stacks.kernel)),
        ("--keep", is_kept),
    ] {
        if is_set {
            words.push(flag.to_owned());
        }
    }
    let quoted: Option<Vec<String>> = words.iter().map(|word| shell::quoted(word)).collect();
    Some(quoted?.join(" "))
}

fn protocols(spec: &TrafficTraceSpec) -> Vec<String> {
    spec.protocols.iter().map(|protocol| format!("{protocol:?}").to_uppercase()).collect()
}

fn ports(spec: &TrafficTraceSpec) -> Vec<String> {
    use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::{Int, String};
    let text = |port: &k8s_openapi::apimachinery::pkg::util::intstr::IntOrString| match port {
        Int(port) => port.to_string(),
        String(ports) => ports.clone(),
    };
    spec.ports.iter().map(text).collect()
}

fn direction(spec: &TrafficTraceSpec) -> Option<&'static str> {
    match spec.direction {
        DirectionFilter::Inbound => Some("the peers opened"),
        DirectionFilter::Outbound => Some("the pods opened"),
        DirectionFilter::Both => None,
    }
}

fn row(spec: &TrafficTraceSpec) -> &'static str {
    match spec.group_by {
        GroupBy::Connection => "a connection",
        GroupBy::Endpoint => "a process with a peer and the service's port",
        GroupBy::Process => "a process",
    }
}

/// Joins names: `a, b and c`.
fn listed(names: &[String]) -> String {
    joined(names, "and")
}

/// Joins names as alternatives: `a, b or c`.
fn either(names: &[String]) -> String {
    joined(names, "or")
}

fn joined(names: &[String], last: &str) -> String {
    match names {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., end] => format!("{} {last} {end}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests;
