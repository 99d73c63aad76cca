//! The report: one HTML file that is complete in itself, to send to a colleague.
//!
//! The page opens offline, prints, and is readable without JavaScript, which only sorts and filters the tables. A content
//! security policy lets nothing be loaded, and no script run but the page's own and the flame graph's, which has a sandboxed
//! frame of its own. Traced names are escaped. Tables have as many rows as fit; the sums of all others are told.

mod bars;
mod flame;
mod format;
mod page;
mod sankey;
mod series;
mod tables;
mod timeline;

use askama::Template as _;
use jiff::Timestamp;
use thiserror::Error;

pub use self::{
    flame::MAX_PICTURE,
    series::{Moment, Series},
};
use crate::Snapshot;

/// Size that no report exceeds, in bytes.
pub const MAX_SIZE: usize = 1 << 20;
/// Maximum numbers of rows in each table: the first with which the page is small enough.
const ROWS: [usize; 7] = [400, 200, 100, 50, 20, 5, 0];

/// The contents of a report.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The heading, such as `Who floods the uplink of shop?`.
    pub title: String,
    /// What was asked: names and values, such as `Selector` and `app=web`, in their order.
    pub asked: Vec<(String, String)>,
    /// The command that traces the same again.
    pub command: Option<String>,
    /// Time at which the trace began.
    pub began: Option<Timestamp>,
    /// Time at which it ended. Absent: it had not ended when the last numbers were read.
    pub ended: Option<Timestamp>,
    /// The totals over time.
    pub series: Series,
    /// The last numbers. Its nodes are those of the report.
    pub snapshot: Snapshot,
    /// The flame graph, as the text of an SVG file.
    pub flame_graph: Option<String>,
}

/// A report that cannot be written.
#[derive(Debug, Error)]
pub enum ReportError {
    /// The template failed.
    #[error("cannot write the report: {0}")]
    Template(#[from] askama::Error),
    /// Even without tables the page is larger than [`MAX_SIZE`].
    #[error("cannot write the report: it has {0} bytes without any row, more than {MAX_SIZE}")]
    TooLarge(usize),
}

impl Report {
    /// The report of a recording: its snapshots in their order, of which the last has the numbers. Nothing without any snapshot.
    #[must_use]
    pub fn of(title: &str, snapshots: impl IntoIterator<Item = Snapshot>) -> Option<Self> {
        let mut series = Series::default();
        let mut last = None;
        for snapshot in snapshots {
            series.add(Moment::from(&snapshot));
            last = Some(snapshot);
        }
        let snapshot = last?;
        let began = series.moments().first().map(|first| first.time);
        let is_over = matches!(snapshot.state, crate::snapshot::State::Completed);
        let ended = is_over.then(|| snapshot.end_time.unwrap_or(snapshot.time));
        Some(Self { title: title.to_owned(), began, ended, series, snapshot, ..Self::default() })
    }
}

/// The page of a report, of at most [`MAX_SIZE`] bytes. A flame graph for which that has no room is left out, which the page
/// says.
///
/// # Errors
///
/// [`ReportError`], which only fixed parts of extraordinary size can cause.
pub fn html(report: &Report) -> Result<String, ReportError> {
    let mut page = page::Page::new(report);
    let mut size = 0;
    for rows in ROWS {
        page.set_tables(report, rows);
        let text = page.render()?;
        if text.len() <= MAX_SIZE {
            return Ok(text);
        }
        size = text.len();
    }
    Err(ReportError::TooLarge(size))
}

#[cfg(test)]
mod tests;
