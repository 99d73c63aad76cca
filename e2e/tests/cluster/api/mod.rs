//! Decisions of the API server alone, by the product's definitions, policies and roles. These tests need no nodes, and
//! also run on the oldest supported Kubernetes: `make test-kubernetes-1.30`.

mod pods;
mod policy;
mod refused;
mod rights;
