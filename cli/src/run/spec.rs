//! The spec of a trace from the command line.

use clap::{Args, ValueEnum};
use k8s_openapi::apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString};
use traffictrace_crd::{
    DirectionFilter, Duration, GroupBy, HttpSpec, Protocol, StacksSpec, TrafficTraceSpec, parse_ports,
};

/// Time for which a trace that nobody wants to keep stays after its end: its owner deletes it, unless it was killed.
const TTL: &str = "5m";

/// Options that become the spec.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Trace")]
pub(super) struct SpecArgs {
    /// How long the trace runs at most, 5s to 24h, such as 30s, 10m or 1h30m.
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration)]
    duration: Duration,

    /// How often nodes report, at least 5s. In a large cluster they report less often.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    interval: Duration,

    /// How long after its end the trace is deleted, a time or Never [default: 5m, and 24h with --keep].
    #[arg(long, value_name = "TIME", value_parser = ttl)]
    ttl: Option<Duration>,

    /// What one flow is, within one container.
    #[arg(long, value_enum, value_name = "WHAT", ignore_case = true, default_value_t = Group::Endpoint)]
    group_by: Group,

    /// How many flows the trace lists, those with the most bytes, 1 to 100. Totals have all of them.
    #[arg(long, value_name = "FLOWS", default_value_t = 100)]
    top_flows: i32,

    /// Count HTTP requests, too.
    #[arg(long)]
    http: bool,

    /// Count the HTTP requests inside TLS, too.
    #[arg(long, requires = "http")]
    tls: bool,

    /// How many HTTP endpoints the trace lists, those with the most requests, 1 to 100 [default: 20].
    #[arg(long, value_name = "ENDPOINTS", requires = "http")]
    top_endpoints: Option<i32>,

    /// Take stacks, which show what code sends and receives.
    #[arg(long)]
    stacks: bool,

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

    /// Only what the peer opened (Inbound) or what the pods opened (Outbound). What cannot be told passes.
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
    /// The spec of a trace of the selected pods.
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
            stacks: self.stacks.then(StacksSpec::default),
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
        // What the command line can say, the rules of the definition take.
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
                    --top-endpoints 3 --stacks --container a,b --protocol tcp,UDP --port 443,8000-8100 --port 53 \
                    --remote-cidr 10.0.0.0/8 --direction inbound";
        let expected = json!({
            "selector": {}, "containers": ["a", "b"], "protocols": ["TCP", "UDP"], "ports": [443, "8000-8100", 53],
            "remoteCIDRs": ["10.0.0.0/8"], "direction": "Inbound", "groupBy": "Connection", "topFlows": 7,
            "http": {"tls": true, "topEndpoints": 3}, "stacks": {"everyCall": false, "kernel": false},
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
