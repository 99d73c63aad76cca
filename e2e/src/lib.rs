//! End-to-end suite of TrafficTrace: a program that knows what it moved, and what the tests share.
//!
//! * [`workload`]: `tt-workload`, the ground truth.
//! * [`support`]: guards that clean up, waiting with a deadline, reading what the product prints.

pub mod bench;
pub mod support;
pub mod workload;
