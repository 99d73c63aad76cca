//! Parts of the schemas that cannot be derived from the types: limits, patterns, and rules with a message for people.
//!
//! The rules use only CEL functions of Kubernetes 1.29: an API server compiles new rules with the functions of the
//! version before its own, and the oldest supported version is 1.30. So `isCIDR`, which came with 1.30, cannot be
//! used.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use crate::{duration, ports};

const LABEL_NAME: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
const IPV4_CIDR: &str = r"^((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])[.]){3}(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])/(3[0-2]|[12]?[0-9])$";
/// IPv6 network as groups of hexadecimal digits. Their number depends on `::`, so the CEL rule in [`cidrs`] checks it.
const IPV6_CIDR: &str = "^(([0-9a-fA-F]{1,4}:){7}[0-9a-fA-F]{1,4}|([0-9a-fA-F]{1,4}(:[0-9a-fA-F]{1,4}){0,6})?::([0-9a-fA-F]{1,4}(:[0-9a-fA-F]{1,4}){0,6})?)/(12[0-8]|1[01][0-9]|[1-9]?[0-9])$";

/// `spec.selector`: the schema of Kubernetes with two additions: size limits, which keep the estimated cost of CEL
/// rules low, and a check of the operators.
pub(crate) fn selector(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = LabelSelector::json_schema(generator);
    let mut requirement =
        k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelectorRequirement::json_schema(generator);
    limit(&mut requirement, "/properties/key", &json!({ "maxLength": 317 }));
    limit(
        &mut requirement,
        "/properties/operator",
        &json!({ "enum": ["In", "NotIn", "Exists", "DoesNotExist"] }),
    );
    limit(&mut requirement, "/properties/values", &json!({ "maxItems": 64 }));
    limit(&mut requirement, "/properties/values/items", &json!({ "maxLength": 63 }));
    requirement.insert(
        "x-kubernetes-validations".into(),
        json!([{
            "rule": "self.operator in ['In', 'NotIn'] ? has(self.values) && size(self.values) > 0 : !has(self.values) || size(self.values) == 0",
            "message": "matchExpressions: In and NotIn need at least one value, Exists and DoesNotExist take none",
        }]),
    );
    limit(&mut schema, "/properties/matchExpressions", &json!({ "maxItems": 16, "items": requirement }));
    limit(&mut schema, "/properties/matchLabels", &json!({ "maxProperties": 32 }));
    limit(&mut schema, "/properties/matchLabels/additionalProperties", &json!({ "maxLength": 63 }));
    schema
}

/// `spec.containers`: a set of container names.
pub(crate) fn containers(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "minItems": 1,
        "maxItems": 32,
        "x-kubernetes-list-type": "set",
        "items": {
            "type": "string",
            "maxLength": 63,
            "x-kubernetes-validations": [{
                "rule": format!("self.matches('{LABEL_NAME}')"),
                "message": "containers: must be the name of a container, of lower-case letters, digits and '-', as in the pod's spec",
            }],
        },
    })
}

/// `spec.protocols`: a set of the three protocols.
pub(crate) fn protocols(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "minItems": 1,
        "maxItems": 3,
        "x-kubernetes-list-type": "set",
        "items": { "type": "string", "enum": ["TCP", "UDP", "ICMP"] },
    })
}

/// `spec.ports`: numbers, or texts that are numbers or ranges.
///
/// API servers before 1.34 ignore `maxLength` here. They estimate the cost of a rule for the largest possible request,
/// multiply it by the number of items, and refuse a definition with a rule whose cost is above 10 million. Splitting at `-`
/// costs 629,145 for each of 15 items; a regular expression, or `type(self) == int` instead of `in`, would exceed the
/// limit. So a pattern outside the rule checks the form.
///
/// The rule's upper bound for texts uses `':'`, the character after `'9'`: a name such as `http` makes the rule false,
/// which shows its message, instead of failing in a conversion.
pub(crate) fn port_list(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "minItems": 1,
        "maxItems": 15,
        "items": {
            "x-kubernetes-int-or-string": true,
            "minimum": 1,
            "maximum": 65535,
            "maxLength": 11,
            "pattern": ports::PATTERN,
            "x-kubernetes-validations": [{
                "rule": "type(self) in [int] || [self.split('-')].all(p, p[0] < ':' && (size(p) == 1 ? int(p[0]) <= 65535 : size(p) == 2 && int(p[0]) <= int(p[1]) && int(p[1]) <= 65535))",
                "message": "ports: must be a port from 1 to 65535 or a range with the smaller port first, such as 8000-8100",
            }],
        },
    })
}

