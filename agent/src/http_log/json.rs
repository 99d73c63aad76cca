//! The JSON output of `traffictrace http`: one object on each line. Unknown values are `null`.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    io::{self, Write},
    net::IpAddr,
};

use serde::Serialize;
use traffictrace_crd::human;
use traffictrace_http::{
    Reason, Status,
    endpoint::{Class, Latency, Row, Sums, redact},
};

use super::{
    clock::Clock,
    names::{Containers, command, protocol, side},
    summary::Summary,
    tally::Tally,
};
use crate::{
    engine::{HttpExchange, HttpOwner, TlsProcess},
    host::Names,
};

/// The line of a request.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    /// Time of the request's first byte, RFC 3339 with microseconds.
    time: String,
    side: &'static str,
    #[serde(flatten)]
    container: Option<Container<'a>>,
    pid: Option<u32>,
    container_pid: Option<u32>,
    command: Option<String>,
    protocol: &'static str,
    /// True if the request was read as plain text of a TLS connection.
    tls: bool,
    method: Option<Cow<'a, str>>,
    host: Option<Cow<'a, str>>,
    path: Option<String>,
    status: Option<u16>,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    grpc_status: Option<u32>,
    first_byte_microseconds: Option<u64>,
    duration_microseconds: u64,
    request_bytes: u64,
    response_bytes: u64,
    local_address: IpAddr,
    local_port: u16,
    remote_address: IpAddr,
    remote_port: u16,
}

/// The names of the container or service of an owner; these fields are absent if the target is a cgroup or a process.
#[derive(Debug, Serialize)]
struct Container<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pod: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<Cow<'a, str>>,
}

impl<'a> Container<'a> {
    fn of(owner: &HttpOwner, containers: &'a Containers) -> Option<Self> {
        let Names { namespace, pod, container } = containers.get(&owner.cgroup)?;
        let [namespace, pod, container] =
            [namespace, pod, container].map(|name| name.as_deref().map(human::printable));
        Some(Self { namespace, pod, container })
    }
}

/// Sums of requests.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Counts {
    requests: u64,
    /// Number of requests of each class, also zeros.
    by_class: BTreeMap<&'static str, u64>,
    /// Number of requests whose `grpc-status` was not 0. They are counted in `by_class`, too.
    grpc_failed: u64,
    request_bytes: u64,
    response_bytes: u64,
}

/// Counts of an endpoint, in an interval or since the session began.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Endpoint<'a> {
    side: &'static str,
    #[serde(flatten)]
    container: Option<Container<'a>>,
    command: Option<String>,
    protocol: &'static str,
    method: Option<&'a str>,
    host: Option<&'a str>,
    path: Option<&'a str>,
    #[serde(flatten)]
    counts: Counts,
    p50_microseconds: u64,
    p90_microseconds: u64,
    p99_microseconds: u64,
    max_microseconds: u64,
}

/// Numbers of requests that were seen only in part, by reason, and of connections that were not followed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Unobserved {
    lost_response: u64,
    head_too_large: u64,
    malformed: u64,
    no_memory: u64,
    missing_bytes: u64,
    connections_not_followed: u64,
    /// Upper bound of the requests whose flow found no room in the flow table, so that it is unknown whether they
    /// belong to the target.
    flow_not_known: u64,
}

/// Numbers of records that were lost between the kernel and this process, with the requests and responses in them, and
/// of requests that the output lost.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Lost {
    records: u64,
    requests: u64,
    responses: u64,
    unknown_records: u64,
    /// Number of requests in the totals that have no line, because the output was read too slowly.
    not_listed: u64,
    /// Number of socket calls for which the flow table had no room. Requests may therefore lack their process.
    table_full_events: u64,
}

/// The last line: counts since the session began.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Ending<'a> {
    totals: Counts,
    /// The endpoints of the requests that pass the filters; only with `--summary`.
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoints: Option<Vec<Endpoint<'a>>>,
    unobserved: Unobserved,
    lost: Lost,
    /// Number of requests that have not ended, which are not in `totals`.
    under_way: u64,
    /// The processes that use TLS.
    tls: Vec<Tls<'a>>,
}

/// A process that uses TLS.
#[derive(Debug, Serialize)]
struct Tls<'a> {
    pid: u32,
    command: Option<String>,
    library: Option<Cow<'a, str>>,
    /// True if the plain text of the process is read.
    readable: bool,
    /// The reason why plain text is missing, wholly or in part; `None` if none is.
    reason: Option<&'a str>,
}

/// The line of a summary. `unobserved` and `lost` count since the session began, `under_way` is the number of requests
/// at the end of the interval, and everything else is about the interval.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Interval<'a> {
    time: String,
    interval_microseconds: u64,
    endpoints_total: usize,
    endpoints: Vec<Endpoint<'a>>,
    interval_totals: Counts,
    unobserved: Unobserved,
    lost: Lost,
    under_way: u64,
}

