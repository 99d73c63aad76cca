//! The processes with the most bytes, as bars.

use std::collections::BTreeMap;

use traffictrace_crd::human;

use super::format;
use crate::{
    Snapshot, names,
    rows::{Choice, Sums, rows},
};

/// Maximum number of bars, not counting the bar of all others.
const BARS: usize = 8;

/// One bar. Widths are in percent of the longest bar.
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

/// The process or group of processes that a bar stands for.
pub(super) struct Ranked {
    pub(super) name: String,
    detail: String,
    pub(super) sums: Sums,
    is_other: bool,
}

/// Returns the bars of a snapshot.
pub(super) fn bars(snapshot: &Snapshot) -> Vec<Bar> {
    let totals = Sums::from(snapshot);
    let ranked = ranked(snapshot);
    let longest = ranked.iter().map(|bar| bar.sums.bytes()).max().unwrap_or(0);
    let bar = |Ranked { name, detail, sums, is_other }| Bar {
        name: format::name(&name),
        detail: format::name(&detail),
        is_other,
        rx: human::bytes(sums.rx_bytes),
        tx: human::bytes(sums.tx_bytes),
        rx_width: format::percent(sums.rx_bytes, longest),
        tx_width: format::percent(sums.tx_bytes, longest),
        share: format::share(sums.bytes(), totals.bytes()),
    };
    ranked.into_iter().map(bar).collect()
}

/// Returns the processes with the most bytes, then the traffic without a known process, then the sum of all others.
/// Together they add up to the totals.
pub(super) fn ranked(snapshot: &Snapshot) -> Vec<Ranked> {
    // All processes with one name in one pod are one bar.
    let mut by_name: BTreeMap<(bool, String, String), (Sums, Vec<u32>)> = BTreeMap::new();
    let shown = rows(snapshot, &Choice::default());
    for row in &shown.rows {
        let is_unknown = row.owner.pid.is_none();
        let place = if is_unknown { None } else { names::place(&row.owner) };
        let name = (is_unknown, names::process(&row.owner), place.unwrap_or_default());
        let (sums, pids) = by_name.entry(name).or_default();
        sums.add(&row.sums);
        pids.extend(row.owner.pid);
    }
    let mut named: Vec<_> = by_name.into_iter().collect();
    named.sort_by(|a, b| {
        a.0.0.cmp(&b.0.0).then_with(|| b.1.0.bytes().cmp(&a.1.0.bytes())).then_with(|| a.0.cmp(&b.0))
    });
    let mut other = shown.unlisted;
    let mut ranked = Vec::new();
    for ((is_other, name, place), (sums, pids)) in named {
        if ranked.len() >= BARS && name != names::UNATTRIBUTED {
            other.add(&sums);
            continue;
        }
        let pids = match pids[..] {
            [] => String::new(),
            [pid] => format!("pid {pid}"),
            [..] => format!("{} processes", pids.len()),
        };
        let parts: Vec<String> = [place, pids].into_iter().filter(|part| !part.is_empty()).collect();
        ranked.push(Ranked { name, detail: parts.join(" · "), sums, is_other });
    }
    if other != Sums::default() {
        let name = names::other(other.flows);
        ranked.push(Ranked { name, detail: String::new(), sums: other, is_other: true });
    }
    ranked
}
