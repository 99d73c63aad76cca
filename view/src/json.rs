//! JSON lines: one snapshot a line, complete in itself.

use std::io::{self, Write};

use crate::Snapshot;

/// A snapshot as one line, with its line feed. Names are whole: JSON escapes what could harm.
///
/// # Errors
///
/// As [`serde_json::to_string`]; a number that is not finite is written as `null`.
pub fn line(snapshot: &Snapshot) -> Result<String, serde_json::Error> {
    let mut line = serde_json::to_string(snapshot)?;
    line.push('\n');
    Ok(line)
}

/// Writes a snapshot as one line. A reader never sees a part of a line followed by another line.
///
/// # Errors
///
/// The writer's; [`io::ErrorKind::BrokenPipe`] when the reader has had enough.
pub fn write(out: &mut impl Write, snapshot: &Snapshot) -> io::Result<()> {
    out.write_all(line(snapshot)?.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::snapshot;

    #[test]
    fn hostile_names_stay_in_their_line() {
        let mut snapshot = snapshot();
        snapshot.flows[0].command = Some("a\nb\u{1b}[2J\u{202e}\"\u{2028}".to_owned());
        let mut out = Vec::new();
        write(&mut out, &snapshot).unwrap();
        assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 1);
        assert!(!out.contains(&0x1b));
        assert_eq!(serde_json::from_slice::<Snapshot>(&out).unwrap(), snapshot);
    }
}
