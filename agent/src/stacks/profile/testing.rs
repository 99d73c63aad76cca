//! Fixtures for tests of profiles.

use std::sync::Arc;

use traffictrace_profile::{Frame, FrameKind, Place};

use super::Owner;
use crate::stacks::{Extent, Stack};

/// A process with this id.
pub(crate) fn owner(pid: u32) -> Owner {
    Owner { cgroup: 7, pid, command: *b"nginx\0\0\0\0\0\0\0\0\0\0\0" }
}

/// A thread's name in 16 bytes.
pub(crate) fn thread(name: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    bytes
}

/// A complete stack of a program's functions, given from the outermost on.
pub(crate) fn stack(names: &[&str]) -> Arc<Stack> {
    let frame = |name: &&str| {
        Arc::new(Frame { name: (*name).to_owned(), module: "nginx".to_owned(), kind: FrameKind::User })
    };
    Arc::new(Stack { frames: names.iter().rev().map(frame).collect(), extent: Extent::Whole })
}

/// A missing stack.
pub(crate) fn missing(reason: &'static str) -> Arc<Stack> {
    Arc::new(Stack { frames: Vec::new(), extent: Extent::Missing(reason) })
}

/// Returns the pod and the container of the cgroup that every [`owner`] has. Panics for another cgroup.
pub(crate) fn place(cgroup: u64) -> Place {
    assert_eq!(cgroup, owner(1).cgroup);
    Place { pod: "default/shop".to_owned(), container: "web".to_owned() }
}
