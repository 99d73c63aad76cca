//! The end-to-end suite of TrafficTrace: workloads that know what they moved, and tools that the tests share.
//!
//! * [`exactness`]: `tt-exact`, every way to move bytes through a socket, compared byte for byte.
//! * [`workload`]: `tt-workload`, the load with known amounts.
//! * [`guest`]: `tt-init`, the first process of a guest of the kernel matrix.
//! * [`support`]: guards that clean up, waiting with a deadline, parsing of the product's output.
//! * [`mod@bench`]: `tt-bench`, the cost of tracing.

pub mod bench;
pub mod exactness;
pub mod guest;
pub mod support;
pub mod workload;
