//! Tests that generated files are up to date and that the samples are valid.
//!
//! `scripts/generate.sh` runs this test with `TRAFFICTRACE_GENERATE=1`, which writes the files. Without the variable the
//! test compares them.

mod reference;

use std::fs;
use std::path::{Path, PathBuf};

use ipnet::Ipv4Net;
use traffictrace_crd::TrafficTrace;
use traffictrace_crd::yaml::{all_crds, crd_yaml};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

const HEADER: &str = "# Generated from the crd crate by scripts/generate.sh. Do not edit.\n";

/// The chart's copy of a definition. It is a template, so that `helm upgrade` updates the definition, and has the
/// annotation that keeps the definition when the chart is uninstalled, since deleting a definition deletes every
/// object of its kind.
fn chart_template(yaml: &str) -> String {
    assert!(!yaml.contains("{{"), "a description would be taken for a template");
    let annotated =
        yaml.replacen("metadata:\n", "metadata:\n  annotations:\n    helm.sh/resource-policy: keep\n", 1);
    assert_ne!(annotated, yaml, "the definition has no metadata to annotate");
    format!("{{{{- if .Values.crds.install }}}}\n{annotated}{{{{- end }}}}\n")
}

fn generated_files() -> Vec<(PathBuf, String)> {
    let mut files = vec![(
        Path::new("docs/reference.md").to_owned(),
        reference::page(&all_crds()).expect("a text grows"),
    )];
    for (resource, crd) in all_crds() {
        let yaml = crd_yaml(resource, &crd).expect("a definition is plain data");
        let name = format!("{resource}.yaml");
        files.push((Path::new("manifests/crds").join(&name), format!("{HEADER}{yaml}")));
        let template = chart_template(&yaml);
        files.push((
            Path::new("charts/traffictrace/templates/crds").join(&name),
            format!("{HEADER}{template}"),
        ));
    }
    files
}

#[test]
fn generated_files_are_up_to_date() {
    let write = std::env::var_os("TRAFFICTRACE_GENERATE").is_some();
    for (path, text) in generated_files() {
        let full = repository().join(&path);
        if write {
            fs::create_dir_all(full.parent().unwrap()).unwrap();
            fs::write(&full, text).unwrap();
        } else {
            let stored = fs::read_to_string(&full).unwrap_or_default();
            assert!(stored == text, "{} is stale: run scripts/generate.sh and commit", path.display());
        }
    }
}

#[test]
fn samples_are_valid_and_survive_the_types() {
    let mut samples = 0;
    for entry in fs::read_dir(repository().join("manifests/samples")).unwrap() {
        let path = entry.unwrap().path();
        let manifest: serde_json::Value =
            serde_saphyr::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let trace =
            TrafficTrace::from_manifest(&manifest).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let again = TrafficTrace::from_manifest(&serde_json::to_value(&trace).unwrap()).unwrap();
        assert_eq!(again, trace, "{}", path.display());
        let spec = serde_json::to_value(&trace.spec).unwrap();
        for (field, value) in manifest["spec"].as_object().unwrap() {
            assert_eq!(spec[field], *value, "{}: spec.{field}", path.display());
        }
        samples += 1;
    }
    assert!(samples >= 3);
}

#[test]
fn the_schema_is_one_that_kubernetes_takes() {
    for (resource, crd) in all_crds() {
        let json = serde_json::to_value(&crd).unwrap();
        let text = json.to_string();
        // The API server knows int32 and int64 only and warns about others.
        assert!(!text.contains("\"uint"), "{resource} has an unsigned format");
        assert_eq!(json["spec"]["versions"][0]["name"], "v1alpha1");
        let mut undescribed = Vec::new();
        check_fields(&json["spec"]["versions"][0]["schema"]["openAPIV3Schema"], "", &mut undescribed);
        assert!(undescribed.is_empty(), "{resource}: no kubectl explain text or no type: {undescribed:?}");
    }
}

/// Collects fields without a description or a type, recursively.
fn check_fields(schema: &serde_json::Value, path: &str, undescribed: &mut Vec<String>) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        if field["description"].is_null() && !path.starts_with(".metadata") {
            undescribed.push(path.clone());
        }
        if field["type"].is_null() && field["x-kubernetes-int-or-string"].is_null() {
            undescribed.push(format!("{path} (type)"));
        }
        check_fields(field, &path, undescribed);
        check_fields(&field["items"], &format!("{path}[]"), undescribed);
    }
}

#[test]
fn the_sample_of_outbound_traffic_has_all_of_ipv4_but_one_network() {
    let path = repository().join("manifests/samples/processes.yaml");
    let manifest: serde_json::Value = serde_saphyr::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let trace = TrafficTrace::from_manifest(&manifest).unwrap();
    let mut networks: Vec<Ipv4Net> =
        trace.spec.remote_cidrs.iter().filter_map(|network| network.parse().ok()).collect();
    assert_eq!(networks.len() + 1, trace.spec.remote_cidrs.len(), "one network is of IPv6");
    let inside: Ipv4Net = "10.0.0.0/8".parse().unwrap();
    let overlaps = |network: &Ipv4Net| network.contains(&inside) || inside.contains(network);
    assert!(!networks.iter().any(overlaps), "{networks:?}");
    networks.push(inside);
    assert_eq!(Ipv4Net::aggregate(&networks), ["0.0.0.0/0".parse().unwrap()]);
}
