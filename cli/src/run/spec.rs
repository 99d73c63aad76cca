//! The spec of a trace from command-line options.

use clap::{Args, ValueEnum};
use k8s_openapi::apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString};
use traffictrace_crd::{
    DirectionFilter, Duration, GroupBy, HttpSpec, Protocol, StacksSpec, TrafficTraceSpec, parse_ports,
};

/// Time for which a trace stays after its end if the user does not keep it. Usually the command deletes the trace
/// itself, unless it is killed.
pub(crate) const TTL: &str = "5m";
/// Default interval of the nodes' reports: short, because the user is watching.
pub(crate) const INTERVAL: &str = "5s";
/// Default of the maximum number of flows that a trace lists.
pub(crate) const TOP_FLOWS: i32 = 100;

/// Options that become the spec.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Trace")]
pub(super) struct SpecArgs {
    /// Maximum length of the trace, 5s to 24h, such as 30s, 10m or 1h30m.
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration)]
    duration: Duration,

    /// Interval at which nodes report, at least 5s. In a large cluster they report less often.
    #[arg(long, value_name = "TIME", default_value = INTERVAL, value_parser = duration)]
    interval: Duration,

    /// Time from the end of the trace to its deletion, or Never [default: 5m, and 24h with --keep].
    #[arg(long, value_name = "TIME", value_parser = ttl)]
    ttl: Option<Duration>,

    /// Unit that one flow stands for, within one container.
    #[arg(long, value_enum, value_name = "WHAT", ignore_case = true, default_value_t = Group::Endpoint)]
    group_by: Group,

    /// Maximum number of flows that the trace lists, those with the most bytes first, 1 to 100. The totals include
    /// all flows.
    #[arg(long, value_name = "FLOWS", default_value_t = TOP_FLOWS)]
    top_flows: i32,

    /// Count HTTP requests, too.
    #[arg(long)]
    http: bool,

    /// Count HTTP requests inside TLS, too.
    #[arg(long, requires = "http")]
    tls: bool,

    /// Maximum number of HTTP endpoints that the trace lists, those with the most requests first, 1 to 100 [default:
    /// 20].
    #[arg(long, value_name = "ENDPOINTS", requires = "http")]
    top_endpoints: Option<i32>,

    /// Take stacks, which show the code that sends and receives.
    #[arg(long)]
    stacks: bool,

    /// Take the stack of every call. Without this, the calls of a program that calls very often are sampled, which costs less.
    #[arg(long, requires = "stacks")]
    every_call: bool,

    /// Continue the stacks into the kernel.
    #[arg(long, requires = "stacks")]
    kernel: bool,

    /// Only these containers of the pods.
    #[arg(long, value_name = "NAME", value_delimiter = ',', help_heading = FILTERS)]
    container: Vec<String>,

    /// Only these protocols: TCP, UDP, ICMP (ICMPv6 too).
    #[arg(long, value_name = "PROTOCOL", value_delimiter = ',', value_parser = protocol, help_heading = FILTERS)]
    protocol: Vec<Protocol>,

    /// Only these ports, local or remote: numbers such as 443 or ranges such as 8000-8100.
    #[arg(long, value_name = "PORT", value_delimiter = ',', value_parser = port, help_heading = FILTERS)]
    port: Vec<IntOrString>,

    /// Only peers in these networks, such as 10.0.0.0/8 or 2001:db8::/32.
    #[arg(long, value_name = "CIDR", value_delimiter = ',', help_heading = FILTERS)]
    remote_cidr: Vec<String>,

    /// Only connections that the peer opened (Inbound) or that the pods opened (Outbound). If nothing shows who
    /// opened a connection, it passes.
    #[arg(long, value_enum, value_name = "WHICH", ignore_case = true, default_value_t = Direction::Both, help_heading = FILTERS)]
    direction: Direction,
}

