//! The lines above the table: the subject of the trace, its state, totals and losses.

use jiff::{Timestamp, tz::TimeZone};
use ratatui::{buffer::Buffer, style::Style};
use traffictrace_crd::human::{count, number_of};

use super::{
    layout::Layout,
    parts::{self, KEPT, Part},
};
use crate::{
    Snapshot,
    live::{
        app::App,
        columns::Column,
        lists::{Tab, tabs},
        text::{span, words},
    },
    rows::Sums,
    snapshot::{Node, State},
};

/// The kind of hooks that sees most. Any other kind in use is named on the first line.
const BEST_TIER: &str = "tp_btf";

/// Width in terminal columns below which words are abbreviated.
const NARROW: u16 = 60;

/// Formats a time of day in UTC: `14:02:11Z`.
pub(super) fn clock(time: Timestamp) -> String {
    time.to_zoned(TimeZone::UTC).strftime("%H:%M:%SZ").to_string()
}

/// Returns the sums of the flows that no row of the table shows, each with its name.
pub(super) fn pinned_lines(app: &App) -> Vec<(String, Sums)> {
    let Some(table) = &app.table else { return Vec::new() };
    let rows = &table.rows;
    let flows = |sums: &Sums| number_of(i128::from(sums.flows), "flow");
    let lines = [
        (format!("(other, {})", flows(&rows.unlisted)), rows.unlisted),
        (format!("(filtered out, {})", flows(&rows.filtered)), rows.filtered),
        (format!("(other ends, {})", flows(&rows.other_ends)), rows.other_ends),
    ];
    let is_something = |sums: &Sums| *sums != Sums::default();
    lines.into_iter().filter(|(_, sums)| is_something(sums)).collect()
}

impl App {
    pub(super) fn draw_header(&self, layout: &Layout, buffer: &mut Buffer) {
        parts::draw(buffer, layout.title, self.title(layout), self.symbols.ellipsis);
        let mut totals = self.totals(layout.title.width < NARROW);
        match layout.history {
            None => totals.push(self.losses()),
            Some(area) => {
                let columns = usize::from(area.width / 2).clamp(20, 60);
                let sparkline = self.symbols.sparkline(self.history.sparkline(self.now, columns));
                let peak = format!("60 s, peak {}", self.units.rate(self.history.peak()));
                let parts = vec![
                    Part::left(sparkline, self.theme.bar(), 2),
                    Part::left(peak, self.theme.faint(), 1),
                    self.losses(),
                ];
                if self.latest.is_some() {
                    parts::draw(buffer, area, parts, self.symbols.ellipsis);
                }
            }
        }
        parts::draw(buffer, layout.totals, totals, self.symbols.ellipsis);
    }

    fn title(&self, layout: &Layout) -> Vec<Part> {
        let theme = self.theme;
        let subject = self.latest.as_ref().map_or(&self.subject, |snapshot| &snapshot.subject);
        let subject = if subject.is_empty() { &self.subject } else { subject };
        let is_narrow = layout.title.width < NARROW;
        let (state, style) = self.state_in_words(is_narrow);
        let least = if is_narrow { 10 } else { 30 };
        let mut parts = vec![Part::left(self.names.sentence(subject), theme.strong(), KEPT).or_cut_to(least)];
        let latest = self.latest.as_deref();
        let tabs = latest.map_or_else(Vec::new, tabs);
        if tabs.len() > 1 {
            let name = |tab: &Tab| {
                if *tab == self.tab { format!("[{}]", tab.name()) } else { tab.name().to_owned() }
            };
            let names: Vec<String> = tabs.iter().map(name).collect();
            parts.push(Part::left(names.join(" "), theme.plain(), 60));
        }
        if self.tab == Tab::Flows {
            parts.push(Part::left(format!("by {}", self.choice.view.name()), theme.plain(), 50));
        }
        if self.choice.both_ends {
            parts.push(Part::left("both ends", theme.plain(), 40));
        }
        if !self.choice.filter.is_empty() {
            let filter = if self.names.are_hidden {
                "filtered".to_owned()
            } else {
                format!("filter: {}", self.filter)
            };
            parts.push(Part::left(filter, theme.strong(), 90).or_cut_to(24));
        }
        let is_marked = |column: &Column| column.sorted_by(self.choice.view) == Some(self.order.column);
        if self.tab == Tab::Flows && !layout.columns.iter().any(is_marked) {
            let word = if is_narrow { "" } else { "sort " };
            let sorted = format!("{word}{}{}", self.order.column.name(), self.arrow(self.is_rising()));
            parts.push(Part::left(sorted, theme.plain(), 70));
        }
        parts.push(Part::right(state, style, KEPT));
        if let Some(snapshot) = latest {
            parts.extend(self.times(snapshot));
        }
        parts
    }

