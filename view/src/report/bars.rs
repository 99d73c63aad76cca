//! The processes with the most bytes, as bars.

use std::collections::BTreeMap;

use traffictrace_crd::human;

use super::format;
use crate::{
    Snapshot, names,
    rows::{Choice, Sums, rows},
};

/// Maximum number of bars, that of all others not counted.
const BARS: usize = 8;

/// One bar. Widths are in percent of the longest.
pub(super) struct Bar {
    pub(super) name: String,
    pub(super) detail: String,
    pub(super) is_other: bool,
    pub(super) rx: String,
    pub(super) tx: String,
    pub(super) rx_width: String,
    pub(super) tx_width: String,
    pub(super) share: String,
}

/// The bars of a snapshot, the longest first, then those of what no process can be told of, and of all others.
pub(super) fn bars(snapshot: &Snapshot) -> Vec<Bar> {
    let totals = Sums::from(snapshot);
    // A program with many processes in a pod is one bar.
    let mut by_name: BTreeMap<(bool, String, String), (Sums, Vec<u32>)> = BTreeMap::new();
    let shown = rows(snapshot, &Choice::default());
    for row in &shown.rows {
        let is_unknown = row.owner.pid.is_none();
        let place = if is_unknown { String::new() } else { names::place(&row.owner).unwrap_or_default() };
        let entry = by_name.entry((is_unknown, names::process(&row.owner), place)).or_default();
        entry.0.add(&row.sums);
        entry.1.extend(row.owner.pid);
    }
    let mut named: Vec<_> = by_name.into_iter().collect();
    named.sort_by(|a, b| {
        a.0.0.cmp(&b.0.0).then_with(|| b.1.0.bytes().cmp(&a.1.0.bytes())).then_with(|| a.0.cmp(&b.0))
    });
    let mut other = shown.unlisted;
    let mut drawn = Vec::new();
    for ((is_unknown, name, place), (sums, pids)) in named {
        if drawn.len() >= BARS && !is_unknown {
            other.add(&sums);
            continue;
        }
        let pids = match pids[..] {
            [] => String::new(),
            [pid] => format!("pid {pid}"),
            [..] => format!("{} processes", pids.len()),
        };
        let parts: Vec<String> = [place, pids].into_iter().filter(|part| !part.is_empty()).collect();
        drawn.push((name, parts.join(" · "), sums, is_unknown));
    }
    if other != Sums::default() {
        drawn.push((names::other(other.flows), String::new(), other, true));
    }
    let longest = drawn.iter().map(|(_, _, sums, _)| sums.bytes()).max().unwrap_or(0);
    let bar = |(name, detail, sums, is_other): (String, String, Sums, bool)| Bar {
        name: format::name(&name),
        detail: format::name(&detail),
        is_other,
        rx: human::bytes(sums.rx_bytes),
        tx: human::bytes(sums.tx_bytes),
        rx_width: format::percent(sums.rx_bytes, longest),
        tx_width: format::percent(sums.tx_bytes, longest),
        share: format::share(sums.bytes(), totals.bytes()),
    };
    drawn.into_iter().map(bar).collect()
}
