//! The report: one self-contained HTML file, to be sent to a colleague.
//!
//! The page opens offline, prints, and is readable without JavaScript, which only sorts and filters the tables. A content
//! security policy blocks all loading and all scripts except the page's own and the flame graph's, which runs in a sandboxed
//! frame. Traced names are escaped. Tables have as many rows as fit, and a last row with the sums of all others.

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

/// Maximum size of a report, in bytes.
pub const MAX_SIZE: usize = 1 << 20;
/// Maximum number of rows in each table: the first value with which the page is small enough is used.
const ROWS: [usize; 7] = [400, 200, 100, 50, 20, 5, 0];

/// The contents of a report.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The heading, such as `Who floods the uplink of shop?`.
    pub title: String,
    /// The request: names and values in their order, such as `Selector` and `app=web`.
    pub asked: Vec<(String, String)>,
    /// Command that starts the same trace again.
    pub command: Option<String>,
    /// Time at which the trace began.
    pub began: Option<Timestamp>,
    /// Time at which the trace ended. Absent if it was still running when the last numbers were read.
    pub ended: Option<Timestamp>,
    /// The totals over time.
    pub series: Series,
    /// The last numbers. The report shows its nodes.
    pub snapshot: Snapshot,
    /// The flame graph, as the text of an SVG file.
    pub flame_graph: Option<String>,
}

/// An error in writing a report.
#[derive(Debug, Error)]
pub enum ReportError {
    /// The template failed.
    #[error("cannot write the report: {0}")]
    Template(#[from] askama::Error),
    /// The page is larger than [`MAX_SIZE`] even without rows in its tables; the value is its size in bytes.
    #[error("cannot write the report: it has {0} bytes without any row, more than {MAX_SIZE}")]
    TooLarge(usize),
}

impl Report {
    /// Makes the report of a recording from its snapshots, in their order; the last one has the numbers. `None` if there are no
    /// snapshots.
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

/// Returns the page of a report, of at most [`MAX_SIZE`] bytes. If the flame graph does not fit, the page says that it was
/// left out.
///
/// # Errors
///
/// [`ReportError`], which occurs only if fixed parts are extraordinarily large.
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
