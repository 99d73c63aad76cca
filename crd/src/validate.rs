//! Validation of manifests read from files, by the rules of the schema and without an API server.
//!
//! All rules come from the generated schema: `walk` checks its limits, and `kube` evaluates its CEL rules. Facts that
//! neither can express, such as whether a text is a valid network, are checked last, with the agents' own parsers.

use std::fmt;
use std::sync::LazyLock;

use ipnet::IpNet;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::CustomResourceExt as _;
use kube::core::Selector;
use kube::core::cel::ValidationErrors;
use regex::Regex;
use serde_json::{Map, Value};

use crate::ports::{self, parse_port, parse_ports};
use crate::trace::{TrafficTrace, TrafficTraceSpec};

/// An error in one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// Path of the field, such as `spec.ports[0]`.
    pub field: String,
    /// The error and its remedy.
    pub message: String,
}

/// Errors of a manifest that the API server would refuse too.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ValidationFailed {
    /// All errors; at least one.
    pub errors: Vec<FieldError>,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

impl fmt::Display for ValidationFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let errors: Vec<String> = self.errors.iter().map(FieldError::to_string).collect();
        f.write_str(&errors.join("; "))
    }
}

impl TrafficTrace {
    /// Reads a manifest as the API server would: unknown fields, wrong types and broken limits or rules are errors, and
    /// absent fields get their defaults.
    ///
    /// # Errors
    ///
    /// [`ValidationFailed`] with every field that is wrong.
    pub fn from_manifest(manifest: &Value) -> Result<Self, ValidationFailed> {
        let schema = root_schema()?;
        let mut errors = Vec::new();
        let Some(fields) = manifest.as_object() else {
            return Err(one("manifest", "must be an object with apiVersion, kind, metadata and spec"));
        };
        for (field, wanted) in
            [("apiVersion", format!("{}/{}", crate::GROUP, crate::VERSION)), ("kind", "TrafficTrace".into())]
        {
            if fields.get(field).and_then(Value::as_str) != Some(wanted.as_str()) {
                errors.push(FieldError { field: field.into(), message: format!("must be {wanted}") });
            }
        }
        for field in fields.keys() {
            if !["apiVersion", "kind", "metadata", "spec", "status"].contains(&field.as_str()) {
                errors.push(unknown(field));
            }
        }
        match fields.get("spec") {
            None => errors.push(FieldError { field: "spec".into(), message: "is required".into() }),
            Some(spec) => walk(&schema["properties"]["spec"], spec, "spec", &mut errors),
        }
        if manifest.pointer("/metadata/name").and_then(Value::as_str).is_none_or(str::is_empty) {
            errors.push(FieldError { field: "metadata.name".into(), message: "is required".into() });
        }
        fail_on(errors)?;
        let trace: Self =
            serde_json::from_value(manifest.clone()).map_err(|e| one("manifest", &e.to_string()))?;
        trace.validate()?;
        Ok(trace)
    }

    /// Checks the spec against the limits and rules of the schema.
    ///
    /// # Errors
    ///
    /// [`ValidationFailed`] with every field that is wrong.
    pub fn validate(&self) -> Result<(), ValidationFailed> {
        let mut errors = Vec::new();
        let spec = serde_json::to_value(&self.spec).map_err(|e| one("spec", &e.to_string()))?;
        walk(&root_schema()?["properties"]["spec"], &spec, "spec", &mut errors);
        // As on the API server, CEL rules are evaluated only if all values have the right form.
        fail_on(errors)?;
        fail_on(self.spec.port_errors())?;
        self.for_rules().validate_cel().map_err(|errors| from_cel(&errors))?;
        fail_on(self.spec.meaning_errors())
    }

    /// Checks a change against the rules on fields that may not change.
    ///
    /// # Errors
    ///
    /// [`ValidationFailed`] with every field that is wrong.
    pub fn validate_change(&self, old: &Self) -> Result<(), ValidationFailed> {
        self.validate()?;
        self.for_rules().validate_cel_update(&old.for_rules()).map_err(|errors| from_cel(&errors))
    }

    /// Returns a copy of the trace with every port as text. The schema's rule uses `type()` to accept numbers, but the
    /// Rust implementation of CEL has no `type()`. `port_errors` checks numbers as that rule does.
    fn for_rules(&self) -> Self {
        let mut trace = self.clone();
        for port in &mut trace.spec.ports {
            if let IntOrString::Int(number) = port {
                *port = IntOrString::String(number.to_string());
            }
        }
        trace
    }
}

impl TrafficTraceSpec {
    /// Checks for invalid ports and reversed ranges.
    fn port_errors(&self) -> Vec<FieldError> {
        let parsed = self.ports.iter().map(parse_port).enumerate();
        parsed
            .filter_map(|(at, port)| {
                port.err().map(|e| FieldError { field: format!("spec.ports[{at}]"), message: e.to_string() })
            })
            .collect()
    }

    /// Checks for values that the schema accepts but an agent cannot use.
    fn meaning_errors(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut push = |field: String, message: String| errors.push(FieldError { field, message });
        for (at, cidr) in self.remote_cidrs.iter().enumerate() {
            if let Err(e) = cidr.parse::<IpNet>() {
                push(format!("spec.remoteCIDRs[{at}]"), format!("cannot read {cidr:?} as a network: {e}"));
            }
        }
        for (field, read) in [
            ("interval", self.interval.get().map(drop)),
            ("duration", self.duration.get().map(drop)),
            ("ttlAfterFinished", self.ttl().map(drop)),
        ] {
            if let Err(e) = read {
                push(format!("spec.{field}"), e.to_string());
            }
        }
        if let Err(e) = Selector::try_from(self.selector.clone()) {
            push("spec.selector".into(), e.to_string());
        }
        errors
    }
}

