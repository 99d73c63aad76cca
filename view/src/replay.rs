//! Reading of recordings, which are files of JSON lines.

use std::io::BufRead;

use serde::{Deserialize, de::IgnoredAny};

use crate::{ReplayError, Snapshot};

/// Maximum length of a line, in bytes: enough for a snapshot of some 400,000 flows.
const MAX_LINE: usize = 256 << 20;

/// Returns the snapshots of a recording, in order. Empty lines are skipped. A line that is not a snapshot yields an error,
/// and the lines after it can still be read; any other error ends the recording.
pub fn read(recording: impl BufRead) -> impl Iterator<Item = Result<Snapshot, ReplayError>> {
    Lines { recording, number: 0, limit: MAX_LINE, is_over: false }
}

struct Lines<R> {
    recording: R,
    /// Number of the last line that was read, from 1.
    number: u64,
    limit: usize,
    is_over: bool,
}

/// The fields that every snapshot has. All others may be absent, so without this check any JSON object would look
/// like an empty snapshot.
#[derive(Deserialize)]
struct Required {
    #[serde(rename = "totals")]
    _totals: IgnoredAny,
    #[serde(rename = "flows")]
    _flows: IgnoredAny,
}

impl<R: BufRead> Lines<R> {
    /// Returns the next line that is not empty.
    fn line(&mut self) -> Result<Option<Vec<u8>>, ReplayError> {
        loop {
            self.number += 1;
            let line = self.number;
            let mut text = Vec::new();
            loop {
                let read = self.recording.fill_buf();
                let part = match read {
                    Err(source) if source.kind() == std::io::ErrorKind::Interrupted => continue,
                    other => other.map_err(|source| ReplayError::Read { line, source })?,
                };
                let end = line_end(part);
                let taken = end.map_or(part.len(), |end| end + 1);
                let is_last = part.is_empty() || end.is_some();
                text.extend_from_slice(&part[..taken]);
                self.recording.consume(taken);
                if text.len() > self.limit {
                    return Err(ReplayError::TooLong { line, limit: self.limit });
                }
                if is_last {
                    self.is_over = taken == 0;
                    break;
                }
            }
            if !text.trim_ascii().is_empty() {
                return Ok(Some(text));
            }
            if self.is_over {
                return Ok(None);
            }
        }
    }
}

/// Returns the index of the first line feed.
fn line_end(part: &[u8]) -> Option<usize> {
    part.iter().position(|byte| *byte == b'\n')
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = Result<Snapshot, ReplayError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        match self.line() {
            Ok(Some(text)) => {
                let required = serde_json::from_slice::<Required>(&text);
                let snapshot = required.and_then(|_| serde_json::from_slice(&text));
                Some(snapshot.map_err(|source| ReplayError::Malformed { line: self.number, source }))
            }
            Ok(None) => None,
            Err(error) => {
                self.is_over = true;
                Some(Err(error))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, BufReader, Read};

    use proptest::prelude::*;

    use super::*;
    use crate::{json, testing::snapshot};

    fn told(recording: &[u8]) -> Vec<Result<Snapshot, String>> {
        read(recording).map(|read| read.map_err(|error| error.to_string())).collect()
    }

    #[test]
    fn what_was_written_is_read_also_without_the_last_line_feed() {
        let first = snapshot();
        let second = Snapshot { flows_total: 99, ..snapshot() };
        let file = format!("{}\n\r\n{}", json::line(&first).unwrap(), json::line(&second).unwrap());
        for file in [file.as_str(), file.trim_end()] {
            assert_eq!(told(file.as_bytes()), [Ok(first.clone()), Ok(second.clone())]);
        }
        assert_eq!(told(b""), []);
        assert_eq!(told(b"\n \n"), []);
    }

    #[test]
    fn a_line_that_is_no_snapshot_is_named_and_the_next_are_read() {
        let line = json::line(&snapshot()).unwrap();
        let file =
            [line.as_bytes(), b"{\"a\": 1}\n\n\xff\n", line.as_bytes(), &line.as_bytes()[..100]].concat();
        let told = told(&file);
        let errors: Vec<_> = told.iter().filter_map(|read| read.as_ref().err()).collect();
        assert_eq!((told.len(), errors.len()), (5, 3));
        for (error, begin) in errors.iter().zip(["line 2 ", "line 4 ", "line 6 "]) {
            assert!(error.starts_with(begin) && error.contains("no snapshot"), "{error}");
        }
        assert!(errors[0].contains("missing field `totals`"), "{}", errors[0]);
    }

    #[test]
    fn a_line_without_an_end_is_given_up() {
        let recording = BufReader::new(io::repeat(b'x').take(1000));
        let mut lines = Lines { recording, number: 0, limit: 100, is_over: false };
        let error = lines.next().unwrap().unwrap_err();
        assert_eq!(
            error.to_string(),
            "line 1 of the recording has more than 100 bytes, so it is no snapshot"
        );
        assert!(lines.next().is_none());
    }

    #[test]
    fn an_error_of_the_file_is_told_once() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("the disk is gone"))
            }
        }
        let mut lines = read(BufReader::new(Broken));
        let error = lines.next().unwrap().unwrap_err();
        assert_eq!(error.to_string(), "cannot read line 1 of the recording: the disk is gone");
        assert!(lines.next().is_none());
    }

    proptest! {
        #[test]
        fn whatever_is_between_the_snapshots_they_are_read(
            between in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..6),
            size in 1..64_usize,
        ) {
            let line = json::line(&snapshot()).unwrap();
            let mut file = Vec::new();
            for bytes in &between {
                file.extend_from_slice(bytes);
                file.push(b'\n');
                file.extend_from_slice(line.as_bytes());
            }
            // The size of the parts in which the file is read makes no difference.
            let told: Vec<_> = read(BufReader::with_capacity(size, &file[..])).collect();
            prop_assert_eq!(told.iter().filter(|read| read.is_ok()).count(), between.len());
            let lines = file.iter().filter(|byte| **byte == b'\n').count() as u64;
            for error in told.into_iter().filter_map(Result::err) {
                let ReplayError::Malformed { line, .. } = error else { panic!("{error}") };
                prop_assert!((1..=lines).contains(&line));
            }
        }

        #[test]
        fn a_recording_that_is_cut_anywhere_is_read_up_to_there(place in 0.0..1.0_f64) {
            let line = json::line(&snapshot()).unwrap();
            let file = line.repeat(3);
            let cut = (file.len() as f64 * place) as usize;
            let told: Vec<_> = read(&file.as_bytes()[..cut]).collect();
            // The last line is complete even without its line feed.
            let whole = (cut + 1) / line.len();
            prop_assert_eq!(told.iter().take_while(|read| read.is_ok()).count(), whole);
            let is_cut = |read: &Result<Snapshot, ReplayError>| {
                matches!(read, Err(ReplayError::Malformed { source, .. }) if source.is_eof())
            };
            prop_assert!(told.len() == whole || told.len() == whole + 1 && is_cut(&told[whole]));
        }
    }
}