    /// Age of the numbers, interval and end of the trace.
    fn times(&self, snapshot: &Snapshot) -> Vec<Part> {
        let theme = self.theme;
        let mut parts = Vec::new();
        if self.is_replay {
            parts.push(Part::right(clock(snapshot.time), theme.plain(), 80));
        } else if !matches!(self.state(), State::Completed | State::Failed) {
            let age = self.now.duration_since(snapshot.time).as_secs();
            parts.push(Part::right(format!("age {}", span(age)), theme.plain(), 80));
        }
        if snapshot.interval_seconds.0 > 0.0 {
            parts.push(Part::right(format!("every {}s", snapshot.interval_seconds.0), theme.faint(), 20));
        }
        if let (Some(end), State::Live | State::Waiting) = (snapshot.end_time, self.state()) {
            let left = end.duration_since(self.now).as_secs();
            parts.push(Part::right(format!("left {}", span(left)), theme.plain(), 30));
        }
        parts
    }

    /// Returns true if the values of the sorted column rise from line to line.
    pub(super) fn is_rising(&self) -> bool {
        self.order.column.is_text() != self.order.is_reversed
    }

    pub(super) fn arrow(&self, is_rising: bool) -> &'static str {
        if is_rising { self.symbols.rising } else { self.symbols.falling }
    }

    fn state_in_words(&self, is_narrow: bool) -> (String, Style) {
        let theme = self.theme;
        let latest = self.latest.as_deref();
        if let Some(since) = self.paused_at {
            let seconds = self.now.duration_since(since).as_secs().max(0);
            let more = if is_narrow { "" } else { ", still counting" };
            let paused = format!("PAUSED {:02}:{:02}{more}", seconds / 60, seconds % 60);
            return (paused, theme.selected());
        }
        let ended = || {
            let snapshot = latest?;
            // A planned end is not shown, since the trace ended before it.
            let end = snapshot.end_time.filter(|_| snapshot.state == State::Completed);
            Some(format!(" {}", clock(end.unwrap_or(snapshot.time))))
        };
        match self.state() {
            State::Waiting => ("WAITING".to_owned(), theme.strong()),
            State::Live => {
                let mut words = if self.is_replay { "REPLAY".to_owned() } else { "LIVE".to_owned() };
                if let Some(tier) = latest.and_then(|snapshot| snapshot.hook_tier.as_deref())
                    && tier != BEST_TIER
                {
                    words.push_str(&format!(" ({})", traffictrace_crd::human::printable(tier)));
                }
                let (fresh, nodes) =
                    latest.and_then(|snapshot| self.fresh_nodes(snapshot)).unwrap_or_default();
                if fresh < nodes {
                    let behind = nodes - fresh;
                    words.push_str(&format!(", {behind} of {} stale", number_of(i128::from(nodes), "node")));
                    return (words, theme.alarm());
                }
                if latest.and_then(|snapshot| snapshot.oldest_time).is_some_and(|time| self.is_old(time)) {
                    words.push_str(", some numbers stale");
                    return (words, theme.alarm());
                }
                (words, theme.good())
            }
            State::Completed => (format!("COMPLETED{}", ended().unwrap_or_default()), theme.strong()),
            State::Failed => ("FAILED".to_owned(), theme.alarm()),
            State::Deleted => ("DELETED".to_owned(), theme.alarm()),
            State::Unreachable => ("UNREACHABLE".to_owned(), theme.alarm()),
        }
    }

    /// Returns true if a node has not reported yet, or has stopped reporting.
    pub(super) fn is_behind(&self, node: &Node) -> bool {
        node.update_time.is_none_or(|time| self.is_old(time))
    }

    /// Returns true if `time` is too long ago for a node that still reports: nodes write at least once in three intervals.
    fn is_old(&self, time: Timestamp) -> bool {
        let interval = self.latest.as_ref().map_or(0.0, |snapshot| snapshot.interval_seconds.0);
        let limit = (4.0 * interval).max(15.0);
        self.now.duration_since(time).as_secs_f64() > limit
    }

    /// Returns the number of nodes whose numbers are fresh, and of all nodes.
    fn fresh_nodes(&self, snapshot: &Snapshot) -> Option<(u64, u64)> {
        let (reporting, matched) = snapshot.number_of_nodes()?;
        let reported = snapshot.nodes.iter().filter(|node| node.update_time.is_some());
        let behind = reported.filter(|node| self.is_behind(node)).count() as u64;
        Some((reporting.saturating_sub(behind), matched))
    }

    fn totals(&self, is_narrow: bool) -> Vec<Part> {
        let Some(snapshot) = &self.latest else { return Vec::new() };
        let (theme, totals) = (self.theme, &snapshot.totals);
        let mut parts = Vec::new();
        if let Some(pods) = snapshot.pods {
            parts.push(Part::left(number_of(i128::from(pods), "pod"), theme.plain(), 40));
        }
        if let Some((fresh, nodes)) = self.fresh_nodes(snapshot) {
            parts.push(Part::left(format!("{fresh}/{nodes} nodes"), theme.plain(), 50));
        }
        let opened = format!("{} open", count(totals.connections_open));
        parts.push(Part::left(opened, theme.plain(), 30));
        if totals.connect_failures > 0 {
            parts.push(Part::left(format!("{} failed", count(totals.connect_failures)), theme.plain(), 25));
        }
        if totals.retransmits > 0 {
            parts.push(Part::left(format!("{} retx", count(totals.retransmits)), theme.plain(), 20));
        }
        let [received, sent] = if is_narrow { ["rx", "tx"] } else { ["recv", "sent"] };
        let rate = |word, rate, importance| {
            Part::right(format!("{word} {}", self.units.rate(rate)), theme.strong(), importance)
        };
        let amount = |bytes, importance| {
            Part::right(format!("({})", self.units.amount(bytes)), theme.plain(), importance)
        };
        parts.push(rate(received, totals.rx_bytes_per_second, 90));
        parts.push(amount(totals.rx_bytes, if self.is_of_totals { 61 } else { 11 }));
        parts.push(rate(sent, totals.tx_bytes_per_second, 80));
        parts.push(amount(totals.tx_bytes, if self.is_of_totals { 60 } else { 10 }));
        parts
    }

    /// The part that shows losses, present on every screen.
    fn losses(&self) -> Part {
        let Some(snapshot) = &self.latest else { return Part::right("", self.theme.plain(), KEPT) };
        let (events, bytes) = lost(snapshot);
        let bytes = (bytes > 0).then(|| self.units.amount(bytes));
        match (events, bytes) {
            (0, None) => Part::right("lost 0", self.theme.plain(), KEPT),
            (0, Some(bytes)) => Part::right(format!("LOST {bytes}"), self.theme.alarm(), KEPT),
            (events, None) => Part::right(format!("LOST {}", count(events)), self.theme.alarm(), KEPT),
            (events, Some(bytes)) => {
                Part::right(format!("LOST {}, {bytes}", count(events)), self.theme.alarm(), KEPT)
                    .or_cut_to(18)
            }
        }
    }

    /// Returns the kinds of losses that are not 0, in words.
    pub(super) fn losses_in_words(&self) -> Vec<String> {
        let Some(snapshot) = &self.latest else { return Vec::new() };
        let some = snapshot.lost.iter().filter(|(_, number)| **number > 0);
        some.map(|(kind, number)| match kind.strip_suffix("Bytes") {
            Some(kind) => format!("{} {}", self.units.amount(*number), words(kind)),
            None => format!("{} {}", count(*number), words(kind)),
        })
        .collect()
    }
}

/// Returns two sums of all losses: the number of events, and the number of bytes.
fn lost(snapshot: &Snapshot) -> (u64, u64) {
    let mut sums = (0_u64, 0_u64);
    for (kind, number) in &snapshot.lost {
        let sum = if kind.ends_with("Bytes") { &mut sums.1 } else { &mut sums.0 };
        *sum = sum.saturating_add(*number);
    }
    sums
}
