//! The traces that an event concerns: no others are looked at.

use super::*;

#[test]
fn pods_of_the_namespace_are_counted_and_others_are_not() {
    let mut state = state();
    tell_trace(&mut state, trace("u1", minute()), 0.0);
    write(&mut state, 0.0);
    for (namespace, node) in [("shop", "n1"), ("shop", "n2"), ("other", "n3")] {
        let pod: k8s_openapi::api::core::v1::Pod = serde_json::from_value(json!({
            "metadata": { "name": node, "namespace": namespace, "uid": node },
            "spec": { "nodeName": node, "containers": [] }, "status": { "phase": "Running" },
        }))
        .unwrap();
        state.tell(Told::Pod(Change::Apply(pod.into())), at(1.0));
    }
    let status = write(&mut state, 10.0);
    assert_eq!((status.pods_matched, status.nodes_matched, status.summary.nodes.as_str()), (2, 2, "0/2"));
}

#[test]
fn a_pod_is_news_for_the_traces_that_select_it() {
    let mut state = state();
    let selecting = |app: &str| json!({ "selector": { "matchLabels": { "app": app } }, "duration": "1m" });
    for app in ["web", "db"] {
        let mut object = trace(app, selecting(app));
        object.metadata.name = Some(app.into());
        tell_trace(&mut state, object, 0.0);
    }
    for action in state.due(at(0.1)) {
        let Action::Write(object, _) = action else { panic!("no status") };
        let uid = object.metadata.uid.clone().unwrap();
        state.done(&uid, Outcome::Written(Box::new(newer(*object))), at(0.1));
    }
    let merges = state.merges;
    let pod = |app: &str| -> k8s_openapi::api::core::v1::Pod {
        serde_json::from_value(json!({
            "metadata": { "name": "p", "namespace": "shop", "uid": "p", "labels": { "app": app } },
            "spec": { "nodeName": "n1", "containers": [] }, "status": { "phase": "Running" },
        }))
        .unwrap()
    };
    for (app, seconds, looks) in [("web", 1.0, 1), ("web", 2.0, 1), ("db", 31.0, 3), ("other", 45.0, 4)] {
        state.tell(Told::Pod(Change::Apply(pod(app).into())), at(seconds));
        for action in state.due(at(seconds + 12.0)) {
            let Action::Write(object, _) = action else { panic!("no status") };
            let uid = object.metadata.uid.clone().unwrap();
            state.done(&uid, Outcome::Written(Box::new(newer(*object))), at(seconds + 12.0));
        }
        assert_eq!(state.merges - merges, looks, "{app} at {seconds}");
    }
}

#[test]
fn an_event_costs_the_same_however_many_traces_there_are() {
    let mut state = state();
    let finished = json!({
        "phase": "Completed", "startTime": at(-99.0).to_string(), "endTime": at(-9.0).to_string(), "observedGeneration": 1,
        "conditions": [{ "type": "Complete", "status": "True", "reason": "AllNodesReported", "message": "",
                         "lastTransitionTime": at(-9.0).to_string() }],
    });
    for at in 0..10_000 {
        let mut object = trace(&format!("u{at}"), minute());
        object.metadata.name = Some(format!("t{at}"));
        object.metadata.namespace = Some(format!("ns{}", at % 50));
        if at >= 100 {
            object.metadata.labels =
                Some([("traffictrace.dev/finished".to_owned(), "true".to_owned())].into());
            object.status = Some(serde_json::from_value(finished.clone()).unwrap());
        }
        tell_trace(&mut state, object, 0.0);
    }
    let actions = state.due(at(0.1));
    assert_eq!((actions.len(), state.merges), (100, 100), "those that run");
    for action in actions {
        let Action::Write(object, _) = action else { panic!("no status") };
        let uid = object.metadata.uid.clone().unwrap();
        state.done(&uid, Outcome::Written(Box::new(newer(*object))), at(0.1));
    }
    assert!(state.due(at(0.2)).is_empty());
    let mut one_report = report("n1", "u7", 1, false);
    one_report.metadata.namespace = Some("ns7".into());
    one_report.spec.trace_name = "t7".into();
    one_report.metadata.name = Some(report_name("u7", "n1"));
    state.tell(Told::Report(Change::Apply(one_report)), at(5.0));
    assert_eq!(state.due(at(20.0)).len(), 1);
    assert_eq!(state.merges, 101, "no other trace was looked at");
    assert_eq!(state.next_due(), Some(at(60.0)));
}
