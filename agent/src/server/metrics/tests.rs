use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use prometheus_client::registry::Registry;

use super::*;
use crate::engine::{EngineStats, ProgramStats};

/// Returns the text of all metrics, with a value for each.
fn text() -> String {
    let (agent, agents) = AgentMetrics::new();
    agent.common.watch_interrupted("pods");
    let programs = vec![ProgramStats { name: "tt_send".into(), time: Duration::from_millis(5), runs: 7 }];
    agent.set_engine(&EngineStats { programs, ..EngineStats::default() });
    agent.report_written(Written::Ok);
    agent.drained(Duration::from_millis(2));
    let (controller, controllers) = ControllerMetrics::new();
    controller.common.watch_interrupted("pods");
    controller.written(Written::Conflict, Duration::from_millis(2));
    controller.otlp.sent("ok");
    let encode = |registry: &Registry| {
        let mut text = String::new();
        prometheus_client::encoding::text::encode_registry(&mut text, registry).unwrap();
        text
    };
    encode(&agents) + &encode(&controllers)
}

/// Returns the names of the metrics in Prometheus.
fn names(text: &str) -> BTreeSet<String> {
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples.filter_map(|line| line.split(['{', ' ']).next()).map(str::to_owned).collect()
}

#[test]
fn every_metric_says_what_it_is() {
    let text = text();
    for name in names(&text) {
        let base =
            ["_total", "_bucket", "_sum", "_count", "_info"].iter().find_map(|end| name.strip_suffix(end));
        let told = |kind: &str| {
            [Some(name.as_str()), base]
                .iter()
                .flatten()
                .any(|name| text.contains(&format!("# {kind} {name} ")))
        };
        assert!(told("HELP") && told("TYPE"), "{name}");
        assert!(
            name.starts_with("traffictrace_agent_") || name.starts_with("traffictrace_controller_"),
            "{name}"
        );
    }
    for (line, kind) in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')) {
        if kind == "counter" {
            assert!(text.contains(&format!("\n{line}_total")), "a counter without _total: {line}");
        }
    }
}

#[test]
fn losses_are_counters_that_do_not_fall() {
    let (agent, registry) = AgentMetrics::new();
    for (missed, table) in [(5, 1), (3, 2), (7, 2)] {
        let losses = crate::engine::Losses { missed_events: missed, table_full: table, ..Default::default() };
        agent.set_engine(&EngineStats { losses, ..EngineStats::default() });
    }
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for line in ["losses_total{reason=\"missedEvents\"} 7", "losses_total{reason=\"flowTableFull\"} 2"] {
        assert!(text.contains(line), "{text}");
    }
}

/// Every metric that the chart's rules and dashboard name must exist.
#[test]
fn rules_and_dashboard_name_metrics_that_exist() {
    let known = names(&text());
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/traffictrace");
    let mut found = BTreeSet::new();
    for file in ["files/rules.yaml", "files/dashboard.json"] {
        let file = fs::read_to_string(chart.join(file)).unwrap();
        let words = file.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        found.extend(words.filter(|word| word.starts_with("traffictrace_")).map(str::to_owned));
    }
    assert!(found.len() >= 12, "{found:?}");
    let unknown: Vec<_> = found.difference(&known).collect();
    assert!(unknown.is_empty(), "{unknown:?} of {known:?}");
}
