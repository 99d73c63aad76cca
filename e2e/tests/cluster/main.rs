//! The product on a real cluster of two nodes, with real pods. `KUBECONFIG` says which; without it every test says
//! `SKIPPED` (a failure when `CI=true`).

mod api;
mod exact;
mod faults;
mod life;
mod operations;
mod requests;
mod setup;
mod start;
mod tenants;
mod timing;
