//! Printing of the report, for people and for programs.

use std::io::{self, Write as _};

use super::{
    cli::Output,
    verdict::{Report, Verdict},
};
use crate::support::{Result, TestError};

/// Prints a report.
pub(super) fn print(report: &Report, output: Output) -> Result<()> {
    match output {
        Output::Table => table(report),
        Output::Json => json(report),
    }
}

/// Prints a line for each case with its notes below, and a summary.
fn table(report: &Report) -> Result<()> {
    let width = report.cases.iter().map(|line| line.case.len()).max().unwrap_or_default();
    let mut text = String::new();
    for line in &report.cases {
        let verdict = match line.verdict {
            Verdict::Ok => "ok",
            Verdict::Fail => "FAIL",
            Verdict::Unseen => "unseen",
            Verdict::Skipped => "SKIPPED:",
        };
        let difference = i128::from(line.shown_bytes) - i128::from(line.expected_bytes);
        text += &format!(
            "{verdict:<8} {:<width$} {:>10} {:>10} {difference:>8}\n",
            line.case, line.expected_bytes, line.shown_bytes
        );
        line.notes.iter().for_each(|note| text += &format!("         {note}\n"));
    }
    report.problems.iter().for_each(|problem| text += &format!("FAIL     {problem}\n"));
    let Report { ok, unseen, skipped, failed, seed, .. } = report;
    text += &format!("{ok} ok, {unseen} unseen, {skipped} skipped, {failed} failed; seed {seed}\n");
    write(&text)
}

/// Prints the report as one JSON document.
fn json(report: &Report) -> Result<()> {
    let text = serde_json::to_string(report).map_err(|error| TestError::unexpected("the report", error))?;
    write(&format!("{text}\n"))
}

fn write(text: &str) -> Result<()> {
    io::stdout().lock().write_all(text.as_bytes()).map_err(TestError::io("print the report"))
}
