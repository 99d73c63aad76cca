//! What people look at: tables, the live screen and the report, for `traffictrace top` and for the kubectl plugin alike.
//!
//! Everything here starts from a [`Snapshot`], plain data that a kernel, an API server or a file can have filled. Nothing here
//! knows which.

pub mod args;
pub mod csv;
pub mod endpoints;
mod error;
pub mod filter;
pub mod functions;
pub mod history;
pub mod json;
pub mod lines;
pub mod live;
pub mod losses;
mod names;
pub mod pairs;
pub mod replay;
pub mod report;
pub mod rows;
pub mod shell;
pub mod snapshot;
pub mod sort;
#[cfg(test)]
mod testing;
pub mod text;
pub mod units;
pub mod wrap;

pub use error::{FilterError, ReplayError};
pub use snapshot::Snapshot;
