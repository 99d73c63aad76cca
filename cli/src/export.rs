//! `kubectl traffictrace export`: the numbers of a trace for other programs.

use std::process::ExitCode;

use clap::ValueEnum;
use traffictrace_crd::TrafficTrace;
use traffictrace_otlp::Settings;
use traffictrace_view::{Snapshot, csv, json, losses};

use crate::{
    cluster::ClusterArgs,
    error::CliError,
    http, snapshot,
    text::{print, say},
};

/// Print the numbers of a trace for other programs.
///
/// json is one object with everything, the same as a line of top -o json; yaml is the same in YAML. csv and jsonl have one line for each flow. Their last line,
/// with the command (other) and without a process id, has the sums of all flows that the trace does not list, so the lines add up to the totals. With --http
/// there is one line for each HTTP endpoint instead. These forms have no line for losses, which are printed on standard error.
///
/// --otlp sends the bytes by pod and by process to an OpenTelemetry collector instead of printing them; sending a trace again does not count it twice. If the
/// controller sends the trace there too, its series exist twice, with different service.instance.id, and sums over them count it twice. The variables
/// OTEL_EXPORTER_OTLP_PROTOCOL, _HEADERS, _TIMEOUT, _CERTIFICATE and _COMPRESSION are used.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  # For a spreadsheet
  kubectl traffictrace export checkout -n shop -o csv > checkout.csv

  # Bytes sent by each process, with jq
  kubectl traffictrace export checkout -o jsonl |
    jq -s 'group_by(.command)[] | {process: .[0].command, sent: map(.txBytes) | add}'

  # To an OpenTelemetry collector
  kubectl traffictrace export checkout --otlp http://localhost:4318

  # The object itself
  kubectl traffictrace get checkout -o yaml")]
pub(crate) struct Args {
    /// Name of the trace.
    #[arg(value_name = "TRACE")]
    name: String,

    /// Output format.
    #[arg(short, long, value_enum, required_unless_present = "otlp")]
    output: Option<Output>,

    /// Send the numbers by OTLP to this URL [default: that of OTEL_EXPORTER_OTLP_ENDPOINT].
    #[arg(long, value_name = "URL", num_args = 0..=1, conflicts_with_all = ["output", "http"])]
    otlp: Option<Option<String>>,

    /// Print HTTP endpoints instead of flows in csv and jsonl. json and yaml have both.
    #[arg(long)]
    http: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// One object on one line.
    Json,
    /// One object.
    Yaml,
    /// A line with the names of the columns, then one line for each flow.
    Csv,
    /// One object for each flow, each on one line.
    Jsonl,
}

pub(crate) async fn run(args: &Args, cluster: &ClusterArgs) -> Result<ExitCode, CliError> {
    match (&args.otlp, args.output) {
        (Some(url), _) => {
            let settings = settings(url.as_deref()).map_err(CliError::Usage)?;
            send(&cluster.connect().await?.trace(&args.name).await?, &settings).await
        }
        (None, Some(Output::Json | Output::Yaml)) if args.http => {
            Err(CliError::Usage("--http is for -o csv and jsonl: json and yaml have both".to_owned()))
        }
        (None, Some(output)) => {
            print_as(output, args.http, &cluster.connect().await?.trace(&args.name).await?)
        }
        (None, None) => {
            Err(CliError::Usage("say a form of the numbers, such as -o csv, or --otlp".to_owned()))
        }
    }
}

