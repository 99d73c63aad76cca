//! The tabs beside that of flows: HTTP endpoints, and the functions that move bytes; both filtered and sorted.

use std::cmp::Reverse;

use crate::{
    Snapshot,
    endpoints::{Column as EndpointColumn, title},
    filter::Filter,
    functions::sums,
    snapshot::{Endpoint, Function},
};

/// A tab of the screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tab {
    /// Flows, grouped into rows.
    #[default]
    Flows,
    /// HTTP endpoints.
    Http,
    /// Functions that move bytes.
    Functions,
}

impl Tab {
    /// Name of the tab.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Flows => "Flows",
            Self::Http => "HTTP",
            Self::Functions => "Functions",
        }
    }
}

/// Returns the tabs for which a snapshot has data.
pub(super) fn tabs(snapshot: &Snapshot) -> Vec<Tab> {
    let mut tabs = vec![Tab::Flows];
    tabs.extend(snapshot.http.is_some().then_some(Tab::Http));
    tabs.extend(snapshot.functions.is_some().then_some(Tab::Functions));
    tabs
}

/// A column by which functions can be sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum FunctionColumn {
    Received,
    Sent,
    #[default]
    Bytes,
}

impl FunctionColumn {
    pub(super) const ALL: [Self; 3] = [Self::Received, Self::Sent, Self::Bytes];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Received => "RECV",
            Self::Sent => "SENT",
            Self::Bytes => "TOTAL",
        }
    }

    pub(super) fn of(self, function: &Function) -> u64 {
        match self {
            Self::Received => function.rx_bytes,
            Self::Sent => function.tx_bytes,
            Self::Bytes => function.bytes(),
        }
    }
}

/// Indexes of the endpoints that a filter accepts, in sorted order.
pub(super) fn endpoints(
    snapshot: &Snapshot,
    filter: &Filter,
    column: EndpointColumn,
    is_reversed: bool,
) -> Vec<usize> {
    let endpoints = snapshot.http.as_ref().map_or(&[][..], |http| &http.endpoints);
    let taken = |place: &usize| filter.takes_endpoint(&endpoints[*place]);
    let mut places: Vec<usize> = (0..endpoints.len()).filter(taken).collect();
    places.sort_by_key(|place| in_order(column.of(&endpoints[*place]), is_reversed));
    places
}

/// Returns the functions that a filter accepts, in sorted order.
pub(super) fn functions(
    snapshot: &Snapshot,
    filter: &Filter,
    column: FunctionColumn,
    is_reversed: bool,
) -> Vec<Function> {
    let known = snapshot.functions.as_ref();
    let mut functions = known.map_or_else(Vec::new, |functions| sums(functions, filter));
    functions.sort_by_key(|function| in_order(column.of(function), is_reversed));
    functions
}

/// Sort key for descending order, or for ascending order if `is_reversed`.
fn in_order(number: u64, is_reversed: bool) -> Reverse<u64> {
    Reverse(if is_reversed { u64::MAX - number } else { number })
}

/// Key that identifies an endpoint in this snapshot and in later ones.
pub(super) fn endpoint_key(endpoint: &Endpoint) -> String {
    let names = [&endpoint.namespace, &endpoint.pod, &endpoint.container, &endpoint.command];
    let names: Vec<&str> = names.iter().map(|name| name.as_deref().unwrap_or_default()).collect();
    format!("{}\n{}\n{}\n{}", names.join("\n"), endpoint.side, endpoint.protocol, title(endpoint))
}

/// Key that identifies a function in this snapshot and in later ones.
pub(super) fn function_key(function: &Function) -> String {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    format!("{}\n{}\n{}", function.name, text(&function.module), text(&function.command))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::testing::full;

    #[test]
    fn endpoints_and_functions_are_filtered_and_sorted() {
        let snapshot = full();
        let of = |filter: &str, column, is_reversed| {
            endpoints(&snapshot, &Filter::parse(filter).unwrap(), column, is_reversed)
        };
        assert_eq!(of("", EndpointColumn::Requests, false), [0, 1, 2]);
        assert_eq!(of("", EndpointColumn::P99, false), [1, 2, 0]);
        assert_eq!(of("", EndpointColumn::P99, true), [0, 2, 1]);
        assert_eq!(of("/cart", EndpointColumn::Requests, false), [1]);
        assert_eq!(of("direction:in", EndpointColumn::Requests, false), [0, 1]);
        let of = |filter: &str, column| {
            let functions = functions(&snapshot, &Filter::parse(filter).unwrap(), column, false);
            functions.into_iter().map(|function| function.name).collect::<Vec<_>>()
        };
        assert_eq!(of("", FunctionColumn::Bytes), ["ngx_writev", "ngx_unix_recv", "__send"]);
        assert_eq!(of("", FunctionColumn::Received), ["ngx_unix_recv", "ngx_writev", "__send"]);
        assert_eq!(of("libc", FunctionColumn::Bytes), ["__send"]);
        assert_eq!(tabs(&snapshot), [Tab::Flows, Tab::Http, Tab::Functions]);
    }
}
