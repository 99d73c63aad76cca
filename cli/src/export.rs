//! `kubectl traffictrace export`: the numbers of a trace for other programs.

use std::process::ExitCode;

use clap::ValueEnum;
use traffictrace_view::{Snapshot, csv, json, losses};

use crate::{
    cluster::ClusterArgs,
    error::CliError,
    http, snapshot,
    text::{print, say},
};

/// Print the numbers of a trace for other programs.
///
/// json is one object with everything, the same as a line of top -o json; yaml is the same in YAML. csv and jsonl have a line for each
/// flow, and a last one, whose command is (other) and which has no process id, with the sums of all flows that the trace does not
/// list: the lines add up to the totals. With --http the lines are of HTTP endpoints. These forms have no line for what was lost,
/// which is told on standard error.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  # For a spreadsheet
  kubectl traffictrace export checkout -n shop -o csv > checkout.csv

  # Bytes sent by each process, with jq
  kubectl traffictrace export checkout -o jsonl |
    jq -s 'group_by(.command)[] | {process: .[0].command, sent: map(.txBytes) | add}'

  # The object itself
  kubectl traffictrace get checkout -o yaml")]
pub(crate) struct Args {
    /// Name of the trace.
    #[arg(value_name = "TRACE")]
    name: String,

    /// Form of the numbers.
    #[arg(short, long, value_enum)]
    output: Output,

    /// Lines of HTTP endpoints in place of flows, in csv and jsonl. json and yaml have both.
    #[arg(long)]
    http: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// One object on one line.
    Json,
    /// One object.
    Yaml,
    /// A line of comma-separated values for each flow, after one with the names.
    Csv,
    /// An object on a line of its own for each flow.
    Jsonl,
}

pub(crate) async fn run(args: &Args, cluster: &ClusterArgs) -> Result<ExitCode, CliError> {
    if args.http && matches!(args.output, Output::Json | Output::Yaml) {
        return Err(CliError::Usage("--http is for -o csv and jsonl: json and yaml have both".to_owned()));
    }
    let cluster = cluster.connect().await?;
    let trace = cluster.trace(&args.name).await?;
    let snapshot =
        if args.http { http::requests(&trace).map_err(CliError::Failed)? } else { snapshot::of(&trace) };
    print(&text(args, &snapshot)?)?;
    if matches!(args.output, Output::Csv | Output::Jsonl) {
        losses::in_words(&snapshot).iter().for_each(|loss| say(loss));
    }
    Ok(ExitCode::SUCCESS)
}

fn text(args: &Args, snapshot: &Snapshot) -> Result<Vec<u8>, CliError> {
    let mut out = Vec::new();
    match (args.output, args.http) {
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
    use traffictrace_crd::TrafficTrace;

    use super::*;
    use crate::testing::{HOSTILE, hostile, running, status};

    fn exported(trace: &TrafficTrace, output: Output, http: bool) -> String {
        let args = Args { name: "checkout".to_owned(), output, http };
        String::from_utf8(text(&args, &snapshot::of(trace)).unwrap()).unwrap()
    }

    /// Sums of a column of numbers, in the lines of a form.
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
