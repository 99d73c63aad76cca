//! Helpers that tests share. Every guard undoes its changes when it is dropped, even if its test fails.

pub mod bpf;
pub mod browser;
pub mod cgroup;
pub mod cluster;
pub mod containers;
pub mod docs;
mod error;
pub mod http;
pub mod needs;
pub mod peer;
pub mod process;
pub mod server;
pub mod stacks;
pub mod tls;
pub mod top;
pub mod truth;
pub mod wait;
pub mod workload;

pub use error::{Result, TestError};
