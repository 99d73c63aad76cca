//! What the API server itself decides, by the product's definitions, policies and roles. These tests need no nodes, and
//! run on the oldest supported Kubernetes too: `make test-kubernetes-1.30`.

mod policy;
mod refused;
mod rights;
