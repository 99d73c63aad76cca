//! The page about the trace: losses, notices, nodes, and the kinds of traffic that the kernels cannot see.

use traffictrace_crd::human::{count, printable};

use super::{PageLine, header::clock};
use crate::live::{
    app::App,
    names::Kind,
    text::{span, words, wrap},
};

impl App {
    /// Returns the page in lines of at most `room` columns.
    pub(super) fn information(&self, room: usize) -> Vec<PageLine> {
        let theme = self.theme;
        let mut lines = Vec::new();
        let mut add = |text: &str, style| {
            lines.extend(wrap(text, room).into_iter().map(|text| PageLine { text, style }));
        };
        let Some(snapshot) = &self.latest else {
            add("There are no numbers yet.", theme.plain());
            return lines;
        };
        add(&self.names.sentence(&snapshot.subject), theme.strong());
        let state = format!("{:?}, numbers of {}", self.state(), clock(snapshot.time));
        let tier = snapshot
            .hook_tier
            .as_deref()
            .map_or_else(String::new, |tier| format!(", counted by {}", printable(tier)));
        let end = snapshot.end_time.map_or_else(String::new, |end| format!(", end {}", clock(end)));
        add(&format!("{state}{tier}{end}"), theme.plain());
        // Rows of several flows are sums of flows that are not listed.
        let listed = snapshot.flows.iter().filter(|flow| flow.flows == 1).count() as u64;
        let flows = format!("Flows: {}, of which {} are listed.", count(snapshot.flows_total), count(listed));
        add(&flows, theme.plain());
        let losses = self.losses_in_words();
        if losses.is_empty() {
            add("Nothing was lost.", theme.plain());
        } else {
            add("Lost", theme.alarm());
            losses.iter().for_each(|loss| add(&format!("- {loss}"), theme.plain()));
        }
        let sentences = self.sentences();
        if !sentences.is_empty() {
            add("Notices", theme.strong());
            sentences.iter().for_each(|sentence| add(&format!("- {sentence}"), theme.plain()));
        }
        if let Some((reporting, matched)) = snapshot.number_of_nodes() {
            add(&format!("Nodes: {reporting} of {matched} report."), theme.strong());
        }
        for node in &snapshot.nodes {
            let name = self.names.shown(Kind::Node, &node.name);
            let age = match node.update_time {
                None => "has not reported".to_owned(),
                Some(time) => format!("age {}", span(self.now.duration_since(time).as_secs())),
            };
            let stale = if self.is_behind(node) && node.update_time.is_some() { ", stale" } else { "" };
            let notice = node
                .notice
                .as_ref()
                .map_or_else(String::new, |notice| format!(": {}", self.names.sentence(notice)));
            let style = if self.is_behind(node) { theme.alarm() } else { theme.plain() };
            add(&format!("- {name}, {age}{stale}{notice}"), style);
        }
        if let Some(table) = snapshot.flow_table {
            let text =
                format!("Flow table: {} of {} slots in use.", count(table.slots_in_use), count(table.slots));
            add(&text, theme.plain());
        }
        if snapshot.older_sockets_found == Some(false) {
            add(
                "Sockets that were open before the trace could not be looked for in all processes.",
                theme.plain(),
            );
        }
        if let Some(http) = &snapshot.http {
            add(&format!("HTTP requests: {}.", count(http.requests)), theme.plain());
            for (reason, number) in http.unobserved.iter().filter(|(_, number)| **number > 0) {
                add(
                    &format!("- {} not observed: {}", count(*number), words(&printable(reason))),
                    theme.plain(),
                );
            }
        }
        if let Some(functions) =
            snapshot.functions.as_ref().filter(|functions| functions.bytes_without_stack > 0)
        {
            let text = format!(
                "Stacks: none is known of {} of {}.",
                self.units.amount(functions.bytes_without_stack),
                self.units.amount(functions.bytes)
            );
            add(&text, theme.plain());
        }
        if !snapshot.not_seen.is_empty() {
            let names: Vec<String> = snapshot.not_seen.iter().map(|name| words(&printable(name))).collect();
            add(
                &format!("The kernels cannot see: {}. `traffictrace check` explains each.", names.join(", ")),
                theme.plain(),
            );
        }
        lines
    }
}
