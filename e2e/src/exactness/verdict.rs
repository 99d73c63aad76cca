//! The comparison of the output of `top` with the counts of the processes. It only computes, so its tests need no
//! kernel.

mod compare;

use serde::Serialize;

use self::compare::{Compared, Rows};
use super::{
    cases::{EXCUSED, Excuse, SKIPPED_EVENTS},
    tally::{Detail, ProcessCount},
};
use crate::support::top::{self, Document};

/// The result of a case, before the comparison.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub(super) case: String,
    pub(super) counts: Vec<ProcessCount>,
    pub(super) failure: Option<String>,
    pub(super) unsupported: Option<String>,
    /// Differences that were found while the sockets of the case were open.
    pub(super) differences: Vec<String>,
    /// Standard error of the case, for the report.
    pub(super) told: String,
}

/// The verdict on a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Verdict {
    /// No difference.
    Ok,
    /// There is a difference, or the case did not finish.
    Fail,
    /// There is a difference that a declared limit of the product explains.
    Unseen,
    /// This kernel cannot run the case.
    Skipped,
}

impl Verdict {
    pub(super) fn is_failure(self) -> bool {
        self == Self::Fail
    }
}

/// One line of the report.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Line {
    pub(super) verdict: Verdict,
    pub(super) case: String,
    /// Number of bytes that the processes counted, both directions together.
    pub(super) expected_bytes: u64,
    /// Number of bytes that the product shows for these processes.
    pub(super) shown_bytes: u64,
    /// The differences, or the reason why the case did not finish.
    pub(super) notes: Vec<String>,
}

/// The report of a whole run.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    /// Seed from which the amounts were computed.
    pub(super) seed: u64,
    pub(super) cases: Vec<Line>,
    /// Failures of the run as a whole: rows of processes that belong to no case, and losses that the product reports.
    pub(super) problems: Vec<String>,
    pub(super) ok: usize,
    pub(super) unseen: usize,
    pub(super) skipped: usize,
    pub(super) failed: usize,
}

impl Report {
    /// Adds a problem if flows are left in the kernel's table although all sockets are closed.
    pub(super) fn slots_left(&mut self, left: u64, open: &[top::Flow]) {
        const LISTED: usize = 5;
        if left == 0 {
            return;
        }
        let open: Vec<_> = open.iter().take(LISTED).map(|flow| format!("{flow:?}")).collect();
        let what = format!(
            "{left} slots of the flow table are in use half a minute after the last socket has gone, such as {}",
            open.join(", ")
        );
        self.problems.push(what);
        self.failed += 1;
    }

    /// Adds the report of cases that ran against another `top`.
    pub(super) fn add(&mut self, other: Self) {
        self.cases.extend(other.cases);
        self.problems.extend(other.problems);
        self.ok += other.ok;
        self.unseen += other.unseen;
        self.skipped += other.skipped;
        self.failed += other.failed;
    }
}

/// Key in the product's `lost` for the number of events that the kernel may have skipped.
const MISSED_EVENTS: &str = "missedEvents";

/// Compares the outcomes with the last document that `top` printed.
pub(super) fn report(outcomes: Vec<Outcome>, document: &Document, detail: Detail) -> Report {
    let mut rows = Rows::of(document, detail);
    let mut problems = std::mem::take(&mut rows.strange);
    for (reason, count) in document.lost.iter().filter(|(_, count)| **count > 0) {
        problems.push(format!("lost {reason}: {count}"));
    }
    // Each case first claims (removes from `rows`) the rows that match its own flows. Only then does it claim other
    // rows with its process ids, because the kernel may have given an id of one case to a process of another.
    let mut compared: Vec<_> = outcomes.iter().map(|outcome| rows.claim(&outcome.counts)).collect();
    for (compared, outcome) in compared.iter_mut().zip(&outcomes) {
        rows.claim_rest(&outcome.counts, compared);
    }
    problems.extend(rows.unclaimed());
    let cases: Vec<_> = compared
        .into_iter()
        .zip(&outcomes)
        .map(|(compared, outcome)| judge(compared, outcome, document))
        .collect();
    let count = |verdict| cases.iter().filter(|line| line.verdict == verdict).count();
    let (ok, unseen, skipped) = (count(Verdict::Ok), count(Verdict::Unseen), count(Verdict::Skipped));
    let failed = count(Verdict::Fail) + problems.len();
    Report { seed: 0, cases, problems, ok, unseen, skipped, failed }
}

/// Compares the counts so far of a running case with a document of that time. Returns the differences, or none if a
/// declared limit of the product excuses them.
pub(super) fn difference_now(case: &str, counts: &[ProcessCount], document: &Document) -> Vec<String> {
    // Where the kernel can skip calls, the product counts their bytes later, so nothing can be compared now.
    if document.not_seen.iter().any(|name| name == "SkippedCalls") {
        return Vec::new();
    }
    let mut rows = Rows::of(document, Detail::Flows);
    let mut compared = rows.claim(counts);
    rows.claim_rest(counts, &mut compared);
    match excuse(case, &compared, document) {
        Some(_) => Vec::new(),
        None => compared.notes,
    }
}

/// Returns the product's limit that excuses the differences of a case, if there is one.
fn excuse(case: &str, compared: &Compared, document: &Document) -> Option<&'static str> {
    let excused = EXCUSED.iter().find(|excused| {
        case.starts_with(excused.cases)
            && document.not_seen.iter().any(|name| name == excused.limit)
            && (excused.limit != SKIPPED_EVENTS
                || document.lost.get(MISSED_EVENTS).is_some_and(|count| *count > 0))
            && (excused.what == Excuse::Bytes || compared.differs_by_process_alone())
    });
    excused.map(|excused| excused.limit)
}

fn judge(compared: Compared, outcome: &Outcome, document: &Document) -> Line {
    let excuse = excuse(&outcome.case, &compared, document);
    let Compared { expected_bytes, shown_bytes, mut notes, .. } = compared;
    let exact = notes.is_empty();
    notes.extend_from_slice(&outcome.differences);
    let verdict = match (&outcome.failure, &outcome.unsupported, excuse) {
        (Some(failure), ..) => {
            notes.insert(0, failure.clone());
            Verdict::Fail
        }
        // A case may move bytes before it finds that the kernel lacks a feature. The product must show these bytes,
        // too, so such a case is skipped only if nothing differs.
        (None, Some(why), _) if notes.is_empty() => {
            notes.push(why.clone());
            Verdict::Skipped
        }
        _ if notes.is_empty() => Verdict::Ok,
        (.., Some(limit)) if !exact && outcome.differences.is_empty() => {
            notes.insert(0, format!("the product says that it does not see this here: {limit}"));
            Verdict::Unseen
        }
        _ => Verdict::Fail,
    };
    notes.extend(outcome.told.lines().map(str::to_owned));
    Line { verdict, case: outcome.case.clone(), expected_bytes, shown_bytes, notes }
}

#[cfg(test)]
mod tests;
