//! Comparison of this crate with other parsers on the same bytes, both valid ones and ones with random errors. If both
//! parsers accept a message, they must agree about it; if this crate gives up, it must count that.
//!
//! The bytes are mutated with a seed that proptest chooses, because coverage-guided fuzzing needs a nightly compiler.

mod feed;
mod http1;
mod http2;
mod mutate;
