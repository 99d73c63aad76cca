//! What tests of profiles share.

use std::sync::Arc;

use super::{About, Coverage, Graph, Known, Owner, Place, Process, Row, RowKey};
use crate::stacks::{Extent, Frame, FrameKind, Stack, Way};

/// A process with this id.
pub(crate) fn owner(pid: u32) -> Owner {
    Owner { cgroup: 7, pid, command: *b"nginx\0\0\0\0\0\0\0\0\0\0\0" }
}

/// The thread's name in 16 bytes.
pub(crate) fn thread(name: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    bytes
}

/// A whole stack of functions of a program, outermost first.
pub(crate) fn stack(names: &[&str]) -> Arc<Stack> {
    let frame = |name: &&str| {
        Arc::new(Frame { name: (*name).to_owned(), module: "nginx".to_owned(), kind: FrameKind::User })
    };
    Arc::new(Stack { frames: names.iter().rev().map(frame).collect(), extent: Extent::Whole })
}

/// No stack.
pub(crate) fn missing(reason: &'static str) -> Arc<Stack> {
    Arc::new(Stack { frames: Vec::new(), extent: Extent::Missing(reason) })
}

/// One container for all.
pub(crate) fn place(cgroup: u64) -> Place {
    assert_eq!(cgroup, owner(1).cgroup);
    Place { pod: "default/shop".to_owned(), container: "web".to_owned() }
}

/// A graph of one process with these whole stacks: way, functions, bytes, calls.
pub(crate) fn graph(stacks: &[(Way, &[&str], u64, u64)]) -> Graph {
    let process = Arc::new(Process {
        pod: "default/shop".to_owned(),
        container: "web".to_owned(),
        command: "nginx".to_owned(),
        pid: 1,
        ..Process::default()
    });
    let rows = stacks.iter().map(|(way, names, bytes, calls)| {
        let frames = stack(names).frames.iter().rev().map(Arc::clone).collect();
        let process = Arc::clone(&process);
        let key = RowKey { way: *way, process, thread: "worker".into(), frames, known: Known::Whole };
        Row { key, bytes: *bytes, calls: *calls }
    });
    let bytes = stacks.iter().map(|stack| stack.2).sum();
    let coverage = Coverage { stacks: 5, own: bytes, whole: bytes, ..Coverage::default() };
    let about =
        About { what: "cgroup /shop".into(), began: 1_700_000_000_000_000_000, lasted: 10_000_000_000 };
    Graph::new(about, rows, coverage).unwrap()
}
