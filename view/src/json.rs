//! JSON lines: one complete snapshot per line, or one flow or endpoint per line for scripts.

use std::io::{self, Write};

use serde::Serialize;

use crate::{Snapshot, lines};

/// Returns a snapshot as one line, with its line feed. Names are not changed, since JSON escapes control characters.
///
/// # Errors
///
/// Those of [`serde_json::to_string`]. A number that is not finite is no error and is written as `null`.
pub fn line(snapshot: &Snapshot) -> Result<String, serde_json::Error> {
    let mut line = serde_json::to_string(snapshot)?;
    line.push('\n');
    Ok(line)
}

/// Writes a snapshot as one line, in a single call, so that readers never see an incomplete line followed by another
/// one.
///
/// # Errors
///
/// Errors of the writer; [`io::ErrorKind::BrokenPipe`] if the reader of a pipe has closed it.
pub fn write(out: &mut impl Write, snapshot: &Snapshot) -> io::Result<()> {
    out.write_all(line(snapshot)?.as_bytes())
}

/// Writes the [lines](lines::flows) of a snapshot's flows.
///
/// # Errors
///
/// Those of [`write()`].
pub fn write_flows(out: &mut impl Write, snapshot: &Snapshot) -> io::Result<()> {
    lines::flows(snapshot).try_for_each(|line| write_one(out, &line))
}

/// Writes the [lines](lines::endpoints) of a snapshot's HTTP endpoints.
///
/// # Errors
///
/// Those of [`write()`].
pub fn write_endpoints(out: &mut impl Write, snapshot: &Snapshot) -> io::Result<()> {
    lines::endpoints(snapshot).try_for_each(|line| write_one(out, &line))
}

fn write_one(out: &mut impl Write, line: &impl Serialize) -> io::Result<()> {
    let mut text = serde_json::to_string(line)?;
    text.push('\n');
    out.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

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
        let mut out = Vec::new();
        write_flows(&mut out, &snapshot).unwrap();
        assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), snapshot.flows.len() + 1);
    }

    #[test]
    fn lines_of_flows_add_up_to_the_totals() {
        let snapshot = snapshot();
        let mut out = Vec::new();
        write_flows(&mut out, &snapshot).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let sum = |field: &str| lines.iter().map(|line| line[field].as_u64().unwrap()).sum::<u64>();
        assert_eq!(sum("rxBytes"), snapshot.totals.rx_bytes);
        assert_eq!(sum("connectFailures"), snapshot.totals.connect_failures);
        let last = lines.last().unwrap();
        assert_eq!((&last["command"], &last["pid"]), (&Value::from(lines::OTHER), &Value::Null));
        write_endpoints(&mut Vec::new(), &snapshot).unwrap();
    }
}