fn print_as(output: Output, http: bool, trace: &TrafficTrace) -> Result<ExitCode, CliError> {
    let snapshot = if http { http::requests(trace).map_err(CliError::Failed)? } else { snapshot::of(trace) };
    print(&text(output, http, &snapshot)?)?;
    if matches!(output, Output::Csv | Output::Jsonl) {
        losses::in_words(&snapshot).iter().for_each(|loss| say(loss));
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the settings of the receiver of metrics: its URL is given here or in the environment.
fn settings(url: Option<&str>) -> Result<Settings, String> {
    let variable = |name: &str| std::env::var(name).ok();
    match url {
        Some(url) => Settings::of_endpoint("--otlp", url, variable).map_err(|error| error.to_string()),
        None => Settings::from_environment(variable).map_err(|error| error.to_string())?.ok_or_else(|| {
            "--otlp has no URL, and OTEL_EXPORTER_OTLP_ENDPOINT is not set: write one, such as http://localhost:4318"
                .to_owned()
        }),
    }
}

async fn send(trace: &TrafficTrace, settings: &Settings) -> Result<ExitCode, CliError> {
    let sent = traffictrace_otlp::export(trace, settings).await;
    let sent = sent.map_err(|error| CliError::Failed(error.to_string()))?;
    say(&format!("{} series sent to {}", sent.series, settings.endpoint()));
    sent.warning.iter().for_each(|warning| say(&format!("{} warns: {warning}", settings.endpoint())));
    Ok(ExitCode::SUCCESS)
}

fn text(output: Output, http: bool, snapshot: &Snapshot) -> Result<Vec<u8>, CliError> {
    let mut out = Vec::new();
    match (output, http) {
        (Output::Json, _) => json::write(&mut out, snapshot)?,
        (Output::Yaml, _) => {
            let text = serde_saphyr::to_string(snapshot).map_err(std::io::Error::other)?;
            out.extend(text.into_bytes());
            if out.last() != Some(&b'\n') {
                out.push(b'\n');
            }
        }
        (Output::Csv, false) => csv::Writer::new(&mut out, true).write(snapshot)?,
        (Output::Csv, true) => csv::Writer::new(&mut out, true).write_endpoints(snapshot)?,
        (Output::Jsonl, false) => json::write_flows(&mut out, snapshot)?,
        (Output::Jsonl, true) => json::write_endpoints(&mut out, snapshot)?,
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::testing::{HOSTILE, hostile, running, status};

    fn exported(trace: &TrafficTrace, output: Output, http: bool) -> String {
        String::from_utf8(text(output, http, &snapshot::of(trace)).unwrap()).unwrap()
    }

    /// Adds up columns of numbers over all lines of an output format.
    fn sums(trace: &TrafficTrace, output: Output, http: bool, fields: &[&str]) -> Vec<u64> {
        let text = exported(trace, output, http);
        let lines: Vec<Value> = if output == Output::Csv {
            let mut lines = text.lines();
            let header: Vec<_> = lines.next().unwrap().split(',').map(str::to_owned).collect();
            let cell = |text: &str| text.parse::<u64>().map_or(Value::Null, Value::from);
            lines.map(|line| header.iter().cloned().zip(line.split(',').map(cell)).collect()).collect()
        } else {
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
        };
        fields.iter().map(|field| lines.iter().filter_map(|line| line[*field].as_u64()).sum()).collect()
    }

    #[test]
    fn totals_are_those_of_the_status_in_every_form() {
        let trace = running();
        let totals = &trace.status.as_ref().unwrap().totals;
        let yaml: Snapshot = serde_saphyr::from_str(&exported(&trace, Output::Yaml, false)).unwrap();
        let json: Snapshot = serde_json::from_str(&exported(&trace, Output::Json, false)).unwrap();
        assert_eq!(yaml, json);
        let bytes = [totals.rx_bytes, totals.tx_bytes].map(i64::cast_unsigned);
        assert_eq!([json.totals.rx_bytes, json.totals.tx_bytes], bytes);
        for output in [Output::Csv, Output::Jsonl] {
            let fields = ["rxBytes", "txBytes", "connections", "connectFailures", "retransmits"];
            assert_eq!(sums(&trace, output, false, &fields), [bytes[0], bytes[1], 1040, 3, 12], "{output:?}");
            let fields =
                ["requests", "2xx", "5xx", "noResponse", "grpcFailed", "requestBytes", "responseBytes"];
            assert_eq!(
                sums(&trace, output, true, &fields),
                [129_343, 128_880, 443, 20, 4, 40_096_431, 659_649_310],
                "{output:?}"
            );
        }
    }

    #[test]
    fn lines_are_flows() {
        insta::assert_snapshot!(exported(&running(), Output::Jsonl, false));
        insta::assert_snapshot!(exported(&running(), Output::Csv, true).replace('\r', ""));
        insta::assert_snapshot!(exported(&running(), Output::Yaml, false));
    }

    #[test]
    fn hostile_names_are_read_back_whole() {
        for name in HOSTILE {
            let trace = hostile(name);
            let json: Snapshot = serde_json::from_str(&exported(&trace, Output::Json, false)).unwrap();
            assert_eq!(json, snapshot::of(&trace), "{name:?}");
            let yaml: Snapshot = serde_saphyr::from_str(&exported(&trace, Output::Yaml, false)).unwrap();
            assert_eq!(yaml, json, "{name:?}");
            assert!(!exported(&trace, Output::Csv, false).contains('\u{1b}'));
            assert!(!exported(&trace, Output::Yaml, false).contains('\u{1b}'), "{name:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn any_name_is_read_back_whole(name in "\\PC{0,20}|[\\x00-\\x7f]{0,20}", bytes in 0_i64..i64::MAX / 8) {
            let mut trace = hostile(&name);
            status(&mut trace).totals.rx_bytes = bytes;
            let yaml: Snapshot = serde_saphyr::from_str(&exported(&trace, Output::Yaml, false)).unwrap();
            prop_assert_eq!(yaml, snapshot::of(&trace));
        }
    }
}
