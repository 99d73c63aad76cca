//! The selection of this node's cgroups for each trace. Pure: no I/O, no clock.
//!
//! [`Trace`] and [`Pod`] are the parts of the API objects that matter on a node; [`plan()`] combines them.

mod filter;
mod plan;
mod pod;
mod trace;

pub(crate) use filter::filter_of;
pub(crate) use plan::{Place, Planned, Refusal, Running, plan};
pub(crate) use pod::{Pod, container_names};
pub(crate) use trace::Trace;
#[cfg(test)]
pub(crate) use trace::example;

/// The UID of an API object.
pub(crate) type Uid = String;
