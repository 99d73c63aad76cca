//! Finished profiles of traffic: which code moved the bytes of a trace.
//!
//! A [`Graph`] has one row for each stack, whose bytes and calls add up to all that was moved. A graph is written as a picture,
//! as folded text or as pprof, read back, and merged with others. The agent makes graphs of samples; files and objects of the
//! API bring them to whoever draws.

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
