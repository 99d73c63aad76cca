//! A headless browser. Scripts in its pages return their observations to the test.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;

use super::{Result, TestError, needs, process::Process};

/// Names that distributions and vendors give to Chromium, the only browser that prints a page's document.
const NAMES: [&str; 5] =
    ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome-headless-shell"];
/// Time limit of the browser.
const LIMIT: Duration = Duration::from_secs(120);

/// An installed browser.
#[derive(Debug)]
pub struct Browser {
    program: PathBuf,
}

/// A page that the browser has shown.
#[derive(Debug)]
pub struct Shown<T> {
    /// Observations of the page's script.
    pub seen: T,
    /// The browser's messages, which include those of the page's console.
    pub messages: String,
}

impl Browser {
    /// Finds a browser; if there is none, the calling test is [skipped](needs::skip).
    pub fn find() -> Option<Self> {
        let program = NAMES.iter().find_map(|name| needs::in_path(name));
        if program.is_none() {
            let names = NAMES.join(", ");
            needs::skip(format!(
                "no browser is installed ({names}); scripts/setup.sh installs what tests use"
            ));
        }
        program.map(|program| Self { program })
    }

    /// Opens a file. A script in the file must store its observations in the attribute `data-seen` of the root element,
    /// as JSON that `encodeURIComponent` has encoded.
    ///
    /// # Errors
    ///
    /// Fails when the browser does not start or end in time, or the script left nothing that is a `T`.
    pub fn open<T: DeserializeOwned>(&self, page: &Path) -> Result<Shown<T>> {
        let profile = tempfile::tempdir().map_err(TestError::io("make a folder for the browser"))?;
        let mut command = Command::new(&self.program);
        // The sandbox does not work for root. The browser prints the document when no timer is left to run.
        command
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"])
            .args(["--virtual-time-budget=10000", "--dump-dom"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(format!("file://{}", page.display()));
        let ended = Process::start(&mut command)?.wait(LIMIT)?;
        let document = ended.lines.join("\n");
        let wrong = |found: &dyn std::fmt::Display| TestError::unexpected("what the browser saw", found);
        let seen = document.split_once("data-seen=\"").and_then(|(_, rest)| rest.split_once('"'));
        let (seen, _) = seen.ok_or_else(|| wrong(&ended.stderr))?;
        let seen = percent_decode_str(seen).decode_utf8().map_err(|error| wrong(&error))?;
        let seen = serde_json::from_str(&seen).map_err(|error| wrong(&error))?;
        Ok(Shown { seen, messages: ended.stderr })
    }
}
