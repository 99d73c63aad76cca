//! Lines for spreadsheets and scripts: one for each flow or endpoint, and one with the sums of what is not listed, so that the
//! lines of a snapshot add up to its totals.
//!
//! The fields have the names of the snapshot's JSON, with `time` first. Numbers are plain integers. What is not known is
//! nothing.

mod endpoints;
mod flows;

pub use self::{
    endpoints::{EndpointLine, endpoints},
    flows::{FlowLine, flows},
};

/// The name that stands in place of a process in the line of what is not listed.
pub const OTHER: &str = "(other)";
