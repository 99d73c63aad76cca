//! Output for people: tables, the live screen and the report, shared by `traffictrace top` and the kubectl plugin.
//!
//! Everything here is made from a [`Snapshot`]: plain data that comes from a kernel, an API server or a file. The code here
//! does not know which.

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
