//! The product on a real cluster of two nodes, with real pods. `KUBECONFIG` says which; without it every test says
//! `SKIPPED` (a failure when `CI=true`).

mod controller;
mod exact;
mod faults;
mod filters;
mod life;
mod operations;
mod refused;
mod requests;
mod sessions;
mod setup;
mod start;
mod timing;
