//! From containers and processes to cgroup ids.
//!
//! The kernel side knows a container by one number: the id of its folder in the cgroup2 tree, which is the
//! folder's inode number (`bpf_get_current_cgroup_id` and its relatives return `kernfs_node.id`, and kernfs uses
//! the same number as the inode's). This module finds the tree, reads what a folder's name says about the pod and
//! the container behind it, and follows the folders of this node's pods as they come and go.

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
