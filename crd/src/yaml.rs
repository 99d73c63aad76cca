//! The custom resource definitions as YAML, for `manifests/crds`, the chart and `traffictrace crd`.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;

use crate::{TrafficTrace, TrafficTraceProfile, TrafficTraceReport};

/// All definitions, each with the plural name of its resource.
#[must_use]
pub fn all_crds() -> [(&'static str, CustomResourceDefinition); 3] {
    [
        ("traffictraces", TrafficTrace::crd()),
        ("traffictracereports", TrafficTraceReport::crd()),
        ("traffictraceprofiles", TrafficTraceProfile::crd()),
    ]
}

/// A definition could not be written as YAML.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the definition of {resource} as YAML: {cause}")]
pub struct YamlError {
    resource: &'static str,
    cause: serde_saphyr::SerializeError,
}

/// Returns one definition as YAML.
///
/// # Errors
///
/// [`YamlError`] if the definition cannot be serialised.
pub fn crd_yaml(resource: &'static str, crd: &CustomResourceDefinition) -> Result<String, YamlError> {
    let mut text = serde_saphyr::to_string(crd).map_err(|cause| YamlError { resource, cause })?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

/// Returns all definitions as one YAML stream.
///
/// # Errors
///
/// [`YamlError`] if a definition cannot be serialised.
pub fn all_crds_yaml() -> Result<String, YamlError> {
    let texts: Result<Vec<String>, YamlError> =
        all_crds().iter().map(|(resource, crd)| crd_yaml(resource, crd)).collect();
    Ok(texts?.join("---\n"))
}
