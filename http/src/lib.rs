//! HTTP exchanges out of the bytes of TCP connections.
//!
//! The kernel hands over [`Piece`]s: the bytes of a connection that a parser needs, with their TCP sequence numbers. A
//! [`Connection`] puts them in order, finds out which protocol they speak, and reports each [`Exchange`] (a request and
//! its response) to a [`Sink`] when it is complete. What passed and could not be told is reported there as well, with
//! the reason: exchanges seen and exchanges unobserved are all that there were. [`endpoint`] folds exchanges into rows
//! by endpoint, with histograms that merge.
//!
//! Nothing here does I/O, and every byte is taken for hostile: memory is bounded for each connection, and no input
//! panics.

mod connection;
pub mod endpoint;
mod exchange;
mod h1;
mod h2;
mod parser;
mod piece;
mod stream;

pub use connection::{Beginning, Connection, Language, begins_message};
pub use exchange::{Exchange, Protocol, Reason, Side, Sink, Status};
pub use h1::Start;
pub use piece::{Piece, Way};
