//! The product on this machine's own kernel, without a cluster: the output of `top` compared with the workloads'
//! counts. Needs root and a cgroup2 tree; prints `SKIPPED` without them (a failure if `CI=true`).

mod bad_input;
mod check;
mod containers;
mod docs;
mod exact;
mod exactness;
mod flamegraph;
mod http;
mod https;
mod life;
mod of_pid;
mod outputs;
mod recordings;
mod setup;
mod stacks;
mod standalone;
mod truth_itself;
