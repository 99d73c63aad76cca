//! The finished profile: rows that add up to the bytes and calls that the ledger counted.

use std::{cmp::Reverse, collections::HashMap, sync::Arc};

use clap::ValueEnum;

use super::{Coverage, Frame, Known, Way};

/// Maximum length of the description of a profile, in bytes. Merging profiles does not extend a longer one.
const MAX_WHAT: usize = 1000;
/// Separator of the parts of a description.
const AND: &str = ", ";

/// The number of a row that determines its width in a drawing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// Number of bytes moved.
    Bytes,
    /// Number of calls.
    Calls,
}

/// Names of a process's pod and container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// Namespace and name of the pod; empty outside of Kubernetes.
    pub pod: String,
    /// Name of the container, or of the cgroup; empty if not known.
    pub container: String,
}

/// A process in a profile.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Process {
    /// Id of the cgroup that owns the process's traffic; 0 once the cgroup has been named.
    pub cgroup: u64,
    /// Namespace and name of the pod; empty outside of Kubernetes.
    pub pod: String,
    /// Name of the container, or of the cgroup; empty if not known.
    pub container: String,
    /// Name of the process.
    pub command: String,
    /// Process id on the host.
    pub pid: u32,
}

impl Process {
    /// Returns `pod/container`, or the part of it that is known.
    pub fn place(&self) -> String {
        match (self.pod.is_empty(), self.container.is_empty()) {
            (true, _) => self.container.clone(),
            (false, true) => self.pod.clone(),
            (false, false) => format!("{}/{}", self.pod, self.container),
        }
    }

    /// Returns the name and the id: `nginx (1234)`.
    pub fn label(&self) -> String {
        format!("{} ({})", self.command, self.pid)
    }
}

/// The stack and the process of a row, by which rows are distinguished.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RowKey {
    /// Direction of the bytes.
    pub way: Way,
    /// The process that moved them.
    pub process: Arc<Process>,
    /// Name of the thread; empty if the row is not of a single thread.
    pub thread: Arc<str>,
    /// Functions from the outermost to the innermost.
    pub frames: Vec<Arc<Frame>>,
    /// State of the stack, such as complete or missing.
    pub known: Known,
}

impl RowKey {
    fn order(&self) -> (Way, &Process, &str, &Known, impl Iterator<Item = (&str, &str)>) {
        let frames = self.frames.iter().map(|frame| (frame.name.as_str(), frame.module.as_str()));
        (self.way, &self.process, &self.thread, &self.known, frames)
    }

    /// Orders rows by their owners, then by their frames from the root on.
    pub(super) fn compare(&self, other: &Self) -> std::cmp::Ordering {
        let (way, process, thread, known, frames) = self.order();
        let (other_way, other_process, other_thread, other_known, other_frames) = other.order();
        (way, process, thread, known)
            .cmp(&(other_way, other_process, other_thread, other_known))
            .then_with(|| frames.cmp(other_frames))
    }
}

/// A stack of one thread of one process, with its numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Stack and process.
    pub key: RowKey,
    /// Number of bytes moved.
    pub bytes: u64,
    /// Number of calls that moved them.
    pub calls: u64,
}

impl Row {
    /// Returns the number that determines the row's width.
    pub fn value(&self, by: By) -> u64 {
        match by {
            By::Bytes => self.bytes,
            By::Calls => self.calls,
        }
    }
}

/// Subject and time of a profile.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About {
    /// Description of the subject, for people.
    pub what: String,
    /// Start in nanoseconds since 1970; 0 if not known.
    pub began: i64,
    /// Duration in nanoseconds; 0 if not known.
    pub lasted: i64,
}

/// A finished profile. The sums of all bytes and of all calls are at most `i64::MAX`, the maximum of pprof.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Graph {
    /// Subject and time of a profile.
    pub about: About,
    /// Rows in descending order of bytes.
    rows: Vec<Row>,
    /// Parts of the bytes, by what is known of their calls and stacks.
    pub coverage: Coverage,
}

/// The sum of bytes or calls exceeds `i64::MAX`.
#[derive(Debug, thiserror::Error)]
#[error("the profile says that it has moved more than {} bytes or calls, which nothing does", i64::MAX)]
pub struct TooMuch;

impl Graph {
    /// Makes a graph. Equal rows are added up; rows without bytes and calls are left out.
    ///
    /// # Errors
    ///
    /// [`TooMuch`] if a sum is too large.
    pub fn new(
        about: About,
        rows: impl IntoIterator<Item = Row>,
        coverage: Coverage,
    ) -> Result<Self, TooMuch> {
        let mut sums: HashMap<RowKey, (u64, u64)> = HashMap::new();
        let (mut bytes, mut calls) = (0_i64, 0_i64);
        for row in rows {
            bytes = bytes.checked_add_unsigned(row.bytes).ok_or(TooMuch)?;
            calls = calls.checked_add_unsigned(row.calls).ok_or(TooMuch)?;
            if row.bytes > 0 || row.calls > 0 {
                let sum = sums.entry(row.key).or_default();
                *sum = (sum.0 + row.bytes, sum.1 + row.calls);
            }
        }
        let mut rows: Vec<Row> =
            sums.into_iter().map(|(key, (bytes, calls))| Row { key, bytes, calls }).collect();
        rows.sort_by(|one, two| {
            (Reverse(one.bytes), Reverse(one.calls))
                .cmp(&(Reverse(two.bytes), Reverse(two.calls)))
                .then_with(|| one.key.compare(&two.key))
        });
        Ok(Self { about, rows, coverage })
    }

