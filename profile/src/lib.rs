//! Finished profiles of traffic: the code that moved the bytes of a trace.
//!
//! A [`Graph`] has one row for each stack; the rows' bytes and calls add up to the totals. A graph can be written as a flame
//! graph, as folded text or as pprof; a pprof can be read back, and graphs can be merged. Agents make graphs from samples.
//! Files and API objects bring them to the programs that draw them.

mod coverage;
pub mod file;
mod folded;
mod frame;
mod graph;
mod known;
mod names;
mod output;
mod pprof;
mod svg;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use self::{
    coverage::{Coverage, share},
    frame::{Frame, FrameKind, Way},
    graph::{About, By, Graph, Place, Process, Row, RowKey, TooMuch},
    known::Known,
    output::{Format, Output, OutputError},
    pprof::{ReadError, Room, WriteError},
    svg::DrawError,
};
