//! The finished profile: rows that add up to what the ledger has counted.

use std::{cmp::Reverse, collections::HashMap, sync::Arc};

use clap::ValueEnum;

use super::{Coverage, Frame, Known, Way};

/// Length in bytes beyond which the text that says what was profiled does not grow when profiles are merged.
const MAX_WHAT: usize = 1000;
/// Separator of the parts of that text.
const AND: &str = ", ";

/// The one of its two numbers by which a row is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// Bytes that were moved.
    Bytes,
    /// Calls that moved them.
    Calls,
}

/// Place of a process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// Namespace and name of the pod; empty outside of Kubernetes.
    pub pod: String,
    /// Name of the container, or of the cgroup; empty if not known.
    pub container: String,
}

/// A process of a profile.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Process {
    /// Id of the cgroup that its traffic is booked to; 0 once that is named.
    pub cgroup: u64,
    /// Namespace and name of its pod; empty outside of Kubernetes.
    pub pod: String,
    /// Name of its container, or of its cgroup; empty if not known.
    pub container: String,
    /// Its name.
    pub command: String,
    /// Its id on the host.
    pub pid: u32,
}

impl Process {
    /// Its place: `pod/container`, or what is known of that.
    pub fn place(&self) -> String {
        match (self.pod.is_empty(), self.container.is_empty()) {
            (true, _) => self.container.clone(),
            (false, true) => self.pod.clone(),
            (false, false) => format!("{}/{}", self.pod, self.container),
        }
    }

    /// Its name and id: `nginx (1234)`.
    pub fn label(&self) -> String {
        format!("{} ({})", self.command, self.pid)
    }
}

/// The stack and the process of a row.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RowKey {
    /// Direction of the bytes.
    pub way: Way,
    /// The process that moved them.
    pub process: Arc<Process>,
    /// Name of the thread; empty if the row is of no single one.
    pub thread: Arc<str>,
    /// Functions, outermost first.
    pub frames: Vec<Arc<Frame>>,
    /// The part of the functions that is known.
    pub known: Known,
}

impl RowKey {
    fn order(&self) -> (Way, &Process, &str, &Known, impl Iterator<Item = (&str, &str)>) {
        let frames = self.frames.iter().map(|frame| (frame.name.as_str(), frame.module.as_str()));
        (self.way, &self.process, &self.thread, &self.known, frames)
    }

    /// An order of all rows, by whose they are and then from the root on.
    pub(super) fn compare(&self, other: &Self) -> std::cmp::Ordering {
        let (way, process, thread, known, frames) = self.order();
        let (other_way, other_process, other_thread, other_known, other_frames) = other.order();
        (way, process, thread, known)
            .cmp(&(other_way, other_process, other_thread, other_known))
            .then_with(|| frames.cmp(other_frames))
    }
}

/// A stack of one thread of one process, and what it moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its stack and process.
    pub key: RowKey,
    /// Bytes.
    pub bytes: u64,
    /// Calls that moved them.
    pub calls: u64,
}

impl Row {
    /// The number that it is drawn by.
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
    /// The subject, for people.
    pub what: String,
    /// When it began, in nanoseconds since 1970; 0 if not known.
    pub began: i64,
    /// Duration in nanoseconds; 0 if not known.
    pub lasted: i64,
}

/// A finished profile. All bytes together, and all calls, are at most `i64::MAX`, which is what pprof can say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Graph {
    /// Subject and time of a profile.
    pub about: About,
    /// Stacks, those with the most bytes first.
    rows: Vec<Row>,
    /// Shares of the bytes by how their stacks were found.
    pub coverage: Coverage,
}

/// Profiles together have moved more than can be counted.
#[derive(Debug, thiserror::Error)]
#[error("the profile says that it has moved more than {} bytes or calls, which nothing does", i64::MAX)]
pub struct TooMuch;

impl Graph {
    /// Adds up equal rows, and leaves out those that moved nothing.
    ///
    /// # Errors
    ///
    /// When the sum is too large.
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

    /// Names the cgroups of processes that have no name yet: `place` says where they are.
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
        // Two cgroups may have one name. The sums are those of before, which were not too large.
        let rows = std::mem::take(&mut self.rows);
        if let Ok(graph) = Self::new(self.about.clone(), rows, self.coverage.clone()) {
            *self = graph;
        }
    }

    /// Stacks, those with the most bytes first.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Sum of one way.
    pub fn total(&self, way: Way, by: By) -> u64 {
        self.rows.iter().filter(|row| row.key.way == way).map(|row| row.value(by)).sum()
    }

    /// Several profiles as one: equal rows become one, and the time is that from the first beginning to the last end.
    ///
    /// # Errors
    ///
    /// When the sum is too large.
    pub fn sum(graphs: impl IntoIterator<Item = Self>) -> Result<Self, TooMuch> {
        let (mut about, mut coverage, mut rows) = (About::default(), Coverage::default(), Vec::new());
        for graph in graphs {
            about = merged(&about, &graph.about);
            coverage.add(&graph.coverage);
            rows.extend(graph.rows);
        }
        Self::new(about, rows, coverage)
    }

    /// The same with the largest `stacks` rows; the others are folded into one row for each process and way, and of these the
    /// largest `processes` are kept, the others folded by way. The sums stay.
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
        // The sum is that of this graph, which was not too large.
        Self::new(self.about.clone(), large.iter().cloned().chain(folded), self.coverage.clone())
            .unwrap_or_else(|TooMuch| self.clone())
    }
}

/// Says that a text of several parts has this one.
fn is_named(text: &str, what: &str) -> bool {
    text.match_indices(what).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + what.len()..]);
        (before.is_empty() || before.ends_with(AND)) && (after.is_empty() || after.starts_with(AND))
    })
}

fn merged(one: &About, two: &About) -> About {
    let what = match (one.what.as_str(), two.what.as_str()) {
        ("", what) | (what, "") => what.to_owned(),
        // Very many are no help.
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
