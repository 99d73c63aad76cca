//! Tests of the crate through its public interface.

mod export;
mod settings;
mod support;
