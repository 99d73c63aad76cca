//! Label selectors in kubectl's syntax: `app=web,tier!=cache,env in (a, b),!legacy`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use crate::text::quoted;

/// Parses a selector. An empty selector selects everything.
///
/// # Errors
///
/// A sentence that names the requirement that cannot be parsed.
pub(crate) fn parse(text: &str) -> Result<LabelSelector, String> {
    let mut selector = LabelSelector::default();
    for requirement in split(text)? {
        add(&mut selector, requirement.trim()).map_err(|why| {
            format!("cannot read {} of the selector {}: {why}", quoted(requirement.trim()), quoted(text))
        })?;
    }
    Ok(selector)
}

/// Splits a selector into requirements at the commas outside parentheses.
fn split(text: &str) -> Result<Vec<&str>, String> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let (mut parts, mut begin, mut is_open) = (Vec::new(), 0, false);
    for (at, character) in text.char_indices() {
        match character {
            '(' if !is_open => is_open = true,
            ')' if is_open => is_open = false,
            '(' | ')' => {
                return Err(format!("cannot read the selector {}: {character} does not fit", quoted(text)));
            }
            ',' if !is_open => {
                parts.push(&text[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    if is_open {
        return Err(format!("cannot read the selector {}: ) is missing", quoted(text)));
    }
    parts.push(&text[begin..]);
    Ok(parts)
}

/// Adds one requirement to a selector.
fn add(selector: &mut LabelSelector, requirement: &str) -> Result<(), String> {
    if let Some(absent) = requirement.strip_prefix('!') {
        return express(selector, key(absent)?, "DoesNotExist", Vec::new());
    }
    if requirement.contains(['<', '>']) {
        return Err("a trace selects by =, !=, in, notin, KEY and !KEY alone".to_owned());
    }
    if let Some((set, rest)) = requirement.split_once('(') {
        let Some(values) = rest.strip_suffix(')') else {
            return Err("there is something after the parenthesis".to_owned());
        };
        let (name, operator) = set
            .trim()
            .rsplit_once(char::is_whitespace)
            .ok_or_else(|| "write KEY in (A,B) or KEY notin (A,B)".to_owned())?;
        let operator = match operator {
            "in" => "In",
            "notin" => "NotIn",
            other => return Err(format!("{} is neither in nor notin", quoted(other))),
        };
        let values: Result<Vec<String>, String> = values.split(',').map(|text| value(text.trim())).collect();
        return express(selector, key(name)?, operator, values?);
    }
    if let Some((name, unwanted)) = requirement.split_once("!=") {
        return express(selector, key(name)?, "NotIn", vec![value(unwanted.trim())?]);
    }
    let Some((name, wanted)) = requirement.split_once("==").or_else(|| requirement.split_once('=')) else {
        return express(selector, key(requirement)?, "Exists", Vec::new());
    };
    let (name, wanted) = (key(name)?, value(wanted.trim())?);
    let labels = selector.match_labels.get_or_insert_default();
    match labels.get(&name) {
        // As in kubectl, requiring two values of one label selects nothing.
        Some(other) if *other != wanted => express(selector, name, "In", vec![wanted]),
        _ => {
            labels.insert(name, wanted);
            Ok(())
        }
    }
}

fn express(
    selector: &mut LabelSelector,
    key: String,
    operator: &str,
    values: Vec<String>,
) -> Result<(), String> {
    selector.match_expressions.get_or_insert_default().push(LabelSelectorRequirement {
        key,
        operator: operator.to_owned(),
        values: (!values.is_empty()).then_some(values),
    });
    Ok(())
}

/// Parses the key of a label: a name, optionally after a domain and a slash.
fn key(text: &str) -> Result<String, String> {
    let text = text.trim();
    let (domain, name) = text.split_once('/').map_or((None, text), |(domain, name)| (Some(domain), name));
    let is_domain = domain.is_none_or(|domain| {
        (1..=253).contains(&domain.len())
            && domain.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b))
    });
    if is_domain && !name.is_empty() && is_label(name) {
        return Ok(text.to_owned());
    }
    Err(format!("{} is not the key of a label", quoted(text)))
}

/// Parses the value of a label, which may be empty.
fn value(text: &str) -> Result<String, String> {
    if is_label(text) {
        Ok(text.to_owned())
    } else {
        Err(format!("{} is not the value of a label", quoted(text)))
    }
}

/// Returns true if a text is empty, or has at most 63 letters, digits, `-`, `_` and `.`, with a letter or digit at
/// both ends.
fn is_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    text.len() <= 63
        && text.bytes().all(inner)
        && [text.bytes().next(), text.bytes().last()].into_iter().flatten().all(|b| b.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use kube::core::Selector;

    use super::*;

    /// Returns the selector as the API server writes it in a URL.
    fn written(text: &str) -> String {
        Selector::try_from(parse(text).unwrap()).unwrap().to_string()
    }

    #[test]
    fn every_form_of_kubectl_is_read() {
        for (text, expected) in [
            ("app=web", "app=web"),
            ("app==web", "app=web"),
            (" app = web , tier = front ", "app=web,tier=front"),
            ("app=", "app="),
            ("app!=web", "app notin (web)"),
            ("env in (a, b)", "env in (a,b)"),
            ("env notin (a)", "env notin (a)"),
            ("example.com/team", "example.com/team"),
            ("!legacy", "!legacy"),
            ("! legacy", "!legacy"),
            ("app=web,env in (a,b),!legacy,x!=y", "app=web,env in (a,b),!legacy,x notin (y)"),
            ("", ""),
            ("app=web,app=db", "app=web,app in (db)"),
            ("in in (in)", "in in (in)"),
        ] {
            assert_eq!(written(text), expected, "{text:?}");
        }
    }

    #[test]
    fn labels_are_matched_as_such() {
        let selector = parse("app=web,tier=front").unwrap();
        assert!(selector.match_expressions.is_none());
        assert_eq!(selector.match_labels.unwrap().len(), 2);
    }

    #[test]
    fn mistakes_are_named() {
        for (text, part) in [
            ("app=web,", "\"\" is not the key"),
            ("=web", "\"\" is not the key"),
            ("app=we b", "\"we b\" is not the value"),
            ("app in a,b", "\"app in a\" is not the key"),
            ("app within (a)", "neither in nor notin"),
            ("app in (a", ") is missing"),
            ("app in (a))", ") does not fit"),
            ("app in (a)b", "after the parenthesis"),
            ("(a)", "KEY in (A,B)"),
            ("size>3", "alone"),
            ("a/b/c=d", "\"a/b/c\" is not the key"),
            ("-app=web", "\"-app\" is not the key"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part), "{text:?}: {error}");
        }
        let error = parse("app=\u{1b}[2J").unwrap_err();
        assert!(!error.contains('\u{1b}'), "{error:?}");
    }
}
