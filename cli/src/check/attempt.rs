//! The trace that `check --try` creates to see whether the controller and the agents respond.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use tokio::time::{Instant, timeout_at};
use traffictrace_crd::{TrafficTrace, TrafficTraceSpec, condition_reason as reason, condition_type as kind};

use super::findings::Attempt;
use crate::{
    cluster::Cluster,
    error::{CliError, and_then},
    follow::{Event, Watch},
    object,
    stop::Stop,
};

/// Maximum time to wait for the controller's response, and for those of the nodes.
const CONTROLLER: Duration = Duration::from_secs(4);
const NODES: Duration = Duration::from_secs(10);

/// Traces all pods of the namespace until every node has reported or the time is over, then deletes the trace.
pub(super) async fn run(cluster: &Cluster, stop: &mut Stop) -> Result<Attempt, CliError> {
    let spec = TrafficTraceSpec {
        selector: LabelSelector::default(),
        top_flows: 1,
        interval: traffictrace_crd::Duration::new("5s"),
        duration: traffictrace_crd::Duration::new("1m"),
        ttl_after_finished: traffictrace_crd::Duration::new("1m"),
        ..TrafficTraceSpec::default()
    };
    let mut trace = TrafficTrace::new("", spec);
    trace.metadata.name = None;
    trace.metadata.generate_name = Some("check-".to_owned());
    let trace = object::create(cluster, &trace, stop).await?;
    let attempt = answers(cluster, &trace, stop).await;
    and_then(attempt, object::delete(cluster, &trace, stop).await.map(drop))
}

async fn answers(cluster: &Cluster, trace: &TrafficTrace, stop: &mut Stop) -> Result<Attempt, CliError> {
    let mut watch = Watch::new(cluster, trace);
    let begin = Instant::now();
    let mut attempt = Attempt::default();
    loop {
        let deadline = begin + if attempt.controller_answers { NODES } else { CONTROLLER };
        let event = tokio::select! {
            event = timeout_at(deadline, watch.next()) => event,
            () = stop.asked() => return Err(interrupted()),
        };
        match event {
            // On a timeout, the result is what has been seen so far.
            Err(_) => return Ok(attempt),
            Ok(Event::Trace(trace)) => {
                attempt = seen(&trace);
                let is_without_pods = attempt.controller_answers && attempt.nodes == 0;
                if attempt.nodes > 0 && attempt.nodes_reporting >= attempt.nodes || is_without_pods {
                    return Ok(attempt);
                }
            }
            Ok(Event::Gone) => {
                return Err(CliError::Failed("somebody has deleted the trace that was tried".to_owned()));
            }
            Ok(Event::Interrupted(_)) => {}
            Ok(Event::Refused(error)) => return Err(error),
        }
    }
}

fn interrupted() -> CliError {
    CliError::Interrupted(
        "controller and agents did not have the time to answer the trace that was tried, so it is not known whether they do; to \
         try again: kubectl traffictrace check --try"
            .to_owned(),
    )
}

fn seen(trace: &TrafficTrace) -> Attempt {
    let Some(status) = &trace.status else { return Attempt::default() };
    let tracing = status.conditions.iter().find(|condition| condition.type_ == kind::TRACING);
    let tracing = tracing.filter(|condition| condition.reason != reason::NO_PODS);
    Attempt {
        controller_answers: status.observed_generation.is_some(),
        pods: status.pods_matched,
        nodes: status.nodes_matched,
        nodes_reporting: status.nodes_reporting,
        message: tracing
            .filter(|_| status.nodes_reporting < status.nodes_matched)
            .map(|condition| condition.message.clone()),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        process::ExitCode,
        sync::{Arc, Mutex},
    };

    use serde_json::json;

    use super::*;
    use crate::testing::{cluster, created};

    #[tokio::test]
    async fn an_interrupted_attempt_concludes_nothing() {
        // Lists have the trace without a status, and every watch fails, so the attempt waits until it is interrupted.
        let cluster = cluster(|url| match url.contains("watch=true") {
            true => (500, json!({"kind": "Status", "status": "Failure", "code": 500, "message": "no"})),
            false => (200, json!({"metadata": {"resourceVersion": "1"}, "items": [created()]})),
        });
        let (requests, mut stop) = Stop::by_hand();
        let trace = created();
        let (answer, _) =
            tokio::join!(answers(&cluster, &trace, &mut stop), async { requests.send_replace(1) });
        let error = answer.unwrap_err();
        assert!(matches!(&error, CliError::Interrupted(_)), "{error}");
        assert_eq!(error.exit_code(), ExitCode::from(130));
    }

    #[tokio::test]
    async fn an_interrupted_attempt_is_deleted() {
        let (requests, mut stop) = Stop::by_hand();
        let names = Arc::new(Mutex::new(Vec::new()));
        let asked = Arc::clone(&names);
        // The user asks to end while the trace is being created.
        let cluster = cluster(move |url| {
            requests.send_replace(1);
            let path = url.split('?').next().unwrap_or_default();
            asked.lock().unwrap().push(path.rsplit('/').next().unwrap_or_default().to_owned());
            (200, json!(created()))
        });
        let error = run(&cluster, &mut stop).await.unwrap_err();
        assert!(matches!(&error, CliError::Interrupted(_)), "{error}");
        let names = names.lock().unwrap();
        assert_eq!(
            (names.first().map(String::as_str), names.last().map(String::as_str)),
            (Some("traffictraces"), Some("new"))
        );
    }
}
