//! The filters of a trace, kept with its status so that a change of them is noticed.

use traffictrace_crd::{DirectionFilter, Protocol, TrafficTrace};

/// The part of a spec that may change and decides which traffic is counted.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Filters {
    protocols: Vec<Protocol>,
    ports: Vec<String>,
    remote_cidrs: Vec<String>,
    direction: DirectionFilter,
}

impl Filters {
    pub(super) fn of(object: &TrafficTrace) -> Self {
        let spec = &object.spec;
        Self {
            protocols: spec.protocols.clone(),
            ports: spec.ports.iter().map(|port| format!("{port:?}")).collect(),
            remote_cidrs: spec.remote_cidrs.clone(),
            direction: spec.direction,
        }
    }
}
