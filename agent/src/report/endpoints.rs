//! Conversion of endpoints between the engine's form and a report's.

use traffictrace_crd::{
    ClassCounts, EndpointRow, HttpProtocol, HttpReport, HttpSide, REQUEST_CLASSES, decode_endpoints, human,
};
use traffictrace_ebpf::layout;
use traffictrace_http::endpoint::{Class, Counts, Endpoint, Row, Sums};
use traffictrace_http::{Protocol, Side};

use super::Identities;
use super::history::{kernel_command, positive};
use super::identities::Owned;
use crate::engine::HttpOwner;

/// A container and a program, by name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Named {
    pub(super) owned: Owned,
    pub(super) command: [u8; 16],
}

/// The HTTP requests that an agent continues from.
#[derive(Debug)]
pub(crate) struct ResumedHttp {
    pub(crate) rows: Vec<Row<HttpOwner>>,
    /// The part of the totals that no row has, without durations.
    pub(crate) rest: Counts,
}

/// Reads the HTTP part of the last report of this trace on this node.
pub(super) fn resume(last: &HttpReport, namespace: &str, identities: &mut Identities) -> ResumedHttp {
    let totals = &last.totals;
    let mut rest = Sums {
        by_class: REQUEST_CLASSES.map(|class| positive(totals.by_class.get(class).copied().unwrap_or(0))),
        grpc_failed: positive(totals.grpc_failed),
        request_bytes: positive(totals.request_bytes),
        response_bytes: positive(totals.response_bytes),
    };
    let mut rows = Vec::new();
    for row in decode_endpoints(&last.columns, &last.endpoints) {
        let row = row.map_err(|error| error.to_string());
        match row.and_then(|row| restored(&row, namespace, identities)) {
            Ok(row) => {
                subtract(&mut rest, &row.counts.sums);
                rows.push(row);
            }
            // The requests of a row that cannot be restored stay in the totals.
            Err(error) => {
                tracing::warn!("an endpoint of the report from before the restart is left out: {error}");
            }
        }
    }
    ResumedHttp { rows, rest: Counts { sums: rest, ..Counts::default() } }
}

/// Converts a report's row into an engine's row.
fn restored(
    row: &EndpointRow,
    namespace: &str,
    identities: &mut Identities,
) -> Result<Row<HttpOwner>, String> {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let side = match row.side {
        HttpSide::Server => Side::Server,
        HttpSide::Client => Side::Client,
    };
    let protocol = match row.protocol {
        HttpProtocol::Http10 => Protocol::Http10,
        HttpProtocol::Http11 => Protocol::Http11,
        HttpProtocol::Http2 => Protocol::Http2,
        HttpProtocol::Grpc => Protocol::Grpc,
    };
    Ok(Row {
        owner: HttpOwner {
            cgroup: identities.id_for(namespace, &row.pod, row.container.as_deref()),
            command: kernel_command(row.command.as_deref()),
        },
        endpoint: Endpoint::new(side, protocol, &text(&row.method), &text(&row.host), &text(&row.path)),
        counts: Counts {
            sums: Sums {
                by_class: row.requests.map(positive),
                grpc_failed: positive(row.grpc_failed),
                request_bytes: positive(row.request_bytes),
                response_bytes: positive(row.response_bytes),
            },
            durations: row.durations.parse().map_err(|error| format!("its durations: {error}"))?,
        },
        complete: row.complete,
    })
}

/// Converts an engine's row into a report's row.
pub(super) fn row(row: &Row<Named>) -> EndpointRow {
    let known = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let Owned { pod, container } = row.owner.owned.clone();
    let Sums { grpc_failed, request_bytes, response_bytes, .. } = row.counts.sums;
    EndpointRow {
        pod,
        container,
        command: command(&row.owner.command),
        side: match row.endpoint.side {
            Side::Server => HttpSide::Server,
            Side::Client => HttpSide::Client,
        },
        protocol: match row.endpoint.protocol {
            Protocol::Http10 => HttpProtocol::Http10,
            Protocol::Http11 => HttpProtocol::Http11,
            Protocol::Http2 => HttpProtocol::Http2,
            Protocol::Grpc => HttpProtocol::Grpc,
        },
        method: known(row.endpoint.method),
        host: known(&row.endpoint.host),
        path: known(&row.endpoint.path),
        requests: classes(&row.counts.sums),
        grpc_failed: signed(grpc_failed),
        request_bytes: signed(request_bytes),
        response_bytes: signed(response_bytes),
        durations: row.counts.durations.to_text(),
        complete: row.complete,
    }
}

/// Returns the name of a process, if it is known.
pub(super) fn command(kernel: &[u8; 16]) -> Option<String> {
    let name = layout::text(kernel);
    (!name.is_empty()).then(|| human::printable(&name).into_owned())
}

/// Returns the requests by class, in the order of a report's columns.
pub(super) fn classes(sums: &Sums) -> ClassCounts {
    Class::ALL.map(|class| signed(sums.of(class)))
}

/// Subtracts a part from sums.
pub(super) fn subtract(sums: &mut Sums, part: &Sums) {
    for (count, part) in sums.by_class.iter_mut().zip(part.by_class) {
        *count = count.saturating_sub(part);
    }
    sums.grpc_failed = sums.grpc_failed.saturating_sub(part.grpc_failed);
    sums.request_bytes = sums.request_bytes.saturating_sub(part.request_bytes);
    sums.response_bytes = sums.response_bytes.saturating_sub(part.response_bytes);
}

pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_the_parsers_own() {
        assert_eq!(Class::ALL.map(Class::name), REQUEST_CLASSES);
    }
}
