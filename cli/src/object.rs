//! Creation, naming and deletion of traces.

use std::time::Duration;

use kube::{
    Resource as _, ResourceExt as _,
    api::{DeleteParams, PostParams, Preconditions},
};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use traffictrace_crd::{GROUP, TrafficTrace};

use crate::{cluster::Cluster, error::CliError, stop::Stop, text::say};

/// Name of the plugin as a field manager, which the API server records in objects.
const MANAGER: &str = "kubectl-traffictrace";
/// Time that a pending request still gets for its response when the user wants to end.
const LAST_ANSWER: Duration = Duration::from_secs(2);
/// Maximum time for attempts to delete a trace.
const DELETING: Duration = Duration::from_secs(15);
/// Pause between two attempts.
const PAUSE: Duration = Duration::from_secs(1);

/// Returns the name of a trace as kubectl prints it.
pub(crate) fn full_name(trace: &TrafficTrace) -> String {
    let name = trace.metadata.name.as_ref().or(trace.metadata.generate_name.as_ref());
    format!("{}.{GROUP}/{}", TrafficTrace::kind(&()).to_lowercase(), name.map_or("", |name| name))
}

/// Returns a message that says how to follow and delete a trace that is kept.
pub(crate) fn kept(trace: &TrafficTrace, namespace: &str) -> String {
    let name = trace.name_any();
    format!(
        "Trace {namespace}/{name} is kept; it ends {} after its start. To see it again: kubectl traffictrace top {name} -n \
         {namespace}. To end and delete it: kubectl delete traffictrace {name} -n {namespace}",
        trace.spec.duration
    )
}

/// Creates a trace. If the user asks to end meanwhile, the response is still awaited for a moment, since a trace that was created
/// has to be deleted.
pub(crate) async fn create(
    cluster: &Cluster,
    trace: &TrafficTrace,
    stop: &mut Stop,
) -> Result<TrafficTrace, CliError> {
    let traces = cluster.traces();
    let params = parameters(false);
    let mut request = std::pin::pin!(traces.create(&params, trace));
    let answer = tokio::select! {
        answer = &mut request => answer,
        () = stop.asked() => match timeout(LAST_ANSWER, request).await {
            Ok(answer) => answer,
            Err(_) => {
                return Err(CliError::Interrupted(format!(
                    "no answer from {} to the creation of the trace, which may be there: kubectl get traffictraces -n {}",
                    cluster.url, cluster.namespace
                )));
            }
        },
    };
    match answer {
        Ok(trace) => Ok(trace),
        Err(error) => Err(cluster.explain(error).await),
    }
}

/// Returns the parameters of a creation; with `dry_run`, nothing is created.
pub(crate) fn parameters(dry_run: bool) -> PostParams {
    PostParams { dry_run, field_manager: Some(MANAGER.to_owned()) }
}

/// Deletes a trace. Returns `false` if the trace is gone already. At least one attempt is made. Earlier requests to end are
/// ignored here; a new one ends the attempts.
pub(crate) async fn delete(cluster: &Cluster, trace: &TrafficTrace, stop: &Stop) -> Result<bool, CliError> {
    let mut stop = stop.anew();
    let name = trace.name_any();
    // The precondition keeps a newer trace of the same name from being deleted.
    let preconditions = Preconditions { uid: trace.uid(), resource_version: None };
    let params = DeleteParams::background().preconditions(preconditions);
    let traces = cluster.traces();
    let deadline = Instant::now() + DELETING;
    let mut is_told = false;
    let last = loop {
        let mut request = std::pin::pin!(timeout_at(deadline, traces.delete(&name, &params)));
        let answer = tokio::select! {
            answer = &mut request => answer,
            () = stop.asked() => match timeout(LAST_ANSWER, request).await {
                Ok(answer) => answer,
                Err(_) => break format!("no answer from {} when the command was to end", cluster.url),
            },
        };
        let error = match answer {
            Ok(Ok(_)) => return Ok(true),
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => return Ok(false),
            Ok(Err(error)) => CliError::of(error, &cluster.url).to_string(),
            Err(_) => format!("no answer from {} within {} s", cluster.url, DELETING.as_secs()),
        };
        if Instant::now() + PAUSE >= deadline {
            break error;
        }
        if !std::mem::replace(&mut is_told, true) {
            say(&format!("{error}. Trying again to delete the trace; Ctrl-C leaves it."));
        }
        tokio::select! { () = sleep(PAUSE) => {}, () = stop.asked() => break error }
    };
    Err(CliError::Failed(format!(
        "trace {}/{name} could not be deleted ({last}): it ends by itself {} after its start and is deleted {} later; to delete \
         it now: kubectl delete traffictrace {name} -n {}",
        cluster.namespace, trace.spec.duration, trace.spec.ttl_after_finished, cluster.namespace
    )))
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    use serde_json::json;

    use super::*;
    use crate::testing::{cluster, running};

    /// A cluster that responds to deletions with `status`, and a counter of the deletions.
    fn deleting(status: u16) -> (Cluster, Arc<AtomicU32>) {
        let attempts = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&attempts);
        let cluster = cluster(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            let word = if status == 200 { "Success" } else { "Failure" };
            (
                status,
                json!({"kind": "Status", "status": word, "code": status, "message": "no", "reason": "InternalError"}),
            )
        });
        (cluster, attempts)
    }

    #[tokio::test]
    async fn earlier_requests_to_end_do_not_keep_a_trace_from_being_deleted() {
        let (requests, stop) = Stop::by_hand();
        requests.send_replace(2);
        let (cluster, attempts) = deleting(200);
        assert!(delete(&cluster, &running(), &stop).await.unwrap());
        assert_eq!(attempts.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_request_to_end_leaves_a_trace_that_cannot_be_deleted() {
        let (requests, stop) = Stop::by_hand();
        let (cluster, attempts) = deleting(500);
        let trace = running();
        let ask = async {
            while attempts.load(Ordering::Relaxed) == 0 {
                tokio::task::yield_now().await;
            }
            requests.send_replace(1);
        };
        let (deleted, ()) = tokio::join!(delete(&cluster, &trace, &stop), ask);
        let error = deleted.unwrap_err().to_string();
        assert!(error.contains("could not be deleted") && error.contains("to delete it now"), "{error}");
        assert!(attempts.load(Ordering::Relaxed) <= 2);
    }
}
