//! Lines for spreadsheets and scripts: one for each flow or endpoint, and one with the sums of those that are not listed, so
//! that the lines of a snapshot add up to its totals.
//!
//! The fields have the names of the snapshot's JSON, after a first field `time`. Numbers are plain integers. A value that is
//! not known is `None`.

mod endpoints;
mod flows;

pub use self::{
    endpoints::{EndpointLine, endpoints},
    flows::{FlowLine, flows},
};

/// Name in the process column of the line that sums the flows or endpoints that are not listed.
pub const OTHER: &str = "(other)";