/// The schema of a trace, made once because a starting controller checks every trace of the cluster.
fn root_schema() -> Result<&'static Value, ValidationFailed> {
    static SCHEMA: LazyLock<Result<Value, String>> = LazyLock::new(|| {
        let definition = serde_json::to_value(TrafficTrace::crd()).map_err(|e| e.to_string())?;
        Ok(definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone())
    });
    SCHEMA.as_ref().map_err(|message| one("schema", message))
}

fn one(field: &str, message: &str) -> ValidationFailed {
    ValidationFailed { errors: vec![FieldError { field: field.into(), message: message.into() }] }
}

fn unknown(field: &str) -> FieldError {
    FieldError {
        field: field.into(),
        message: "there is no such field; see kubectl explain traffictrace.spec".into(),
    }
}

fn fail_on(errors: Vec<FieldError>) -> Result<(), ValidationFailed> {
    if errors.is_empty() { Ok(()) } else { Err(ValidationFailed { errors }) }
}

/// Converts the errors of CEL rules. Their messages begin with the field's name, because some servers show them
/// without a path; here the path is known, so the name is removed.
fn from_cel(errors: &ValidationErrors) -> ValidationFailed {
    let errors = errors
        .iter()
        .map(|error| {
            let name = error.field_path.rsplit('.').next().unwrap_or_default();
            let name = name.split('[').next().unwrap_or_default();
            let message = error.message.strip_prefix(&format!("{name}: ")).unwrap_or(&error.message);
            FieldError { field: error.field_path.clone(), message: message.into() }
        })
        .collect();
    ValidationFailed { errors }
}

/// Checks `value` against `schema`: types, fields, sizes, patterns and choices.
fn walk(schema: &Value, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let mut push = |message: String| errors.push(FieldError { field: path.to_owned(), message });
    match value {
        Value::Object(fields) if is(schema, "object") => walk_object(schema, fields, path, errors),
        Value::Array(items) if is(schema, "array") => {
            let count = items.len() as u64;
            if schema["maxItems"].as_u64().is_some_and(|max| count > max) {
                push(format!("must have at most {} items, has {count}", schema["maxItems"]));
            }
            if schema["minItems"].as_u64().is_some_and(|min| count < min) {
                push("must have at least one item; leave the field out for all".into());
            }
            if schema["x-kubernetes-list-type"] == "set"
                && let Some(twice) = items.iter().enumerate().find(|(at, item)| items[..*at].contains(item))
            {
                push(format!("has {} twice", twice.1));
            }
            for (at, item) in items.iter().enumerate() {
                walk(&schema["items"], item, &format!("{path}[{at}]"), errors);
            }
        }
        Value::String(text) if is(schema, "string") || is_int_or_string(schema) => {
            if let Some(message) = text_error(schema, text) {
                push(message);
            }
        }
        Value::Number(number) if is(schema, "integer") || is_int_or_string(schema) => {
            let Some(number) = number.as_i64() else {
                return push(format!("must be a whole number, is {number}"));
            };
            // A definition stores limits as floating-point numbers, but all of ours are integers.
            let limit = |name: &str| schema[name].as_f64().map(|limit| limit as i64);
            match (limit("minimum"), limit("maximum")) {
                (Some(least), Some(most)) if number < least || number > most => {
                    push(format!("must be from {least} to {most}, is {number}"));
                }
                _ => {}
            }
        }
        Value::Bool(_) if is(schema, "boolean") => {}
        other => push(format!("must be of type {}, is {other}", type_name(schema))),
    }
}

fn walk_object(schema: &Value, fields: &Map<String, Value>, path: &str, errors: &mut Vec<FieldError>) {
    if schema["maxProperties"].as_u64().is_some_and(|max| fields.len() as u64 > max) {
        let message = format!("must have at most {} entries, has {}", schema["maxProperties"], fields.len());
        errors.push(FieldError { field: path.to_owned(), message });
    }
    for (name, value) in fields {
        let path = format!("{path}.{name}");
        match (schema["properties"].get(name), schema.get("additionalProperties")) {
            (Some(field), _) | (None, Some(field)) => walk(field, value, &path, errors),
            (None, None) => errors.push(unknown(&path)),
        }
    }
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !fields.contains_key(name) {
            errors.push(FieldError { field: format!("{path}.{name}"), message: "is required".into() });
        }
    }
}

fn text_error(schema: &Value, text: &str) -> Option<String> {
    if let Some(choices) = schema["enum"].as_array() {
        let known: Vec<&str> = choices.iter().filter_map(Value::as_str).collect();
        return (!known.contains(&text)).then(|| format!("must be one of {}, is {text:?}", known.join(", ")));
    }
    if schema["maxLength"].as_u64().is_some_and(|max| text.chars().count() as u64 > max) {
        return Some(format!("must have at most {} characters", schema["maxLength"]));
    }
    let pattern = schema["pattern"].as_str()?;
    // The parser's message is clearer to people than the pattern.
    if pattern == ports::PATTERN {
        return parse_ports(text).err().map(|e| e.to_string());
    }
    let matches = Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(text));
    (!matches).then(|| format!("must match {pattern}, is {text:?}"))
}

fn is(schema: &Value, name: &str) -> bool {
    schema["type"] == name
}

fn is_int_or_string(schema: &Value) -> bool {
    schema["x-kubernetes-int-or-string"] == true
}

fn type_name(schema: &Value) -> &str {
    if is_int_or_string(schema) { "number or text" } else { schema["type"].as_str().unwrap_or("unknown") }
}

#[cfg(test)]
mod tests;
