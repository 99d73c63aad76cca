//! The command line of `traffictrace http`.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::selection::SelectionArgs;
use crate::host::{EngineArgs, FilterArgs, TargetArgs, interval, some_time};

/// Show every HTTP request of one container, cgroup or process, on the side of the server and of the client.
///
/// Each request is one line, printed when the request is complete. TIME is the time of its first byte; FIRST and TOTAL are
/// the durations from there to the first and the last byte of the response. Requests of HTTP/1.0, HTTP/1.1, HTTP/2 and gRPC
/// are shown and, with --tls, those that OpenSSL or Go encrypts. A request whose connection closed without a response is
/// shown as "no response". Paths are shown without their query, and parts that look like a secret are masked. With --all,
/// --host and --container each line names the container or service.
#[derive(Debug, Clone, Args)]
pub(crate) struct HttpArgs {
    #[command(flatten)]
    pub(super) target: TargetArgs,

    /// Read the plain text of TLS, too, at the functions of the processes' own libraries: OpenSSL 1.1 and 3, and Go's
    /// crypto/tls. Traffic that
    /// cannot be read is reported at the end, with the reason.
    #[arg(long)]
    pub(super) tls: bool,

    /// Show a table of endpoints every interval instead of each request.
    #[arg(long)]
    pub(super) summary: bool,

    /// With --summary: time between two tables, such as 1s, 500ms or 1m; at least 100ms.
    #[arg(long, default_value = "5s", value_parser = interval, requires = "summary")]
    pub(super) interval: Duration,

    /// With --summary: show this many endpoints, those with the most requests [default: 20 in a table; all in JSON].
    #[arg(long, value_name = "ENDPOINTS", requires = "summary")]
    top: Option<usize>,

    /// End after this time, such as 30s or 5m [default: go on until Ctrl-C].
    #[arg(long, value_name = "TIME", value_parser = some_time)]
    pub(super) duration: Option<Duration>,

    /// Output format.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub(super) output: Output,

    #[command(flatten)]
    pub(super) engine: EngineArgs,

    #[command(flatten)]
    pub(super) selection: SelectionArgs,

    // The filter comes last, because its heading would also apply to options that follow.
    #[command(flatten)]
    pub(super) filter: FilterArgs,
}

/// Output format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Text for people.
    Text,
    /// JSON for programs, one object a line. The last one has the totals of all requests, and what could not be
    /// observed.
    Json,
}

impl HttpArgs {
    /// Returns the maximum number of endpoints in a summary.
    pub(super) fn top(&self) -> usize {
        self.top.unwrap_or(match self.output {
            Output::Text => 20,
            Output::Json => usize::MAX,
        })
    }
}
