//! Export of statuses as metrics, if the environment names an OTLP receiver. The export has its own task, so that a slow
//! or absent receiver delays nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::time::MissedTickBehavior;
use traffictrace_crd::TrafficTrace;
use traffictrace_otlp::{
    Batch, Book, Client, ExportError, Limits, Settings, SettingsError, Snapshot, TraceId,
};

use crate::kubeapi::{ApiClock, Change, Key};
use crate::server::metrics::OtlpMetrics;
use crate::tasks::Tasks;

/// Time after its end for which a trace is exported. If one that ended earlier is listed again, for example after an
/// interruption of the watch, its last values were exported already.
const STALE: Duration = Duration::from_secs(15 * 60);
/// Minimum time between two warnings of a kind.
const WARN_EVERY: Duration = Duration::from_secs(5 * 60);

/// Export of the statuses as metrics by OTLP, if OTEL_EXPORTER_OTLP_ENDPOINT names a receiver
///
/// OpenTelemetry's other variables for metric exporters are used as well, including OTEL_EXPORTER_OTLP_PROTOCOL, _HEADERS,
/// _TIMEOUT, _COMPRESSION and _CERTIFICATE, OTEL_METRIC_EXPORT_INTERVAL and OTEL_RESOURCE_ATTRIBUTES.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct OtlpArgs {
    /// Maximum number of series over all traces exported by OTLP. Bytes without a series of their own are summed up in
    /// one series of their trace. A trace is left out if there is no room even for that one.
    #[arg(long, value_name = "COUNT", default_value_t = Limits::default().all)]
    otlp_max_series: usize,
    /// Maximum number of series of one trace exported by OTLP.
    #[arg(long, value_name = "COUNT", default_value_t = Limits::default().trace)]
    otlp_max_series_of_trace: usize,
    /// Export process.network.io too, with the names of processes.
    #[arg(long, value_name = "true|false", default_value_t = true, action = clap::ArgAction::Set)]
    otlp_processes: bool,
}

/// The export was configured but cannot start.
#[derive(Debug, thiserror::Error)]
#[error("cannot export metrics by OTLP: {0}")]
pub(crate) enum OtlpError {
    Settings(#[from] SettingsError),
    Client(#[from] ExportError),
}

/// Changes of traces that wait for the export. Only the newest change of each trace is kept.
#[derive(Clone, Debug, Default)]
pub(super) struct OtlpNews(Arc<Mutex<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    /// True once the watch has delivered its first list.
    listed: bool,
    news: BTreeMap<TraceId, News>,
}

/// The newest change of one trace.
#[derive(Debug, Default)]
struct News {
    snapshot: Option<Snapshot>,
    /// True if the trace was deleted.
    gone: bool,
}

impl OtlpArgs {
    /// Starts the export as one of `tasks`, if the environment names a receiver.
    pub(super) fn start(
        &self,
        clock: &ApiClock,
        metrics: &OtlpMetrics,
        tasks: &mut Tasks,
    ) -> Result<Option<OtlpNews>, OtlpError> {
        let variable = |name: &str| std::env::var(name).ok();
        let Some(mut settings) = Settings::from_environment(variable)? else { return Ok(None) };
        settings.processes = self.otlp_processes;
        settings.limits = Limits { all: self.otlp_max_series, trace: self.otlp_max_series_of_trace };
        // Each run of the controller has its own series: its list of flows may differ from the one before, so sums do
        // not continue.
        let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "controller".into());
        let instance = format!("{host}-{:x}", Timestamp::now().as_millisecond());
        let client = Client::new(&settings, &instance)?;
        let (endpoint, every) = (client.endpoint(), settings.interval());
        tracing::info!(
            "exporting metrics of traces to {endpoint} by {} every {every:?}",
            settings.protocol().name()
        );
        let news = OtlpNews::default();
        let exporter = Exporter {
            book: Book::new(settings.limits, settings.processes),
            left_out: BTreeSet::new(),
            client,
            metrics: metrics.clone(),
            warnings: Warnings::default(),
        };
        tasks.spawn("the export by OTLP", exporter.run(news.clone(), clock.clone(), every));
        Ok(Some(news))
    }
}

impl OtlpNews {
    /// Records a change of a trace for the task that exports.
    pub(super) fn tell(&self, change: &Change<TrafficTrace>, now: Timestamp) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match change {
            Change::Complete => waiting.listed = true,
            Change::Gone(Key { namespace, name, uid }) => {
                let id = TraceId { namespace: namespace.clone(), name: name.clone(), uid: uid.clone() };
                waiting.news.entry(id).or_default().gone = true;
            }
            Change::Apply(trace) => {
                let Some(snapshot) = Snapshot::of(trace) else { return };
                let ended =
                    snapshot.end().map(|end| Duration::try_from(now.duration_since(end)).unwrap_or_default());
                if ended.is_some_and(|ago| !waiting.listed || ago >= STALE) {
                    return;
                }
                let id = snapshot.id();
                waiting.news.entry(id).or_default().snapshot = Some(snapshot);
            }
        }
    }

