//! Tests of the settings from OpenTelemetry's environment variables.

use crate::{Client, Settings};

fn read(variables: &[(&str, &str)]) -> Result<Option<Settings>, String> {
    let variable = |name: &str| {
        let found = variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    Settings::from_environment(variable).map_err(|error| error.to_string())
}

fn endpoint(variables: &[(&str, &str)]) -> String {
    read(variables).unwrap().unwrap().endpoint()
}

#[test]
fn the_url_of_metrics_goes_before_that_of_all_signals_and_is_taken_as_it_is() {
    let all = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
    assert_eq!(endpoint(&[all]), "http://collector:4318/v1/metrics");
    assert_eq!(
        endpoint(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/a/")]),
        "http://collector:4318/a/v1/metrics"
    );
    let own = ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "https://metrics.example/write");
    assert_eq!(endpoint(&[all, own]), "https://metrics.example/write");
    let grpc = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    assert_eq!(
        endpoint(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317"), grpc]),
        "http://collector:4317/"
    );
}

#[test]
fn without_a_url_or_when_it_is_disabled_nothing_is_sent() {
    assert!(read(&[]).unwrap().is_none());
    assert!(read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]).unwrap().is_none());
    let all = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
    assert!(read(&[all, ("OTEL_SDK_DISABLED", "True")]).unwrap().is_none());
}

#[test]
fn what_cannot_be_used_is_named_with_the_remedy() {
    let url = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
    for (variables, words) in [
        (vec![("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318")], "is no URL of a receiver of OTLP"),
        (vec![("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://collector")], "neither http:// nor https://"),
        (vec![("OTEL_EXPORTER_OTLP_ENDPOINT", "collector")], "no http:// or https:// in front"),
        (vec![("OTEL_EXPORTER_OTLP_ENDPOINT", "http://me:secret@collector")], "OTEL_EXPORTER_OTLP_HEADERS"),
        (vec![url, ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")], "give http/protobuf or grpc"),
        (vec![url, ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "x")], "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL"),
        (vec![url, ("OTEL_EXPORTER_OTLP_COMPRESSION", "br")], "give gzip or none"),
        (vec![url, ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s")], "milliseconds"),
        (vec![url, ("OTEL_EXPORTER_OTLP_TIMEOUT", "0")], "milliseconds"),
        (vec![url, ("OTEL_EXPORTER_OTLP_HEADERS", "a=1,secret")], "entry 2 of the list is without ="),
        (
            vec![url, ("OTEL_EXPORTER_OTLP_HEADERS", "a b=secret")],
            "entry 1 of the list is no name of a header",
        ),
        (
            vec![url, ("OTEL_EXPORTER_OTLP_HEADERS", "a=secret%0a")],
            "entry 1 of the list is no value of a header",
        ),
        (vec![url, ("OTEL_RESOURCE_ATTRIBUTES", "=x")], "OTEL_RESOURCE_ATTRIBUTES: entry 1"),
    ] {
        let error = read(&variables).unwrap_err();
        assert!(error.contains(words), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
}

#[test]
fn secrets_are_not_in_what_is_logged() {
    let url = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
    let settings = read(&[url, ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=hunter2")]).unwrap().unwrap();
    assert!(!format!("{settings:?}").contains("hunter2"), "{settings:?}");
}

#[tokio::test]
async fn resource_attributes_are_added_and_may_replace_the_service_name() {
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318"),
        ("OTEL_RESOURCE_ATTRIBUTES", "k8s.cluster.name=north,service.name=a"),
        ("OTEL_SERVICE_NAME", "b"),
    ];
    let client = Client::new(&read(&variables).unwrap().unwrap(), "instance-1").unwrap();
    let resource = format!("{:?}", client.resource());
    for text in ["k8s.cluster.name", "\"north\"", "\"b\"", "\"instance-1\""] {
        assert!(resource.contains(text), "{resource}");
    }
    assert!(!resource.contains("\"traffictrace\"") && !resource.contains("\"a\""), "{resource}");
}

#[tokio::test]
async fn certificates_that_cannot_be_used_are_named() {
    let folder = std::env::temp_dir().join(format!("traffictrace-otlp-{}", std::process::id()));
    std::fs::write(&folder, "none").unwrap();
    let file = folder.to_str().unwrap();
    for (path, words) in [(file, "there is none in it"), ("/nowhere/ca.pem", "No such file")] {
        let variables = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector:4318"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", path),
        ];
        let error = Client::new(&read(&variables).unwrap().unwrap(), "x").unwrap_err().to_string();
        assert!(error.contains(words) && error.contains(path), "{error}");
    }
    std::fs::remove_file(&folder).unwrap();
}
