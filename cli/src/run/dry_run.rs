//! `run --dry-run`, which creates nothing.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use traffictrace_crd::TrafficTrace;

use super::{Args, DryRun, RunOutput, target::Target};
use crate::{cluster::Cluster, error::CliError, object, text::say};

/// Prints what would be created.
pub(super) async fn run(
    args: &Args,
    target: &Target,
    name: Option<&str>,
    cluster: &Cluster,
) -> Result<ExitCode, CliError> {
    let found = target.find(cluster).await?;
    let mut trace = super::trace(args, target, name, &found);
    trace.metadata.namespace = Some(cluster.namespace.clone());
    if args.dry_run == DryRun::Server {
        trace = match cluster.traces().create(&object::parameters(true), &trace).await {
            Ok(trace) => trace,
            Err(error) => return Err(cluster.explain(error).await),
        };
        trace.metadata.managed_fields = None;
    } else {
        trace.validate().map_err(|failed| CliError::Failed(format!("the trace is invalid: {failed}")))?;
    }
    if let Some(notice) = &found.notice {
        say(notice);
    }
    print(&trace, args.output, args.dry_run == DryRun::Server)?;
    Ok(ExitCode::SUCCESS)
}

/// Prints an object that a dry run would have created.
fn print(trace: &TrafficTrace, output: RunOutput, is_of_server: bool) -> Result<(), CliError> {
    let invalid =
        |cause: &dyn std::fmt::Display| CliError::Failed(format!("cannot write the trace as text: {cause}"));
    let text = match output {
        RunOutput::Name => object::full_name(trace) + "\n",
        RunOutput::Yaml => serde_saphyr::to_string(trace).map_err(|cause| invalid(&cause))?,
        RunOutput::Json => serde_json::to_string_pretty(trace).map_err(|cause| invalid(&cause))? + "\n",
        RunOutput::Table => {
            let whose = if is_of_server { "server dry run" } else { "dry run" };
            format!("{} created ({whose})\n", object::full_name(trace))
        }
        RunOutput::Csv => return Err(CliError::Usage("--dry-run prints -o yaml, json or name".to_owned())),
    };
    Ok(io::stdout().write_all(text.as_bytes())?)
}