    /// Names the processes that are known only by their cgroup; `place` returns the names of a cgroup.
    pub fn name(&mut self, place: &dyn Fn(u64) -> Place) {
        let mut named: HashMap<Arc<Process>, Arc<Process>> = HashMap::new();
        for row in &mut self.rows {
            if row.key.process.cgroup == 0 {
                continue;
            }
            let name = named.entry(Arc::clone(&row.key.process)).or_insert_with_key(|process| {
                let Place { pod, container } = place(process.cgroup);
                Arc::new(Process { cgroup: 0, pod, container, ..Process::clone(process) })
            });
            row.key.process = Arc::clone(name);
        }
        // Two cgroups may get the same name, so equal rows are added up. The sums do not change, so they are not too
        // large.
        let rows = std::mem::take(&mut self.rows);
        if let Ok(graph) = Self::new(self.about.clone(), rows, self.coverage.clone()) {
            *self = graph;
        }
    }

    /// Rows in descending order of bytes.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Sum over the rows of one direction.
    pub fn total(&self, way: Way, by: By) -> u64 {
        self.rows.iter().filter(|row| row.key.way == way).map(|row| row.value(by)).sum()
    }

    /// Merges several profiles: equal rows are added up, and the time lasts from the earliest start to the latest
    /// end.
    ///
    /// # Errors
    ///
    /// [`TooMuch`] if a sum is too large.
    pub fn sum(graphs: impl IntoIterator<Item = Self>) -> Result<Self, TooMuch> {
        let (mut about, mut coverage, mut rows) = (About::default(), Coverage::default(), Vec::new());
        for graph in graphs {
            about = merged(&about, &graph.about);
            coverage.add(&graph.coverage);
            rows.extend(graph.rows);
        }
        Self::new(about, rows, coverage)
    }

    /// Returns the graph with its largest `stacks` rows. The other rows are folded into one for each process and direction;
    /// the largest `processes` of those are kept, and the rest is folded by direction. The sums do not change.
    pub(super) fn folded_to(&self, stacks: usize, processes: usize) -> Self {
        let (large, small) = self.rows.split_at(stacks.min(self.rows.len()));
        let nobody: Arc<Process> = Arc::default();
        let mut sums: HashMap<(Way, &Process), (u64, u64)> = HashMap::new();
        for row in small {
            let sum = sums.entry((row.key.way, &row.key.process)).or_default();
            *sum = (sum.0 + row.bytes, sum.1 + row.calls);
        }
        let mut sums: Vec<_> = sums.into_iter().collect();
        sums.sort_by(|(one, sum_one), (two, sum_two)| sum_two.cmp(sum_one).then_with(|| one.cmp(two)));
        let folded = sums.into_iter().enumerate().map(|(rank, ((way, process), (bytes, calls)))| {
            let (process, known) = if rank < processes {
                (Arc::new(process.clone()), Known::Folded)
            } else {
                (Arc::clone(&nobody), Known::FoldedProcesses)
            };
            let key = RowKey { way, process, thread: "".into(), frames: Vec::new(), known };
            Row { key, bytes, calls }
        });
        // The sum is that of this graph, so it is not too large.
        Self::new(self.about.clone(), large.iter().cloned().chain(folded), self.coverage.clone())
            .unwrap_or_else(|TooMuch| self.clone())
    }
}

/// Returns true if `what` is one of the parts of `text`.
fn is_named(text: &str, what: &str) -> bool {
    text.match_indices(what).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + what.len()..]);
        (before.is_empty() || before.ends_with(AND)) && (after.is_empty() || after.starts_with(AND))
    })
}

fn merged(one: &About, two: &About) -> About {
    let what = match (one.what.as_str(), two.what.as_str()) {
        ("", what) | (what, "") => what.to_owned(),
        // A description with very many parts would be useless.
        (first, second) if is_named(first, second) || first.len() > MAX_WHAT => first.to_owned(),
        (first, second) => format!("{first}{AND}{second}"),
    };
    let (one, two) = match (one.began, two.began) {
        (_, 0) => (one, one),
        (0, _) => (two, two),
        _ => (one, two),
    };
    let began = one.began.min(two.began);
    let end = |about: &About| about.began.saturating_add(about.lasted);
    About { what, began, lasted: end(one).max(end(two)).saturating_sub(began) }
}

#[cfg(test)]
mod tests;
