//! The product on a real cluster of two nodes, with real pods. `KUBECONFIG` names the cluster; without it every test
//! prints `SKIPPED` (a failure if `CI=true`).

mod answers;
mod api;
mod clock;
mod controller;
mod docs;
mod exact;
mod faults;
mod filters;
mod http;
mod life;
mod nodes;
mod operations;
mod plugin;
mod plugin_views;
mod requests;
mod rollout;
mod sessions;
mod setup;
mod stacks;
mod start;
mod tenants;
mod timing;
