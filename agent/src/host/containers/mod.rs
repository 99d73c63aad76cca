//! The containers that run on this host, with their names in their runtime and in Kubernetes.
//!
//! The name of a container's folder in the cgroup2 tree gives only its id. The name comes from the process that supervises
//! the container, a containerd shim or conmon: an ancestor of the container's processes, outside of the container's cgroup.
//! Its command line, or the files in its folder, contain the name. This works whatever the runtime's folders are called, also
//! for rootless and nested runtimes, and needs no daemon to respond.

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
