//! End-to-end suite of TrafficTrace: a program that knows what it moved, and what the tests share.
//!
//! * [`exactness`]: `tt-exact`, every way to move bytes through a socket, compared byte for byte.
//! * [`workload`]: `tt-workload`, the ground truth.
//! * [`guest`]: `tt-init`, the first process of a guest of the kernel matrix.
//! * [`support`]: guards that clean up, waiting with a deadline, reading what the product prints.

pub mod bench;
pub mod exactness;
pub mod guest;
pub mod support;
pub mod workload;
