//! The path from the engine's counts to this node's report of a trace. Pure: no I/O, no clock.

mod build;
mod endpoints;
mod history;
mod http;
mod identities;
mod profile;
mod size;

pub(crate) use build::{Counted, Inputs, Outcome, closing, is_wanted, report};
pub(crate) use history::History;
pub(crate) use identities::{Identities, Owned};
pub(crate) use profile::{Packed, Profile, Profiled, closing_profile, profile};
