//! YAML with the line of every field, so that messages can name the line.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::Spanned;

/// A mistake in a file: file, line, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) struct Fault {
    pub(super) file: PathBuf,
    pub(super) line: Option<u64>,
    pub(super) message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        write!(f, " {}", self.message)
    }
}

impl Fault {
    /// Converts an error about text that is not YAML or not of the expected form.
    pub(super) fn of_yaml(file: &Path, error: &serde_saphyr::Error) -> Self {
        let message = error.without_snippet().to_string();
        Self {
            file: file.to_owned(),
            line: error.location().map(|location| location.line()).filter(|line| *line > 0),
            message: message.lines().next().unwrap_or_default().to_owned(),
        }
    }
}

/// One document of a file.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) value: Value,
    /// First line of the document, counted from 1.
    pub(super) line: u64,
    /// Path and line of each field. A path looks like `spec.ports[0]`.
    lines: Vec<(String, u64)>,
}

impl Document {
    /// Returns the line of a field, or of the innermost enclosing field that exists.
    pub(super) fn line_of(&self, field: &str) -> u64 {
        let mut path = field;
        loop {
            if let Some((_, line)) = self.lines.iter().find(|(known, _)| known == path) {
                return *line;
            }
            match path.rfind(['.', '[']) {
                Some(at) => path = &path[..at],
                None => return self.line,
            }
        }
    }
}

/// Reads all documents of a text except empty ones.
///
/// # Errors
///
/// [`Fault`] with the first place that is not YAML.
pub(super) fn documents(file: &Path, text: &str) -> Result<Vec<Document>, Fault> {
    let trees: Vec<Spanned<Tree>> =
        serde_saphyr::from_multiple(text).map_err(|error| Fault::of_yaml(file, &error))?;
    Ok(trees.into_iter().map(document).filter(|document| !document.value.is_null()).collect())
}

fn document(tree: Spanned<Tree>) -> Document {
    let line = tree.referenced.line();
    let mut lines = Vec::new();
    let value = tree.value.flatten("", &mut lines);
    Document { value, line, lines }
}

/// A YAML value with the lines of its parts.
#[derive(Debug)]
enum Tree {
    Scalar(Value),
    List(Vec<Spanned<Tree>>),
    Map(Vec<(Spanned<String>, Tree)>),
}

impl Tree {
    fn flatten(self, path: &str, lines: &mut Vec<(String, u64)>) -> Value {
        match self {
            Self::Scalar(value) => value,
            Self::List(items) => items
                .into_iter()
                .enumerate()
                .map(|(at, item)| {
                    let path = format!("{path}[{at}]");
                    lines.push((path.clone(), item.referenced.line()));
                    item.value.flatten(&path, lines)
                })
                .collect(),
            Self::Map(fields) => {
                let mut map = Map::new();
                for (name, value) in fields {
                    let path =
                        if path.is_empty() { name.value.clone() } else { format!("{path}.{}", name.value) };
                    lines.push((path.clone(), name.referenced.line()));
                    map.insert(name.value, value.flatten(&path, lines));
                }
                Value::Object(map)
            }
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Scalar(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Tree, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("a number must be finite"))?;
        Ok(Tree::Scalar(number.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::Scalar(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Tree, E> {
        Ok(Tree::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
        Tree::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tree, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Tree::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Tree, A::Error> {
        let mut map: Vec<(Spanned<String>, Tree)> = Vec::new();
        while let Some((name, value)) = fields.next_entry::<Spanned<String>, Tree>()? {
            if map.iter().any(|(known, _)| known.value == name.value) {
                return Err(A::Error::custom(format!("the field {} is there twice", name.value)));
            }
            map.push((name, value));
        }
        Ok(Tree::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Vec<Document> {
        documents(Path::new("a.yaml"), text).unwrap()
    }

    #[test]
    fn values_are_as_in_kubernetes_manifests() {
        let text = "a: 1\nb: \"1\"\nc: [x, 8000-8100, 443]\nd: {e: true, f: null}\ng: 1.5\nh: 10m\n";
        let expected = json!({
            "a": 1, "b": "1", "c": ["x", "8000-8100", 443], "d": { "e": true, "f": null }, "g": 1.5, "h": "10m",
        });
        assert_eq!(read(text)[0].value, expected);
    }

    #[test]
    fn knows_the_line_of_every_field() {
        let text = "# comment\nkind: X\nspec:\n  ports:\n    - 80\n    - 90-80\n  nested: {deep: 1}\n---\nkind: Y\n---\n";
        let documents = read(text);
        assert_eq!(documents.len(), 2, "{documents:?}");
        for (field, line) in [
            ("kind", 2),
            ("spec.ports", 4),
            ("spec.ports[1]", 6),
            ("spec.nested.deep", 7),
            ("spec.absent", 3),
            ("spec.ports[9]", 4),
        ] {
            assert_eq!(documents[0].line_of(field), line, "{field}");
        }
        assert_eq!(documents[1].line_of("kind"), 9);
        assert_eq!(documents[1].line_of("metadata.name"), 9);
    }

    #[test]
    fn what_is_no_yaml_is_told_with_its_line() {
        for (text, line) in [("a: 1\nb: [1, 2\nc: 3\n", 2), ("a: 1\n  b: 2\n", 2), ("a: 1\na: 2\n", 2)] {
            let fault = documents(Path::new("a.yaml"), text).unwrap_err();
            assert!(fault.line.is_some_and(|at| at >= line), "{text:?}: {fault}");
            assert!(fault.to_string().starts_with("a.yaml:") && !fault.message.contains('\n'), "{fault}");
        }
    }
}
