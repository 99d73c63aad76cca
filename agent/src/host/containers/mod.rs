//! The containers that run on this host, by the names that their runtimes and Kubernetes know.
//!
//! A container's folder in the cgroup2 tree tells its id; its name is asked of nobody. The process that supervises the
//! container, a containerd shim or conmon, is an ancestor of the container's processes and outside of its cgroup. Its command
//! line or the files beside it tell the name, whatever the runtime's folders are called, in rootless and nested runtimes
//! alike, and no daemon has to answer.

mod bundle;
mod names;
mod pattern;
mod supervisor;
mod tree;

pub(crate) use self::{
    names::Names,
    pattern::{ContainerPattern, described},
    tree::{Container, ContainerTree},
};
