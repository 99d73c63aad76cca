//! From containers and processes to cgroup ids.
//!
//! The kernel programs identify a container by the id of its folder in the cgroup2 tree, which is the folder's inode
//! number (`bpf_get_current_cgroup_id` and similar helpers return `kernfs_node.id`, which kernfs also uses as the
//! inode number). This module finds the tree, derives the pod and the container from a folder's name, and follows the
//! folders of this node's pods as they are made and removed.

mod container;
mod error;
mod forms;
mod pods;
mod root;
#[cfg(test)]
mod tests;

pub(crate) use container::{ContainerPath, container_of};
pub(crate) use error::CgroupError;
pub(crate) use forms::PodKey;
pub(crate) use pods::PodTree;
pub(crate) use root::{CgroupFolder, CgroupRoot, find_root};
