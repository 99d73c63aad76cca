//! Conversion of a spec into a filter, from which the kernel's filter is made.

use ipnet::IpNet;
use traffictrace_crd::{self as crd, TrafficTraceSpec, parse_port};

use crate::flows::{DirectionFilter, Filter, Protocol};

/// Returns the filter of a spec. An error names the field of the spec, and says what is wrong with it.
pub(crate) fn filter_of(spec: &TrafficTraceSpec) -> Result<Filter, (&'static str, String)> {
    let ports = spec.ports.iter().map(parse_port).collect::<Result<_, _>>();
    let network =
        |cidr: &String| cidr.parse::<IpNet>().map_err(|e| ("remoteCIDRs", format!("{cidr:?}: {e}")));
    Ok(Filter {
        protocols: spec.protocols.iter().copied().map(Protocol::from).collect(),
        ports: ports.map_err(|e| ("ports", e.to_string()))?,
        remote_cidrs: spec.remote_cidrs.iter().map(network).collect::<Result<_, _>>()?,
        direction: direction(spec.direction),
    })
}

fn direction(direction: crd::DirectionFilter) -> DirectionFilter {
    match direction {
        crd::DirectionFilter::Inbound => DirectionFilter::Inbound,
        crd::DirectionFilter::Outbound => DirectionFilter::Outbound,
        crd::DirectionFilter::Both => DirectionFilter::Both,
    }
}
