//! `kubectl traffictrace run`: a trace that lasts as long as the user looks at it.

mod dry_run;
pub(crate) mod selector;
mod spec;
mod target;

use std::{path::PathBuf, process::ExitCode};

use clap::ValueEnum;
use kube::ResourceExt as _;
use traffictrace_crd::TrafficTrace;

pub(crate) use self::spec::{INTERVAL, TOP_FLOWS, TTL};
use self::{
    spec::SpecArgs,
    target::{Found, Target},
};
use crate::{
    cluster::ClusterArgs,
    error::{CliError, and_then},
    follow::{FollowArgs, Output, Plan, Seen, follow},
    object, report,
    stop::Stop,
    text::say,
};

/// Trace pods and follow the trace live.
///
/// Creates a TrafficTrace, shows its numbers, and deletes it at the end: when the user quits, at Ctrl-C, or after --duration. On a
/// terminal this is a live screen: ? shows its keys, q quits. In a pipe, or with --no-tui, a table is printed for each report of
/// the nodes. The only right that this needs is to edit the namespace.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  # Which process of the namespace floods the network?
  kubectl traffictrace run

  # Which process of these pods uses the network, and whom does it talk to?
  kubectl traffictrace run -l app=web -n shop

  # The same of a Deployment, for two minutes, HTTPS alone
  kubectl traffictrace run deploy/web --duration 2m --port 443

  # Of every pod of the namespace, by pod, the connections that it opens to a network outside of the cluster
  kubectl traffictrace run --by pod --direction Outbound --remote-cidr 203.0.113.0/24

  # HTTP requests, and which code sends and receives; keep the trace for a report
  kubectl traffictrace run -l app=web --http --stacks --keep checkout

  # Five minutes, and a page about them to send to a colleague
  kubectl traffictrace run -l app=web --duration 5m --report web.html

  # One line of JSON for each report
  kubectl traffictrace run -l 'app in (web, api),!canary' -o json --duration 1m

  # The manifest, without creating anything
  kubectl traffictrace run deploy/web --dry-run=client -o yaml")]
pub(crate) struct Args {
    /// What to trace, as pod/NAME, deploy/NAME, sts/NAME, ds/NAME, rs/NAME, job/NAME or svc/NAME [default: every pod of the
    /// namespace, or those with the labels of -l]; then the name of the trace [default: a name made from what is traced].
    #[arg(value_name = "KIND/NAME | TRACE", num_args = 0..=2)]
    names: Vec<String>,

    /// Labels of the pods to trace, such as app=web or 'app in (web, api),tier!=cache,!canary'.
    #[arg(short = 'l', long, value_name = "LABELS")]
    selector: Option<String>,

    /// Keep the trace when this command ends. It continues until --duration has passed.
    #[arg(long)]
    keep: bool,

    /// At the end, write a report of the trace to this file, as the command report does, with the totals over time.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,

