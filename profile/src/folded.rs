//! Folded text: one line for each row, with its frames from the root on, separated by `;`, and its number.

use std::io::{self, Write};

use super::{By, Graph, Row, Way, names};

/// Returns the name of a stack's first frame, which is the direction of its bytes.
pub(super) fn way(way: Way) -> &'static str {
    match way {
        Way::Sent => "sent",
        Way::Received => "received",
    }
}

/// Returns the frames that identify the owner of a row, as far as it is known: direction, place, process, thread.
pub(super) fn root_frames(row: &Row) -> impl Iterator<Item = String> + use<> {
    let process = &row.key.process;
    let (place, thread) = (process.place(), row.key.thread.to_string());
    let process = (process.pid != 0 || !process.command.is_empty()).then(|| process.label());
    [Some(way(row.key.way).to_owned()), Some(place), process, Some(thread)]
        .into_iter()
        .flatten()
        .filter(|name| !name.is_empty())
}

impl Graph {
    /// Writes folded text in the format of `flamegraph.pl`, inferno and speedscope.
    ///
    /// # Errors
    ///
    /// Errors of `out`.
    pub fn folded(&self, by: By, out: &mut impl Write) -> io::Result<()> {
        let mut lines: Vec<(String, u64)> = self
            .rows()
            .iter()
            .map(|row| (line(row), row.value(by)))
            .filter(|(_, value)| *value > 0)
            .collect();
        lines.sort();
        lines.iter().try_for_each(|(line, value)| writeln!(out, "{line} {value}"))
    }
}

fn line(row: &Row) -> String {
    let mut line = String::new();
    let mut push = |name: &str| {
        if !line.is_empty() {
            line.push(';');
        }
        line.push_str(&names::frame(name));
    };
    root_frames(row).for_each(|name| push(&name));
    if let Some(name) = row.key.known.frame() {
        push(&name);
    }
    row.key.frames.iter().for_each(|frame| push(&frame.name));
    // Readers take two numbers at the end of a line for a pair, so the last name must not end with a number.
    if let Some((name, number)) = line.rsplit_once(' ')
        && number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
    {
        line = format!("{name}_{number}");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::graph;

    fn text(graph: &Graph, by: By) -> String {
        let mut out = Vec::new();
        graph.folded(by, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_line_says_whose_and_what() {
        let graph =
            graph(&[(Way::Sent, &["main", "write"], 12345, 3), (Way::Received, &["main", "read"], 7, 0)]);
        let root = "default/shop/web;nginx (1);worker";
        assert_eq!(
            text(&graph, By::Bytes),
            format!("received;{root};main;read 7\nsent;{root};main;write 12345\n")
        );
        assert_eq!(text(&graph, By::Calls), format!("sent;{root};main;write 3\n"));
    }

    #[test]
    fn hostile_names_stay_in_their_line_and_frame() {
        let graph = graph(&[(Way::Sent, &["a;b\nc", "call 99"], 5, 1)]);
        let text = text(&graph, By::Bytes);
        assert!(text.ends_with(";a:b?c;call_99 5\n"), "{text}");
        assert_eq!(text.lines().count(), 1);
    }
}
