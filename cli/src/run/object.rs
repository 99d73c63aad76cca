//! The object of a run: its names, its text, its end.

use std::{
    io::{self, Write as _},
    time::Duration,
};

use kube::{
    Resource as _, ResourceExt as _,
    api::{DeleteParams, Preconditions},
};
use tokio::time::{Instant, sleep, timeout_at};
use traffictrace_crd::{GROUP, TrafficTrace};

use super::RunOutput;
use crate::{cluster::Cluster, error::CliError, stop::Stop, text::say};

/// Longest time to try to delete a trace.
const DELETING: Duration = Duration::from_secs(15);
/// Time between two attempts.
const PAUSE: Duration = Duration::from_secs(1);

/// The name of a trace as kubectl prints it.
pub(super) fn full_name(trace: &TrafficTrace) -> String {
    let name = trace.metadata.name.as_ref().or(trace.metadata.generate_name.as_ref());
    format!("{}.{GROUP}/{}", TrafficTrace::kind(&()).to_lowercase(), name.map_or("", |name| name))
}

/// What to do with a trace that stays.
pub(super) fn kept(trace: &TrafficTrace, namespace: &str) -> String {
    let name = trace.name_any();
    format!(
        "Trace {namespace}/{name} is kept; it ends {} after its start. To see it again: kubectl traffictrace top {name} -n \
         {namespace}. To end and delete it: kubectl delete traffictrace {name} -n {namespace}",
        trace.spec.duration
    )
}

/// Prints an object that a dry run would have created.
pub(super) fn print(trace: &TrafficTrace, output: RunOutput, is_of_server: bool) -> Result<(), CliError> {
    let invalid = |cause: &dyn std::fmt::Display| {
        CliError::Failed(format!("cannot write the trace as text: {cause}"))
    };
    let text = match output {
        RunOutput::Name => full_name(trace) + "\n",
        RunOutput::Yaml => serde_saphyr::to_string(trace).map_err(|cause| invalid(&cause))?,
        RunOutput::Json => serde_json::to_string_pretty(trace).map_err(|cause| invalid(&cause))? + "\n",
        RunOutput::Table => {
            let whose = if is_of_server { "server dry run" } else { "dry run" };
            format!("{} created ({whose})\n", full_name(trace))
        }
        RunOutput::Csv => return Err(CliError::Usage("--dry-run prints -o yaml, json or name".to_owned())),
    };
    Ok(io::stdout().write_all(text.as_bytes())?)
}

/// Deletes a trace; one that is gone already is fine.
pub(super) async fn delete(cluster: &Cluster, trace: &TrafficTrace, stop: &mut Stop) -> Result<(), CliError> {
    let name = trace.name_any();
    // Of that name there may be another by now.
    let preconditions = Preconditions { uid: trace.uid(), resource_version: None };
    let params = DeleteParams::background().preconditions(preconditions);
    let traces = cluster.traces();
    let deadline = Instant::now() + DELETING;
    let mut is_told = false;
    let last = loop {
        let answer = tokio::select! {
            answer = timeout_at(deadline, traces.delete(&name, &params)) => answer,
            () = stop.asked(2) => break "the command was asked twice to end".to_owned(),
        };
        let error = match answer {
            Ok(Ok(_)) => {
                say(&format!("{} deleted", full_name(trace)));
                return Ok(());
            }
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => return Ok(()),
            Ok(Err(error)) => CliError::of(error, &cluster.url).to_string(),
            Err(_) => format!("no answer from {} within {} s", cluster.url, DELETING.as_secs()),
        };
        if Instant::now() + PAUSE >= deadline {
            break error;
        }
        if !std::mem::replace(&mut is_told, true) {
            say(&format!("{error}. Trying again to delete the trace; Ctrl-C leaves it."));
        }
        tokio::select! { () = sleep(PAUSE) => {}, () = stop.asked(2) => break error }
    };
    Err(CliError::Failed(format!(
        "trace {}/{name} could not be deleted ({last}): it ends by itself {} after its start and is deleted {} later; to delete \
         it now: kubectl delete traffictrace {name} -n {}",
        cluster.namespace, trace.spec.duration, trace.spec.ttl_after_finished, cluster.namespace
    )))
}