/// Writes the line of a request.
pub(super) fn request(
    request: &HttpExchange,
    containers: &Containers,
    clock: &Clock,
    out: &mut impl Write,
) -> io::Result<()> {
    let exchange = &request.exchange;
    let known = (request.pid != 0).then_some(request.pid);
    let since_begin = |end: u64| end.saturating_sub(exchange.began) / 1000;
    let line = Request {
        time: format!("{:.6}", clock.time_of(exchange.began)),
        side: side(exchange.side),
        container: Container::of(&request.owner, containers),
        pid: known,
        container_pid: known.map(|_| request.container_pid),
        command: command(&request.owner),
        protocol: protocol(exchange.protocol),
        tls: request.tls,
        method: printable(&exchange.method),
        host: printable(&exchange.host),
        path: (!exchange.path.is_empty()).then(|| human::printable(&redact(&exchange.path)).into_owned()),
        status: match exchange.status {
            Status::Code(code) => Some(code),
            Status::NoResponse | Status::Unknown => None,
        },
        outcome: match exchange.status {
            Status::Code(_) => "Complete",
            Status::NoResponse => "NoResponse",
            Status::Unknown => "Unknown",
        },
        grpc_status: exchange.grpc_status,
        first_byte_microseconds: exchange.first_byte.map(since_begin),
        duration_microseconds: since_begin(exchange.ended),
        request_bytes: exchange.request_bytes,
        response_bytes: exchange.response_bytes,
        local_address: request.local.0,
        local_port: request.local.1,
        remote_address: request.remote.0,
        remote_port: request.remote.1,
    };
    write(&line, out)
}

/// Writes the line of the summary of one interval.
pub(super) fn summary(summary: &Summary, tally: &Tally, out: &mut impl Write) -> io::Result<()> {
    let line = Interval {
        time: format!("{:.6}", summary.ended),
        interval_microseconds: summary.elapsed.as_micros().try_into().unwrap_or(u64::MAX),
        endpoints_total: summary.rows_total,
        endpoints: Endpoint::all(summary),
        interval_totals: Counts::from(&summary.totals),
        unobserved: Unobserved::from(tally),
        lost: Lost::from(tally),
        under_way: tally.missing.under_way,
    };
    write(&line, out)
}

/// Writes the last line. `whole` has the endpoints' counts since the session began; `None` without `--summary`.
pub(super) fn ending(whole: Option<&Summary>, tally: &Tally, out: &mut impl Write) -> io::Result<()> {
    let line = Ending {
        totals: Counts::from(&tally.totals.sums),
        endpoints: whole.map(Endpoint::all),
        unobserved: Unobserved::from(tally),
        lost: Lost::from(tally),
        under_way: tally.missing.under_way,
        tls: tally.tls.iter().map(Tls::from).collect(),
    };
    write(&line, out)
}

fn write(line: &impl Serialize, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}

/// Returns a text from traffic without control characters, because JSON may be printed to a terminal, too; `None` if it
/// is empty.
fn printable(text: &str) -> Option<Cow<'_, str>> {
    (!text.is_empty()).then(|| human::printable(text))
}

impl<'a> Endpoint<'a> {
    fn all(summary: &'a Summary) -> Vec<Self> {
        summary.rows.iter().map(|row| Self::of(row, &summary.containers)).collect()
    }

    fn of(row: &'a Row<HttpOwner>, containers: &'a Containers) -> Self {
        let known = |text: &'a str| (!text.is_empty()).then_some(text);
        let Latency { p50, p90, p99, max } = row.counts.durations.latency();
        Self {
            side: side(row.endpoint.side),
            container: Container::of(&row.owner, containers),
            command: command(&row.owner),
            protocol: protocol(row.endpoint.protocol),
            method: known(row.endpoint.method),
            host: known(&row.endpoint.host),
            path: known(&row.endpoint.path),
            counts: Counts::from(&row.counts.sums),
            p50_microseconds: p50,
            p90_microseconds: p90,
            p99_microseconds: p99,
            max_microseconds: max,
        }
    }
}

impl<'a> From<&'a TlsProcess> for Tls<'a> {
    fn from(process: &'a TlsProcess) -> Self {
        let TlsProcess { owner, pid, library, readable, reason } = process;
        Self {
            pid: *pid,
            command: command(owner),
            library: printable(library),
            readable: *readable,
            reason: (!reason.is_empty()).then_some(reason.as_str()),
        }
    }
}

impl From<&Sums> for Counts {
    fn from(sums: &Sums) -> Self {
        Self {
            requests: sums.requests(),
            by_class: Class::ALL.into_iter().map(|class| (class.name(), sums.of(class))).collect(),
            grpc_failed: sums.grpc_failed,
            request_bytes: sums.request_bytes,
            response_bytes: sums.response_bytes,
        }
    }
}

impl From<&Tally> for Unobserved {
    fn from(tally: &Tally) -> Self {
        let of = |reason| tally.totals.unobserved.of(reason);
        Self {
            lost_response: of(Reason::LostResponse),
            head_too_large: of(Reason::HeadTooLarge),
            malformed: of(Reason::Malformed),
            no_memory: of(Reason::NoMemory),
            missing_bytes: of(Reason::MissingBytes),
            connections_not_followed: tally.missing.connections,
            flow_not_known: tally.missing.without_flow,
        }
    }
}

impl From<&Tally> for Lost {
    fn from(tally: &Tally) -> Self {
        let lost = &tally.missing.lost;
        Self {
            records: lost.records,
            requests: lost.requests,
            responses: lost.responses,
            unknown_records: lost.unknown,
            not_listed: tally.missing.not_listed,
            table_full_events: tally.table_full,
        }
    }
}

#[cfg(test)]
mod tests;
