//! Reading of recordings from files or standard input.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
};

use traffictrace_view::{ReplayError, Snapshot, replay};

use super::HostError;

/// The snapshots of a recording, in order.
pub(crate) struct Recording {
    path: PathBuf,
    snapshots: Box<dyn Iterator<Item = Result<Snapshot, ReplayError>> + Send>,
    read: u64,
    is_over: bool,
}

impl Recording {
    /// Opens a recording; `-` is standard input.
    ///
    /// # Errors
    ///
    /// [`HostError::Recording`] if the file does not exist or cannot be read.
    pub(crate) fn open(path: &Path) -> Result<Self, HostError> {
        let failed = |source| HostError::Recording { action: "open", path: path.to_owned(), source };
        let text: Box<dyn BufRead + Send> = if path == Path::new("-") {
            Box::new(BufReader::new(io::stdin()))
        } else {
            let file = File::open(path).map_err(failed)?;
            if file.metadata().map_err(failed)?.is_dir() {
                return Err(failed(io::ErrorKind::IsADirectory.into()));
            }
            Box::new(BufReader::new(file))
        };
        Ok(Self { path: path.to_owned(), snapshots: Box::new(replay::read(text)), read: 0, is_over: false })
    }
}

impl Iterator for Recording {
    type Item = Result<Snapshot, HostError>;

    /// Returns the next snapshot. An incomplete last line, as after a full disk, only prints a warning on standard error if
    /// there are snapshots before it. Any other error ends the recording.
    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let error = match self.snapshots.next() {
            Some(Ok(snapshot)) => {
                self.read += 1;
                return Some(Ok(snapshot));
            }
            Some(Err(error)) => error,
            None if self.read == 0 => {
                self.is_over = true;
                return Some(Err(HostError::EmptyRecording(self.path.clone())));
            }
            None => return None,
        };
        self.is_over = true;
        let is_cut = matches!(&error, ReplayError::Malformed { source, .. } if source.is_eof());
        if is_cut && self.read > 0 && self.snapshots.next().is_none() {
            eprintln!(
                "{}: {error}. The recording was cut off there; what is before is shown.",
                self.path.display()
            );
            return None;
        }
        Some(Err(HostError::Replay { path: self.path.clone(), source: error }))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn read(text: &str) -> (usize, Option<String>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        fs::write(&path, text).unwrap();
        let read: Vec<_> = Recording::open(&path).unwrap().collect();
        let error = read.iter().find_map(|read| read.as_ref().err().map(ToString::to_string));
        (read.iter().filter(|read| read.is_ok()).count(), error)
    }

    #[test]
    fn a_recording_that_was_cut_is_read_up_to_there_and_a_foreign_file_is_refused() {
        let line = r#"{"totals":{},"flows":[]}"#;
        assert_eq!(read(&format!("{line}\n{line}\n")), (2, None));
        assert_eq!(read(&format!("{line}\n{line}\n{}", &line[..9])), (2, None));
        let (shown, error) = read(&format!("{line}\n{}\n{line}\n", &line[..9]));
        let error = error.unwrap();
        assert!(shown == 1 && error.contains("a.jsonl") && error.contains("line 2"), "{error}");
        for (text, part) in [
            ("", "no snapshot in it"),
            ("\n\n", "no snapshot in it"),
            (&line[..9], "line 1"),
            ("#!/bin/sh\nexit\n", "line 1"),
            ("{\"items\": []}\n", "missing field `totals`"),
        ] {
            let (shown, error) = read(text);
            let error = error.unwrap();
            assert!(shown == 0 && error.contains(part), "{error}");
        }
        assert!(Recording::open(Path::new("/no/such/file")).is_err());
        assert!(Recording::open(Path::new("/tmp")).is_err());
    }
}
