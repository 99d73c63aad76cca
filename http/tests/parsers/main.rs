//! This crate beside other parsers, on the same bytes: generated ones, and such with errors at random. Where both accept a
//! message, they agree about it; where this crate gives up, it counts that.
//!
//! The bytes are mutated by a seed that proptest chooses: coverage-guided fuzzing needs a nightly compiler.

mod feed;
mod http1;
mod http2;
mod mutate;
