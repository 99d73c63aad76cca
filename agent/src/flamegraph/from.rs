//! Profiles from files: `.pb.gz` files, and Kubernetes objects as kubectl prints them.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use serde::Deserialize;
use traffictrace_crd::human;
use traffictrace_profile::{Graph, ReadError, Room};

use super::error::FlamegraphError;

/// Maximum size of a file, in bytes: enough for the profiles of some hundreds of nodes.
const MAX_FILE: u64 = 256 << 20;
/// Kind of the objects that contain a profile.
const KIND: &str = "TrafficTraceProfile";
/// First bytes of a gzip file.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Merges the profiles of all files into one graph, and returns the graph and the number of profiles. An object without a
/// profile, as from a node whose agent has not written any yet, is reported on standard error.
///
/// # Errors
///
/// [`FlamegraphError`] if one of the files or profiles cannot be read.
pub(super) fn read(files: &[PathBuf]) -> Result<(Graph, usize), FlamegraphError> {
    let (mut all, mut room) = (Vec::new(), Room::of_many());
    for file in files {
        all.extend(graphs(file, &mut room)?);
    }
    let count = all.len();
    Ok((Graph::sum(all)?, count))
}

fn graphs(path: &Path, room: &mut Room) -> Result<Vec<Graph>, FlamegraphError> {
    let bytes = contents(path)?;
    let failed = |name: Option<String>| {
        |source: ReadError| FlamegraphError::Profile { path: path.to_owned(), name, source }
    };
    if bytes.starts_with(&GZIP) {
        return Ok(vec![Graph::from_pprof_within(&bytes, room).map_err(failed(None))?]);
    }
    let wrong = |reason: String| FlamegraphError::NoProfile { path: path.to_owned(), reason };
    let objects = objects(&bytes).map_err(wrong)?;
    let empty = |object: &Object| object.profile.as_ref().is_none_or(String::is_empty);
    match objects.first() {
        None => return Err(wrong(format!("it has no {KIND}"))),
        Some(first) if objects.iter().all(empty) => {
            return Err(wrong(format!("the {KIND} {} has no profile", first.name())));
        }
        Some(_) => {}
    }
    let mut graphs = Vec::with_capacity(objects.len());
    for object in objects {
        let name = object.name();
        let Some(text) = object.profile.filter(|text| !text.is_empty()) else {
            eprintln!("The {KIND} {name} has no profile and is left out.");
            continue;
        };
        let graph = Graph::from_base64_within(&text, room).map_err(failed(Some(format!("of {name}"))))?;
        graphs.push(graph);
    }
    Ok(graphs)
}

fn contents(path: &Path) -> Result<Vec<u8>, FlamegraphError> {
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let file: Box<dyn io::Read> =
            if path == Path::new("-") { Box::new(io::stdin().lock()) } else { Box::new(File::open(path)?) };
        file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|source| FlamegraphError::Input { path: path.to_owned(), source })?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(FlamegraphError::LargeInput { path: path.to_owned(), most: MAX_FILE });
    }
    Ok(bytes)
}

/// A Kubernetes object, or a list of objects.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Object {
    kind: String,
    metadata: Metadata,
    #[serde(rename = "nodeName")]
    node: Option<String>,
    profile: Option<String>,
    items: Vec<Object>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Metadata {
    name: String,
    namespace: Option<String>,
}

impl Object {
    fn name(&self) -> String {
        let Metadata { name, namespace } = &self.metadata;
        let name = namespace.as_ref().map_or_else(|| name.clone(), |namespace| format!("{namespace}/{name}"));
        let node = self.node.as_ref().map(|node| format!(" (node {node})")).unwrap_or_default();
        human::printable(&(name + &node)).into_owned()
    }
}

/// Parses a text of JSON or YAML, and returns its objects with a profile.
fn objects(bytes: &[u8]) -> Result<Vec<Object>, String> {
    let text =
        std::str::from_utf8(bytes).map_err(|_| "it is neither compressed by gzip nor text".to_owned())?;
    let documents: Vec<Object> = if text.trim_start().starts_with('{') {
        vec![serde_json::from_str(text).map_err(|error| format!("it is no object of Kubernetes: {error}"))?]
    } else {
        serde_saphyr::from_multiple(text).map_err(|error| {
            let error = error.without_snippet().to_string();
            format!("it is no object of Kubernetes: {}", error.lines().next().unwrap_or_default())
        })?
    };
    let mut found = Vec::new();
    for object in documents.into_iter().flat_map(|mut document| {
        let items = std::mem::take(&mut document.items);
        // A list is recognized by its kind, since it may have no items.
        let list = document.kind.ends_with("List");
        items.into_iter().chain((!list).then_some(document))
    }) {
        if object.kind != KIND {
            return Err(format!("it has an object of the kind {:?}", object.kind));
        }
        found.push(object);
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
