//! End-to-end suite of TrafficTrace: a program that knows what it moved, and what the tests share.
//!
//! * [`exactness`]: `tt-exact`, every way to move bytes through a socket, compared byte for byte.
//! * [`workload`]: `tt-workload`, the ground truth.
//! * [`support`]: guards that clean up, waiting with a deadline, reading what the product prints.

pub mod bench;
pub mod exactness;
pub mod support;
pub mod workload;
