//! Graphs for tests.

use std::sync::Arc;

use crate::{About, Coverage, Frame, FrameKind, Graph, Known, Process, Row, RowKey, Way};

/// Makes a graph of one process with complete stacks: direction, functions from the outermost on, bytes, calls.
///
/// # Panics
///
/// If the sum of bytes or calls is too large for a graph.
pub fn graph(stacks: &[(Way, &[&str], u64, u64)]) -> Graph {
    let process = Arc::new(Process {
        pod: "default/shop".to_owned(),
        container: "web".to_owned(),
        command: "nginx".to_owned(),
        pid: 1,
        ..Process::default()
    });
    let frame = |name: &&str| {
        Arc::new(Frame { name: (*name).to_owned(), module: "nginx".to_owned(), kind: FrameKind::User })
    };
    let rows = stacks.iter().map(|(way, names, bytes, calls)| {
        let process = Arc::clone(&process);
        let frames = names.iter().map(frame).collect();
        let key = RowKey { way: *way, process, thread: "worker".into(), frames, known: Known::Whole };
        Row { key, bytes: *bytes, calls: *calls }
    });
    let bytes = stacks.iter().map(|stack| stack.2).sum();
    let coverage = Coverage { stacks: 5, own: bytes, whole: bytes, ..Coverage::default() };
    let about =
        About { what: "cgroup /shop".into(), began: 1_700_000_000_000_000_000, lasted: 10_000_000_000 };
    Graph::new(about, rows, coverage).expect("bytes and calls that add up")
}
