//! Comparison of this crate with other parsers on the same bytes, both valid ones and ones with random errors. If both
//! parsers accept a message, they must agree about it. If this crate does not report a message that the other parser
//! accepts, it must count it as unobserved.
//!
//! The crate proptest chooses the errors at random; coverage-guided fuzzing would need a nightly compiler.

mod feed;
mod http1;
mod http2;
mod mutate;
