//! The reports of a trace's nodes, and its Events. Most users may read only the Events.

use std::cmp::Ordering;

use jiff::Timestamp;
use k8s_openapi::{NamespaceResourceScope, api::core::v1::Event};
use kube::{Api, Resource, ResourceExt as _, api::ListParams};
use serde::de::DeserializeOwned;
use traffictrace_crd::{TRACE_UID_LABEL, TrafficTrace, TrafficTraceReport, TrafficTraceReportSpec};

use crate::{cluster::Cluster, error::CliError};

/// Maximum number of objects in one response of the API server.
const IN_ONE_ANSWER: u32 = 200;

/// The objects around a trace; `None` for those that the user may not read.
#[derive(Debug, Default)]
pub(crate) struct Around {
    pub(crate) reports: Option<Vec<TrafficTraceReportSpec>>,
    pub(crate) events: Option<Vec<Happened>>,
}

/// An Event of a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Happened {
    /// Time at which the Event happened first.
    pub(crate) time: Option<Timestamp>,
    pub(crate) is_warning: bool,
    pub(crate) reason: String,
    pub(crate) message: String,
    /// Number of times that the Event happened.
    pub(crate) count: i32,
}

impl Around {
    /// Reads the objects from the API server.
    ///
    /// # Errors
    ///
    /// [`CliError`] if a request fails. That the user may not read the objects is not an error.
    pub(crate) async fn of(cluster: &Cluster, trace: &TrafficTrace) -> Result<Self, CliError> {
        let uid = trace.uid().unwrap_or_default();
        let params = ListParams::default().labels(&format!("{TRACE_UID_LABEL}={uid}"));
        let reports = list::<TrafficTraceReport>(cluster, params).await?;
        let reports = reports.map(|reports| {
            let own = reports.into_iter().map(|report| report.spec).filter(|report| report.trace_uid == uid);
            own.collect()
        });
        let params = ListParams::default().fields(&format!("involvedObject.uid={uid}"));
        let events = list::<Event>(cluster, params).await?;
        Ok(Self { reports, events: events.map(|events| happened(&events)) })
    }
}

/// Lists the objects of one type in the namespace; `None` if the user may not list them.
async fn list<K>(cluster: &Cluster, params: ListParams) -> Result<Option<Vec<K>>, CliError>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
{
    let api: Api<K> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let mut params = params.limit(IN_ONE_ANSWER);
    let mut all = Vec::new();
    loop {
        let answer = match api.list(&params).await {
            Ok(answer) => answer,
            Err(kube::Error::Api(status)) if status.code == 403 => return Ok(None),
            Err(error) => return Err(cluster.explain(error).await),
        };
        all.extend(answer.items);
        match answer.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(Some(all)),
        }
    }
}

/// Returns the Events in the order in which they happened.
fn happened(events: &[Event]) -> Vec<Happened> {
    let mut all: Vec<Happened> = events
        .iter()
        .map(|event| {
            let first = event.first_timestamp.as_ref().map(|time| time.0);
            let time = event.event_time.as_ref().map(|time| time.0).or(first);
            let series = event.series.as_ref().and_then(|series| series.count);
            Happened {
                time: time.or(event.metadata.creation_timestamp.as_ref().map(|time| time.0)),
                is_warning: event.type_.as_deref() == Some("Warning"),
                reason: event.reason.clone().unwrap_or_default(),
                message: event.message.clone().unwrap_or_default(),
                count: series.or(event.count).unwrap_or(1).max(1),
            }
        })
        .collect();
    all.sort_by(|a, b| match (a.time, b.time) {
        (Some(a), Some(b)) => a.cmp(&b),
        (a, b) => {
            if a.is_some() {
                Ordering::Less
            } else if b.is_some() {
                Ordering::Greater
            } else {
                Ordering::Equal
            }
        }
    });
    all
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;
    use crate::testing::{cluster, forbidden, running};

    #[tokio::test]
    async fn what_may_not_be_read_is_left_out() {
        let trace = running();
        let uid = trace.uid().unwrap();
        let report = |uid: &str, node: &str| json!({"metadata": {"name": node}, "traceName": "checkout", "traceUID": uid, "nodeName": node});
        let cluster = cluster(move |path| {
            if path.contains("/events") {
                return forbidden();
            }
            // Anybody can give a report the label of this trace, so the UID in the report decides.
            (200, json!({"metadata": {}, "items": [report(&uid, "a"), report("another", "b")]}))
        });
        let around = Around::of(&cluster, &trace).await.unwrap();
        assert_eq!(around.events, None);
        let nodes: Vec<_> = around.reports.unwrap().into_iter().map(|report| report.node_name).collect();
        assert_eq!(nodes, ["a"]);
        let gone = crate::testing::cluster(|_| {
            (500, json!({"code": 500, "message": "broken", "reason": "InternalError"}))
        });
        assert!(Around::of(&gone, &trace).await.is_err());
    }

    #[test]
    fn events_are_in_their_order_and_counted() {
        let event = |reason: &str, fields: serde_json::Value| -> Event {
            let mut event = json!({
                "metadata": {"name": reason}, "involvedObject": {}, "reason": reason, "type": "Warning", "message": "m",
            });
            event.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            from_value(event).unwrap()
        };
        let events = [
            event("Third", json!({"firstTimestamp": "2026-11-23T14:03:00Z", "count": 7})),
            event("Last", json!({"type": "Normal"})),
            event("First", json!({"eventTime": "2026-11-23T14:01:00.000000Z", "series": {"count": 3}})),
        ];
        let happened = happened(&events);
        let shown: Vec<_> = happened.iter().map(|event| (event.reason.as_str(), event.count)).collect();
        assert_eq!(shown, [("First", 3), ("Third", 7), ("Last", 1)]);
        assert!(happened[0].is_warning && !happened[2].is_warning && happened[2].time.is_none());
    }
}
