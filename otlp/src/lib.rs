//! TrafficTraces as metrics, sent by the OpenTelemetry protocol (OTLP).
//!
//! Two metrics by the semantic conventions, both in bytes of the applications, and one about the export itself:
//!
//! | metric | series |
//! |---|---|
//! | `k8s.pod.network.io` | a trace's pods by transport and direction |
//! | `process.network.io` | a trace's pods, containers and names of processes by direction |
//! | `traffictrace.trace.series` | how many series the two have for a trace |
//!
//! The flows that a status does not list, and those for which there is no room, are one series of each direction with the
//! attribute `otel.metric.overflow`. With it the series of each of the two metrics add up to the totals of the status, to
//! the byte, and none of them ever falls ([`Book`] says how).
//!
//! An attribute's value comes from traffic in one place alone: `process.executable.name`, of which a traced process is the
//! author. It has 15 bytes at most, its series are bounded like all others, and [`Settings::processes`] leaves it out.
//! Addresses, ports, process ids, hosts and paths are in no attribute.
//!
//! Nothing here counts: numbers, start and end are those of the status. That is why requests are made from the protocol's own
//! types, and not by the SDK, whose instruments begin when the process does.

mod book;
mod client;
mod error;
mod request;
mod series;
mod settings;
mod snapshot;
#[cfg(test)]
mod tests;
mod tls;

use jiff::Timestamp;
use traffictrace_crd::TrafficTrace;

pub use self::book::{Batch, Book, TraceId};
pub use self::client::{Answer, Client};
pub use self::error::{ExportError, SettingsError};
pub use self::series::Limits;
pub use self::settings::{Protocol, Settings};
pub use self::snapshot::Snapshot;

/// The outcome of [`export`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// Series that were sent of the two metrics of traffic.
    pub series: usize,
    /// Words of the receiver that took everything and has a warning all the same.
    pub warning: Option<String>,
}

/// Sends the numbers of one trace as they are, once. Their time is that of the status.
///
/// The series have the trace's own identity, so that sending a trace twice does not count it twice.
///
/// # Errors
///
/// [`ExportError`] when the trace has no numbers yet, or the receiver could not be reached or did not take all of them.
pub async fn export(trace: &TrafficTrace, settings: &Settings) -> Result<Exported, ExportError> {
    let snapshot = Snapshot::of(trace)
        .ok_or_else(|| ExportError::NoNumbers { trace: trace.metadata.name.clone().unwrap_or_default() })?;
    let now = snapshot.updated().unwrap_or_else(Timestamp::now);
    let mut book = Book::new(settings.limits, settings.processes);
    book.update(&snapshot, now);
    let client = Client::new(settings, snapshot.uid())?;
    let (mut series, mut warning) = (0, None);
    for batch in book.batches(client.resource(), now) {
        series += batch.series;
        let answer = client.send(batch.request).await?;
        if answer.rejected > 0 {
            return Err(ExportError::Rejected {
                endpoint: client.endpoint().to_owned(),
                points: answer.rejected,
                message: answer.message,
            });
        }
        warning = Some(answer.message).filter(|message| !message.is_empty()).or(warning);
    }
    Ok(Exported { series, warning })
}
