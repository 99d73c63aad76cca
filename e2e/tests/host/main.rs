//! The product on this machine's own kernel, without a cluster: what `top` shows against what the workloads counted.
//! Needs root and a cgroup2 tree; says `SKIPPED` without (a failure when `CI=true`).

mod bad_input;
mod check;
mod docs;
mod exact;
mod exactness;
mod flamegraph;
mod http;
mod https;
mod life;
mod of_pid;
mod outputs;
mod setup;
mod stacks;
mod standalone;
mod truth_itself;
