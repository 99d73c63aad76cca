//! The profile of a session: its stacks with the bytes and calls of each.
//!
//! [`Profile`] adds up samples while the session runs; [`Profile::settle`] brings them together with what the ledger has
//! counted, so that the rows of the [`Graph`] add up to the ledger's sums to the byte. A graph is written as a picture, as
//! folded text or as pprof, read back, and merged with others.

mod add;
mod coverage;
mod folded;
mod graph;
mod known;
mod memory;
mod names;
mod pprof;
mod settle;
mod shares;
mod svg;
#[cfg(test)]
pub(crate) mod testing;

pub use self::{
    add::{Owner, Profile},
    coverage::{Coverage, share},
    graph::{About, By, Graph, Place, Process, Row, RowKey, TooMuch},
    known::Known,
    pprof::{ReadError, Room, WriteError},
    settle::Sums,
    svg::DrawError,
};