/// Heading of the filters in the help.
const FILTERS: &str = "Filters, applied in the kernel";

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Group {
    #[value(name = "Connection")]
    Connection,
    #[value(name = "Endpoint")]
    Endpoint,
    #[value(name = "Process")]
    Process,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Direction {
    #[value(name = "Inbound")]
    Inbound,
    #[value(name = "Outbound")]
    Outbound,
    #[value(name = "Both")]
    Both,
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration = Duration::new(text);
    duration.get().map_err(|error| error.to_string())?;
    Ok(duration)
}

fn ttl(text: &str) -> Result<Duration, String> {
    if text.eq_ignore_ascii_case("never") { Ok(Duration::new("Never")) } else { duration(text) }
}

fn protocol(text: &str) -> Result<Protocol, String> {
    match text.to_ascii_uppercase().as_str() {
        "TCP" => Ok(Protocol::Tcp),
        "UDP" => Ok(Protocol::Udp),
        "ICMP" => Ok(Protocol::Icmp),
        _ => Err("write TCP, UDP or ICMP".to_owned()),
    }
}

fn port(text: &str) -> Result<IntOrString, String> {
    parse_ports(text).map_err(|error| error.to_string())?;
    Ok(text.parse().map_or_else(|_| IntOrString::String(text.to_owned()), IntOrString::Int))
}

impl SpecArgs {
    /// Returns the spec of a trace of the selected pods.
    pub(super) fn spec(&self, selector: LabelSelector, is_kept: bool) -> TrafficTraceSpec {
        let defaults = TrafficTraceSpec::default();
        let http = HttpSpec::default();
        TrafficTraceSpec {
            selector,
            containers: self.container.clone(),
            protocols: self.protocol.clone(),
            ports: self.port.clone(),
            remote_cidrs: self.remote_cidr.clone(),
            direction: match self.direction {
                Direction::Inbound => DirectionFilter::Inbound,
                Direction::Outbound => DirectionFilter::Outbound,
                Direction::Both => DirectionFilter::Both,
            },
            group_by: match self.group_by {
                Group::Connection => GroupBy::Connection,
                Group::Endpoint => GroupBy::Endpoint,
                Group::Process => GroupBy::Process,
            },
            top_flows: self.top_flows,
            http: self.http.then(|| HttpSpec {
                tls: self.tls,
                top_endpoints: self.top_endpoints.unwrap_or(http.top_endpoints),
            }),
            stacks: self.stacks.then_some(StacksSpec { every_call: self.every_call, kernel: self.kernel }),
            interval: self.interval.clone(),
            duration: self.duration.clone(),
            ttl_after_finished: match &self.ttl {
                Some(ttl) => ttl.clone(),
                None if is_kept => defaults.ttl_after_finished,
                None => Duration::new(TTL),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;
    use traffictrace_crd::TrafficTrace;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        spec: SpecArgs,
    }

    fn spec(line: &str, is_kept: bool) -> serde_json::Value {
        let arguments = ["run"].into_iter().chain(line.split_whitespace());
        let spec = Line::try_parse_from(arguments).unwrap().spec.spec(LabelSelector::default(), is_kept);
        // Every spec that the command line can express obeys the rules of the definition.
        TrafficTrace::new("x", spec.clone()).validate().unwrap();
        serde_json::to_value(spec).unwrap()
    }

    #[test]
    fn nothing_said_is_a_short_trace_of_everything() {
        let expected = json!({
            "selector": {}, "direction": "Both", "groupBy": "Endpoint", "topFlows": 100, "interval": "5s",
            "duration": "10m", "ttlAfterFinished": "5m",
        });
        assert_eq!(spec("", false), expected);
        assert_eq!(spec("", true)["ttlAfterFinished"], "24h");
        assert_eq!(spec("--ttl never", false)["ttlAfterFinished"], "Never");
    }

    #[test]
    fn every_option_has_its_field() {
        let line = "--duration 2m --interval 30s --ttl 1h --group-by connection --top-flows 7 --http --tls \
                    --top-endpoints 3 --stacks --kernel --container a,b --protocol tcp,UDP --port 443,8000-8100 --port 53 \
                    --remote-cidr 10.0.0.0/8 --direction inbound";
        let expected = json!({
            "selector": {}, "containers": ["a", "b"], "protocols": ["TCP", "UDP"], "ports": [443, "8000-8100", 53],
            "remoteCIDRs": ["10.0.0.0/8"], "direction": "Inbound", "groupBy": "Connection", "topFlows": 7,
            "http": {"tls": true, "topEndpoints": 3}, "stacks": {"everyCall": false, "kernel": true},
            "interval": "30s", "duration": "2m", "ttlAfterFinished": "1h",
        });
        assert_eq!(spec(line, false), expected);
    }

    #[test]
    fn mistakes_are_refused_before_anything_is_created() {
        for line in [
            "--duration soon",
            "--port http",
            "--port 8100-8000",
            "--protocol sctp",
            "--direction up",
            "--tls",
            "--group-by pod",
            "--ttl later",
        ] {
            assert!(Line::try_parse_from(["run"].into_iter().chain(line.split(' '))).is_err(), "{line}");
        }
    }
}
