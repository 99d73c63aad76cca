//! `kubectl traffictrace diff`: two traces side by side.

mod compare;
mod form;

use std::process::ExitCode;

use clap::ValueEnum;
use traffictrace_view::{losses, rows::View};

use self::compare::{Comparison, Side};
use crate::{
    cluster::{Cluster, ClusterArgs},
    error::CliError,
    text::{print, quoted, say},
};

/// Exit statuses, like those of kubectl diff, which returns 0 if there is no difference.
const DIFFERENT: u8 = 1;
const FAILED: u8 = 2;

/// Compare two traces, such as one before a change and one after it.
///
/// Shows totals and rows side by side, with their difference and ratio. If the traces have different lengths, bytes per second
/// are the better comparison, and are shown too. A row may be new or gone, or not among the flows that the other trace lists.
///
/// The exit status is 0 if the traces have the same numbers, 1 if they differ, and 2 after an error.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  # Who sends more than yesterday?
  kubectl traffictrace diff yesterday today -n shop

  # By peer, of traces in two namespaces
  kubectl traffictrace diff staging/checkout production/checkout --by peer

  # Rows whose bytes have at least doubled, with jq
  kubectl traffictrace diff before after -o json | jq '.rows[] | select(.txBytes.ratio >= 2)'")]
pub(crate) struct Args {
    /// The first trace, as NAME or NAMESPACE/NAME.
    #[arg(value_name = "TRACE")]
    a: String,

    /// The second trace, as NAME or NAMESPACE/NAME.
    #[arg(value_name = "TRACE")]
    b: String,

    /// Unit that one row stands for. Processes and endpoints are summed up over all pods, whose names change with each
    /// roll-out.
    #[arg(long, value_enum, default_value_t = By::Process)]
    by: By,

    /// Output format.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,

    /// Maximum number of rows, those with the largest difference first [default: 20 in a table; all in JSON and CSV].
    #[arg(long, value_name = "ROWS")]
    top: Option<usize>,
}

/// The unit that a row stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    Process,
    Pod,
    Peer,
    Endpoint,
}

impl From<By> for View {
    fn from(by: By) -> Self {
        match by {
            By::Process => Self::Process,
            By::Pod => Self::Pod,
            By::Peer => Self::Peer,
            By::Endpoint => Self::Endpoint,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    Table,
    /// One object.
    Json,
    /// One line for each row; the lines add up to the totals.
    Csv,
}

pub(crate) async fn run(args: &Args, cluster: &ClusterArgs) -> Result<ExitCode, CliError> {
    match compare(args, cluster).await {
        Ok(true) => Ok(ExitCode::SUCCESS),
        Ok(false) => Ok(DIFFERENT.into()),
        // The reader of a pipe has closed it, which is not an error.
        Err(CliError::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            Ok(DIFFERENT.into())
        }
        Err(error) => {
            say(&error.to_string());
            Ok(FAILED.into())
        }
    }
}

/// Prints the comparison and returns true if there is no difference.
async fn compare(args: &Args, cluster: &ClusterArgs) -> Result<bool, CliError> {
    let cluster = cluster.connect().await?;
    let (a, b) = (side(&cluster, &args.a).await?, side(&cluster, &args.b).await?);
    let comparison = Comparison::new(a, b, args.by.into());
    let most = args.top.unwrap_or(if args.output == Output::Table { 20 } else { usize::MAX });
    let text = match args.output {
        Output::Table => form::table(&comparison, most).into_bytes(),
        Output::Json => form::json(&comparison, most)?,
        Output::Csv => form::csv(&comparison, most)?,
    };
    print(&text)?;
    if args.output != Output::Table {
        for (name, side) in [("A", &comparison.a), ("B", &comparison.b)] {
            losses::in_words(&side.snapshot).iter().for_each(|loss| say(&format!("{name}: {loss}")));
        }
    }
    Ok(comparison.is_equal())
}

async fn side(cluster: &Cluster, text: &str) -> Result<Side, CliError> {
    let (namespace, name) = named(text, &cluster.namespace).map_err(CliError::Usage)?;
    let cluster = Cluster { namespace: namespace.to_owned(), ..cluster.clone() };
    Ok(Side::new(&cluster.trace(name).await?))
}

/// Splits an argument into the namespace and the name of a trace.
fn named<'a>(text: &'a str, namespace: &'a str) -> Result<(&'a str, &'a str), String> {
    let (namespace, name) = text.split_once('/').unwrap_or((namespace, text));
    if namespace.is_empty() || name.is_empty() || name.contains('/') {
        return Err(format!("cannot read {} as a trace: write NAME or NAMESPACE/NAME", quoted(text)));
    }
    Ok((namespace, name))
}

#[cfg(test)]
mod tests;