    fn take(&self) -> BTreeMap<TraceId, News> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner).news)
    }
}

/// State of the export task.
struct Exporter {
    book: Book,
    /// Traces that are not exported because the limits of series leave no room for them.
    left_out: BTreeSet<TraceId>,
    client: Client,
    metrics: OtlpMetrics,
    warnings: Warnings,
}

impl Exporter {
    async fn run(mut self, news: OtlpNews, clock: ApiClock, every: Duration) {
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.learn(news.take(), clock.now());
            self.export(clock.now()).await;
        }
    }

    fn learn(&mut self, news: BTreeMap<TraceId, News>, now: Timestamp) {
        self.metrics.lost(self.book.forget_ended(now));
        // Deleted traces come first: `Book::update` of a new trace marks an older one of the same name as over, even if
        // the older one's last values were not taken yet.
        let (gone, there): (Vec<_>, Vec<_>) = news.into_iter().partition(|(_, news)| news.gone);
        for (id, News { snapshot, gone }) in gone.into_iter().chain(there) {
            if let Some(snapshot) = snapshot {
                if self.book.update(&snapshot, now) || snapshot.end().is_some() {
                    self.left_out.remove(&id);
                } else {
                    self.left_out.insert(id.clone());
                }
            }
            if gone {
                self.book.gone(&id, now);
                self.left_out.remove(&id);
            }
        }
        if !self.left_out.is_empty() {
            let count = self.left_out.len();
            let text = format!(
                "{count} traces are not exported by OTLP: there are as many series as --otlp-max-series allows"
            );
            self.warnings.warn(Warning::LeftOut, &text);
        }
        self.metrics.set_state(self.book.series(), self.left_out.len());
    }

    async fn export(&mut self, now: Timestamp) {
        let (mut taken, mut faults) = (0, 0);
        for Batch { request, traces, .. } in self.book.batches(self.client.resource(), now) {
            match self.client.send(request).await {
                Ok(answer) => {
                    self.book.delivered(&traces);
                    if answer.rejected == 0 {
                        self.metrics.sent("ok");
                        taken += 1;
                    } else {
                        self.metrics.sent("rejected");
                        faults += 1;
                        let (endpoint, rejected) = (self.client.endpoint(), answer.rejected);
                        let why = answer.message;
                        let text = format!("{endpoint} did not take {rejected} of the data points: {why}");
                        self.warnings.warn(Warning::Rejected, &text);
                    }
                }
                Err(error) => {
                    self.metrics.sent(error.reason());
                    faults += 1;
                    let is_final = error.is_final();
                    let kind = if is_final { Warning::Refused } else { Warning::Away };
                    self.warnings.warn(kind, &format!("{error}; trying again with newer numbers"));
                    if !is_final {
                        // The remaining requests go to the same receiver and would fail as well.
                        return;
                    }
                }
            }
        }
        if taken > 0 && faults == 0 {
            self.warnings.all_is_well(self.client.endpoint());
        }
    }
}

/// Kinds of warnings, each with its own pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Warning {
    /// Some traces do not fit the limits.
    LeftOut,
    /// The receiver accepted only some data points of a request.
    Rejected,
    /// The receiver refused a request for good.
    Refused,
    /// The receiver is away, slow or overloaded.
    Away,
}

/// Rate limit of warnings, so that an absent receiver does not fill the log.
#[derive(Debug, Default)]
struct Warnings(BTreeMap<Warning, Pause>);

/// State of the pause after a warning.
#[derive(Debug)]
struct Pause {
    last: Instant,
    /// Number of warnings that were suppressed since the last logged one.
    since: u64,
}

impl Warnings {
    fn warn(&mut self, kind: Warning, text: &str) {
        let since = match self.0.get_mut(&kind) {
            Some(pause) if pause.last.elapsed() < WARN_EVERY => {
                pause.since += 1;
                return;
            }
            Some(pause) => pause.since,
            None => 0,
        };
        match since {
            0 => tracing::warn!("{text}"),
            since => tracing::warn!("{text} ({since} more such warnings since the last one)"),
        }
        self.0.insert(kind, Pause { last: Instant::now(), since: 0 });
    }

    /// Logs that the receiver accepts requests again, and ends the pauses of its warnings.
    fn all_is_well(&mut self, endpoint: &str) {
        let was_away = self.0.remove(&Warning::Away).is_some();
        let had_refused = self.0.remove(&Warning::Refused).is_some();
        if was_away || had_refused {
            tracing::info!("{endpoint} takes metrics again");
        }
    }
}

#[cfg(test)]
mod tests;