    /// Print the object instead of creating it, either as this machine (client) or as the API server (server) would
    /// complete it.
    #[arg(
        long,
        value_enum,
        value_name = "WHO",
        num_args = 0..=1,
        require_equals = true,
        default_value_t = DryRun::None,
        default_missing_value = "client"
    )]
    dry_run: DryRun,

    /// Output format without the live screen; yaml and name are for --dry-run.
    #[arg(short, long, value_enum, default_value_t = RunOutput::Table)]
    output: RunOutput,

    #[command(flatten)]
    spec: SpecArgs,

    #[command(flatten)]
    follow: FollowArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DryRun {
    None,
    Client,
    Server,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum RunOutput {
    Table,
    Json,
    Csv,
    Yaml,
    Name,
}

impl Args {
    /// Returns the target of the trace, and the name of the trace if one is given.
    fn target(&self) -> Result<(Target, Option<&str>), String> {
        let (object, name) = match self.names.as_slice() {
            [] => (None, None),
            [one] if one.contains('/') => (Some(one), None),
            [one] => (None, Some(one.as_str())),
            [object, name, ..] => (Some(object), Some(name.as_str())),
        };
        let target = match (object, &self.selector) {
            (Some(object), None) => Target::object(object)?,
            (None, selector) => target::labels(selector.as_deref().unwrap_or_default())?,
            (Some(object), Some(_)) => {
                return Err(format!("{object} and labels cannot be given at once: leave one of them out"));
            }
        };
        Ok((target, name))
    }

    /// Returns the output format of the numbers; an error for formats that only a dry run has.
    fn output(&self) -> Result<Output, String> {
        match self.output {
            RunOutput::Table => Ok(Output::Table),
            RunOutput::Json => Ok(Output::Json),
            RunOutput::Csv => Ok(Output::Csv),
            RunOutput::Yaml | RunOutput::Name => {
                Err("-o yaml and -o name print what --dry-run would create; to print numbers, write -o table, json or \
                     csv"
                    .to_owned())
            }
        }
    }
}

pub(crate) async fn run(args: &Args, cluster: &ClusterArgs) -> Result<ExitCode, CliError> {
    let (target, name) = args.target().map_err(CliError::Usage)?;
    if args.dry_run != DryRun::None {
        return dry_run::run(args, &target, name, &cluster.connect().await?).await;
    }
    let output = args.output().map_err(CliError::Usage)?;
    if let Some(path) = &args.report {
        report::check(path)?;
    }
    let mut stop = Stop::listen()?;
    let cluster = cluster.connect().await?;
    let found = target.find(&cluster).await?;
    let trace = trace(args, &target, name, &found);
    let trace = object::create(&cluster, &trace, &mut stop).await?;
    say(&format!("{} created", object::full_name(&trace)));
    if let Some(notice) = &found.notice {
        say(notice);
    }
    let filter = found.pod.map(|pod| format!("pod:={pod}")).unwrap_or_default();
    let plan = Plan { args: &args.follow, output, filter, limit: None };
    let mut seen = Seen::new(trace.clone());
    let followed = follow(&cluster, &mut seen, &plan, &mut stop).await;
    let label = format!("{}/{}", cluster.namespace, trace.name_any());
    let mut result = followed.and_then(|ending| ending.result(&label));
    if let Some(path) = &args.report {
        let mut stop = stop.anew();
        // Profiles are deleted together with their trace, so the report is written first.
        let reported = tokio::select! {
            reported = report::write(&cluster, seen, None, path) => reported,
            () = stop.asked() => Err(CliError::Interrupted("the report was not written".to_owned())),
        };
        result = and_then(result, reported);
    }
    if args.keep {
        say(&object::kept(&trace, &cluster.namespace));
        return result;
    }
    let deleted = object::delete(&cluster, &trace, &stop).await;
    if deleted.as_ref().is_ok_and(|is_deleted| *is_deleted) {
        say(&format!("{} deleted", object::full_name(&trace)));
    }
    and_then(result, deleted.map(drop))
}

/// Makes the object from the command line.
fn trace(args: &Args, target: &Target, name: Option<&str>, found: &Found) -> TrafficTrace {
    let mut trace = TrafficTrace::new("", args.spec.spec(found.selector.clone(), args.keep));
    trace.metadata.name = name.map(str::to_owned);
    if name.is_none() {
        trace.metadata.generate_name = Some(target.generate_name());
    }
    trace
}

/// Returns the spec that a command line makes, for pods selected by labels.
#[cfg(test)]
pub(crate) fn parsed(words: &[String]) -> Result<traffictrace_crd::TrafficTraceSpec, String> {
    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }
    let words = ["run"].into_iter().chain(words.iter().map(String::as_str));
    let Line { args } = clap::Parser::try_parse_from(words).map_err(|error| error.to_string())?;
    let selector = selector::parse(args.selector.as_deref().unwrap_or_default())?;
    Ok(args.spec.spec(selector, args.keep))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn args(words: &[&str]) -> Result<Args, clap::Error> {
        Line::try_parse_from(["run"].iter().chain(words)).map(|line| line.args)
    }

    #[test]
    fn pods_are_named_by_labels_or_by_an_object_or_are_all() {
        let name = |words: &[&str]| {
            let args = args(words).unwrap();
            args.target().map(|(target, name)| (target.generate_name(), name.map(str::to_owned)))
        };
        let named = |base: &str, name: Option<&str>| Ok((base.to_owned(), name.map(str::to_owned)));
        assert_eq!(name(&["-l", "app=web"]), named("web-", None));
        assert_eq!(name(&["-l", "app=web", "checkout"]), named("web-", Some("checkout")));
        assert_eq!(name(&["deploy/web"]), named("web-", None));
        assert_eq!(name(&["deploy/web", "checkout"]), named("web-", Some("checkout")));
        assert_eq!(name(&[]), named("trace-", None));
        assert_eq!(name(&["checkout"]), named("trace-", Some("checkout")));
        for (words, part) in [
            (&["deploy/web", "-l", "app=web"][..], "at once"),
            (&["node/a"], "cannot trace"),
            (&["-l", "app in"], "the selector"),
        ] {
            let error = name(words).unwrap_err();
            assert!(error.contains(part), "{words:?}: {error}");
        }
    }

    #[test]
    fn a_dry_run_is_asked_for_as_of_kubectl() {
        for (words, expected) in [
            (&[][..], DryRun::None),
            (&["--dry-run"], DryRun::Client),
            (&["--dry-run=server"], DryRun::Server),
            (&["--dry-run", "deploy/web"], DryRun::Client),
        ] {
            assert_eq!(args(words).unwrap().dry_run, expected, "{words:?}");
        }
    }
}
