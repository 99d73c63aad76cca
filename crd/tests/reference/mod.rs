//! `docs/reference.md`, a reference of all fields for people, made from the definitions' schemas.

use std::fmt::{self, Write as _};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::Value;

const HEAD: &str = "\
<!-- Generated from the crd crate by scripts/generate.sh. Do not edit. -->

# Fields

Every field of a TrafficTrace, as `kubectl explain traffictrace.spec` shows it too. [traces.md](traces.md) explains them with
examples. `[]` stands for each element of a list, and `*` for each value of a map. A TrafficTraceReport is a private format
between agents and the controller, and is not described here.
";

/// Writes the page.
pub(crate) fn page(definitions: &[(&str, CustomResourceDefinition)]) -> Result<String, fmt::Error> {
    let mut page = HEAD.to_owned();
    for (resource, definition) in definitions {
        if *resource == "traffictracereports" {
            continue;
        }
        let definition = serde_json::to_value(definition).expect("a definition is plain data");
        kind(&mut page, &definition)?;
    }
    Ok(page)
}

fn kind(page: &mut String, definition: &Value) -> fmt::Result {
    let version = &definition["spec"]["versions"][0];
    let schema = &version["schema"]["openAPIV3Schema"];
    let names = &definition["spec"]["names"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    writeln!(page, "\n## {}\n", text(&names["kind"]))?;
    writeln!(page, "{}\n", in_a_table(&text(&schema["description"])))?;
    let group = text(&definition["spec"]["group"]);
    let short = names["shortNames"].as_array().into_iter().flatten().map(text).collect::<Vec<_>>().join(", ");
    writeln!(page, "`{group}/{}`, short name `{short}`.", text(&version["name"]))?;
    for part in ["spec", "status"] {
        let fields = &schema["properties"][part];
        if fields.is_object() {
            table(page, part, fields, part)?;
            rules(page, part, fields)?;
        }
    }
    let mut others = schema["properties"].clone();
    for known in ["apiVersion", "kind", "metadata", "spec", "status"] {
        others.as_object_mut().map(|fields| fields.remove(known));
    }
    if others.as_object().is_some_and(|fields| !fields.is_empty()) {
        table(page, "Fields", &serde_json::json!({ "properties": others }), "")?;
    }
    columns(page, version)?;
    Ok(())
}

fn table(page: &mut String, part: &str, fields: &Value, prefix: &str) -> fmt::Result {
    writeln!(page, "\n### {part}\n\n| field | type | meaning |\n|---|---|---|")?;
    rows(page, fields, prefix)?;
    Ok(())
}

/// Writes one row for each field, including the fields of nested objects.
fn rows(page: &mut String, schema: &Value, prefix: &str) -> fmt::Result {
    let required: Vec<_> = schema["required"].as_array().into_iter().flatten().collect();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        let mut meaning = in_a_table(field["description"].as_str().unwrap_or_default());
        if required.contains(&&Value::from(name.as_str())) && path.starts_with("spec") {
            meaning.push_str(" Required.");
        }
        if let Some(default) = field.get("default") {
            let default = default.as_str().map_or_else(|| default.to_string(), str::to_owned);
            write!(meaning, " Default: `{default}`.")?;
        }
        writeln!(page, "| `{path}` | {} | {meaning} |", type_of(field))?;
        // The fields of these two are Kubernetes' own types, documented there.
        if name == "selector" || name == "conditions" {
            continue;
        }
        rows(page, field, &path)?;
        rows(page, &field["items"], &format!("{path}[]"))?;
        rows(page, &field["additionalProperties"], &format!("{path}.*"))?;
    }
    Ok(())
}

fn type_of(field: &Value) -> String {
    if let Some(values) = field["enum"].as_array() {
        return values
            .iter()
            .map(|value| format!("`{}`", value.as_str().unwrap_or("null")))
            .collect::<Vec<_>>()
            .join(", ");
    }
    if field["x-kubernetes-int-or-string"] == true {
        return "number or text".to_owned();
    }
    match field["type"].as_str().unwrap_or_default() {
        "array" => format!("list of {}", type_of(&field["items"])),
        "object" if field["additionalProperties"].is_object() => {
            format!("map to {}", type_of(&field["additionalProperties"]))
        }
        "string" if field["format"] == "date-time" => "time".to_owned(),
        "string" => "text".to_owned(),
        "integer" => "number".to_owned(),
        "boolean" => "true or false".to_owned(),
        other => other.to_owned(),
    }
}

/// Writes the validation rules between fields, as the messages that the API server refuses with.
fn rules(page: &mut String, part: &str, fields: &Value) -> fmt::Result {
    let mut messages = Vec::new();
    collect_rules(fields, part, &mut messages);
    if messages.is_empty() {
        return Ok(());
    }
    writeln!(page, "\nWhat the API server refuses, in its words:\n")?;
    for (path, message) in messages {
        writeln!(page, "* `{path}`: {message}")?;
    }
    Ok(())
}

fn collect_rules(schema: &Value, path: &str, messages: &mut Vec<(String, String)>) {
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        if let Some(message) = rule["message"].as_str() {
            messages.push((path.to_owned(), in_a_table(message)));
        }
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        collect_rules(field, &format!("{path}.{name}"), messages);
    }
    if schema["items"].is_object() {
        collect_rules(&schema["items"], &format!("{path}[]"), messages);
    }
}

fn columns(page: &mut String, version: &Value) -> fmt::Result {
    writeln!(page, "\n### Columns of `kubectl get`\n\n| column | where | meaning |\n|---|---|---|")?;
    for column in version["additionalPrinterColumns"].as_array().into_iter().flatten() {
        let text = |name: &str| in_a_table(column[name].as_str().unwrap_or_default());
        let place = if column["priority"].as_i64().unwrap_or(0) > 0 { "`-o wide`" } else { "always" };
        writeln!(page, "| {} | {place} | {} |", text("name"), text("description"))?;
    }
    Ok(())
}

/// Escapes a text for a cell of a Markdown table.
fn in_a_table(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}