/// `spec.remoteCIDRs`: IPv4 and IPv6 networks.
pub(crate) fn cidrs(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "minItems": 1,
        "maxItems": 16,
        "items": {
            "type": "string",
            "maxLength": 43,
            "x-kubernetes-validations": [{
                "rule": format!(
                    "self.matches('{IPV4_CIDR}') || (self.matches('{IPV6_CIDR}') && (!self.contains('::') || self.split(':').size() <= (self.startsWith('::') || self.contains('::/') ? 9 : 8)))"
                ),
                "message": "remoteCIDRs: must be a network such as 10.0.0.0/8 or 2001:db8::/32; write one address as 10.1.2.3/32 or 2001:db8::1/128",
            }],
        },
    })
}

/// `spec.interval`.
pub(crate) fn interval(generator: &mut SchemaGenerator) -> Schema {
    duration_of(
        generator,
        &format!("{} && duration(self) >= duration('5s')", is_duration()),
        "interval: must be a duration such as 30s, 10m or 1h, at least 5s",
    )
}

/// `spec.duration`.
pub(crate) fn trace_duration(generator: &mut SchemaGenerator) -> Schema {
    duration_of(
        generator,
        &format!(
            "{} && duration(self) >= duration('5s') && duration(self) <= duration('24h')",
            is_duration()
        ),
        "duration: must be a duration such as 30s, 10m or 1h, at least 5s and at most 24h",
    )
}

/// `spec.ttlAfterFinished`.
pub(crate) fn ttl(generator: &mut SchemaGenerator) -> Schema {
    duration_of(
        generator,
        &format!("self == '{}' || {}", duration::NEVER, is_duration()),
        "ttlAfterFinished: must be a duration such as 30s, 10m or 1h, or Never",
    )
}

/// CEL expression that is true if a text has the form of a duration.
fn is_duration() -> String {
    format!("self.matches('{}')", duration::PATTERN)
}

fn duration_of(generator: &mut SchemaGenerator, rule: &str, message: &str) -> Schema {
    let mut schema = duration::Duration::json_schema(generator);
    schema.insert("x-kubernetes-validations".into(), json!([{ "rule": rule, "message": message }]));
    schema
}

/// `status.conditions`, with the limits of Kubernetes' own type (`metav1.Condition`). At most 8 conditions, which
/// keeps the estimated cost of the trace's CEL rule on them low.
pub(crate) fn conditions(generator: &mut SchemaGenerator) -> Schema {
    let mut condition = Condition::json_schema(generator);
    for (field, limits) in [
        (
            "type",
            json!({
                "maxLength": 316,
                "pattern": "^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$",
            }),
        ),
        ("status", json!({ "enum": ["True", "False", "Unknown"] })),
        (
            "reason",
            json!({
                "minLength": 1, "maxLength": 1024, "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
            }),
        ),
        ("message", json!({ "maxLength": 32768 })),
        ("observedGeneration", json!({ "minimum": 0 })),
    ] {
        limit(&mut condition, &format!("/properties/{field}"), &limits);
    }
    json_schema!({
        "type": "array",
        "maxItems": 8,
        "items": condition,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
    })
}

/// Adds the keywords in `more` to the part of a schema that a JSON pointer names.
fn limit(schema: &mut Schema, pointer: &str, more: &Value) {
    if let (Some(Value::Object(part)), Some(more)) = (schema.pointer_mut(pointer), more.as_object()) {
        for (key, value) in more {
            part.insert(key.clone(), value.clone());
        }
    }
}

/// Removes the defaults from a type that only our own programs write: the API server must not fill in numbers there.
pub(crate) fn without_defaults(schema: &mut Schema) {
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        for property in properties.values_mut().filter_map(Value::as_object_mut) {
            property.remove("default");
        }
    }
}
