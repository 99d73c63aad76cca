//! HTTP exchanges, parsed from the bytes of TCP connections.
//!
//! The kernel hands over [`Piece`]s: the bytes of a connection that a parser needs, with their TCP sequence numbers. A
//! [`Connection`] puts the bytes in order, detects their protocol, and reports each [`Exchange`] (a request and its
//! response) to a [`Sink`] when it is complete. The sink also receives the number of exchanges that passed and could
//! not be parsed, with the reason, so that observed and unobserved exchanges add up to all. [`endpoint`] counts
//! exchanges in rows by endpoint (method, host, folded path and more), with histograms of durations that can be merged.
//!
//! The crate does no I/O, and treats every byte as hostile: memory is bounded for each connection, and no input causes
//! a panic.

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
