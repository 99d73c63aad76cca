//! From what the engine counted to this node's report of a trace. Pure: no I/O, no clock.

mod build;
mod endpoints;
mod history;
mod http;
mod identities;
mod size;

pub(crate) use build::{Counted, Inputs, Outcome, closing, report};
pub(crate) use history::History;
pub(crate) use identities::Identities;
