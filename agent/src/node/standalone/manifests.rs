//! The TrafficTrace manifests in a folder, which may appear, change and disappear.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use traffictrace_crd::TrafficTrace;

use super::DEFAULT_NAMESPACE;
use super::stamp::Stamp;
use super::yaml::{Fault, documents};

/// Suffix of status files, which are written and never read.
pub(super) const STATUS_SUFFIX: &str = ".status.yaml";

/// The manifests of a folder.
#[derive(Debug)]
pub(super) struct Manifests {
    folder: PathBuf,
    /// The pods file, which lies in the folder but is no manifest.
    except: PathBuf,
    stamps: BTreeMap<PathBuf, Stamp>,
    /// The last readable traces of each file, so that a half-written file does not stop its traces.
    traces: BTreeMap<PathBuf, Vec<TrafficTrace>>,
}

impl Manifests {
    pub(super) fn new(folder: &Path, pods_file: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            except: pods_file.to_owned(),
            stamps: BTreeMap::new(),
            traces: BTreeMap::new(),
        }
    }

    /// Reads the files that changed since the last call. Returns `None` if none did. Otherwise returns all current
    /// traces, each with a unique name, and the faults of the changed files.
    ///
    /// # Errors
    ///
    /// The system's error if the folder cannot be read.
    pub(super) fn poll(&mut self) -> io::Result<Option<(Vec<TrafficTrace>, Vec<Fault>)>> {
        let stamps = self.stamps()?;
        if stamps == self.stamps {
            return Ok(None);
        }
        let mut faults = Vec::new();
        self.traces.retain(|file, _| stamps.contains_key(file));
        for (file, stamp) in &stamps {
            if self.stamps.get(file) == Some(stamp) {
                continue;
            }
            match read(file) {
                Ok(traces) => {
                    self.traces.insert(file.clone(), traces);
                }
                Err(found) => faults.extend(found),
            }
        }
        self.stamps = stamps;
        let traces = self.unique(&mut faults);
        Ok(Some((traces, faults)))
    }

    fn stamps(&self) -> io::Result<BTreeMap<PathBuf, Stamp>> {
        let mut stamps = BTreeMap::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if is_manifest(&path)
                && path != self.except
                && let Some(stamp) = Stamp::of(&path)
            {
                stamps.insert(path, stamp);
            }
        }
        Ok(stamps)
    }

    /// Returns all traces but those whose name another trace has already: the status file is named after the trace.
    /// Each trace that is left out adds a fault.
    fn unique(&self, faults: &mut Vec<Fault>) -> Vec<TrafficTrace> {
        let mut files: BTreeMap<&str, &Path> = BTreeMap::new();
        let mut unique = Vec::new();
        for (file, trace) in
            self.traces.iter().flat_map(|(file, traces)| traces.iter().map(move |t| (file, t)))
        {
            let name = trace.metadata.name.as_deref().unwrap_or_default();
            match files.get(name) {
                Some(first) => faults.push(Fault {
                    file: file.clone(),
                    line: None,
                    message: format!(
                        "metadata.name: {name} is the name of a trace in {} already: choose another",
                        first.display()
                    ),
                }),
                None => {
                    files.insert(name, file);
                    unique.push(trace.clone());
                }
            }
        }
        unique
    }
}

fn is_manifest(path: &Path) -> bool {
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    (name.ends_with(".yaml") || name.ends_with(".yml"))
        && !name.ends_with(STATUS_SUFFIX)
        && !name.starts_with('.')
}

fn read(file: &Path) -> Result<Vec<TrafficTrace>, Vec<Fault>> {
    let text = fs::read_to_string(file).map_err(|error| {
        vec![Fault { file: file.to_owned(), line: None, message: format!("cannot read it: {error}") }]
    })?;
    let documents = documents(file, &text).map_err(|fault| vec![fault])?;
    let mut traces = Vec::new();
    let mut faults = Vec::new();
    for document in documents {
        let mut fault = |field: &str, message: String| {
            let line = Some(document.line_of(field));
            faults.push(Fault { file: file.to_owned(), line, message: format!("{field}: {message}") });
        };
        match TrafficTrace::from_manifest(&document.value) {
            Ok(mut trace) => {
                let name = trace.metadata.name.clone().unwrap_or_default();
                if !is_name(&name) {
                    fault(
                        "metadata.name",
                        format!("{name:?} is no name: use a-z, 0-9, - and . in it, at most 200"),
                    );
                    continue;
                }
                trace.metadata.namespace.get_or_insert_with(|| DEFAULT_NAMESPACE.to_owned());
                // A status in the file is ignored, since the agent makes it.
                trace.status = None;
                traces.push(trace);
            }
            Err(failed) => failed.errors.into_iter().for_each(|error| fault(&error.field, error.message)),
        }
    }
    if faults.is_empty() { Ok(traces) } else { Err(faults) }
}

/// Returns true if a name is valid for an object and for a file: no slash, and no dot at the beginning.
fn is_name(name: &str) -> bool {
    let inside = name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.'));
    let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    inside && edge(name.bytes().next()) && edge(name.bytes().last()) && name.len() <= 200
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "apiVersion: traffictrace.dev/v1alpha1\nkind: TrafficTrace\nmetadata:\n  name: NAME\nspec:\n  selector: {}\n";

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> (Self, Manifests) {
            let folder = tempfile::tempdir().unwrap();
            let manifests = Manifests::new(folder.path(), &folder.path().join("pods.yaml"));
            (Self(folder), manifests)
        }

        fn write(&self, file: &str, text: &str) {
            fs::write(self.0.path().join(file), text).unwrap();
        }

        fn good(&self, file: &str, name: &str) {
            self.write(file, &GOOD.replace("NAME", name));
        }
    }

    fn names(polled: &Option<(Vec<TrafficTrace>, Vec<Fault>)>) -> Vec<String> {
        let (traces, _) = polled.as_ref().unwrap();
        traces.iter().map(|trace| trace.metadata.name.clone().unwrap()).collect()
    }

    #[test]
    fn follows_files_that_come_change_and_go() {
        let (folder, mut manifests) = Folder::new();
        assert!(manifests.poll().unwrap().is_none(), "an empty folder");
        folder.good("a.yaml", "a");
        folder.good("a.status.yaml", "status");
        folder.write("pods.yaml", "- {name: x, cgroup: /x}\n");
        folder.write("notes.txt", "no manifest");
        let polled = manifests.poll().unwrap();
        assert_eq!(names(&polled), ["a"]);
        let trace = &polled.unwrap().0[0];
        assert_eq!(trace.metadata.namespace.as_deref(), Some("default"));
        assert_eq!(trace.spec.top_flows, 20, "defaults of the API server");
        assert!(manifests.poll().unwrap().is_none());
        folder.write("b.yml", &format!("{}---\n{}", GOOD.replace("NAME", "b"), GOOD.replace("NAME", "c")));
        assert_eq!(names(&manifests.poll().unwrap()), ["a", "b", "c"]);
        fs::remove_file(folder.0.path().join("a.yaml")).unwrap();
        assert_eq!(names(&manifests.poll().unwrap()), ["b", "c"]);
    }

    #[test]
    fn a_mistake_is_told_once_and_does_not_stop_what_runs() {
        let (folder, mut manifests) = Folder::new();
        folder.good("a.yaml", "a");
        folder.write(
            "bad.yaml",
            &format!("{}  topFlows: 1000\n  ports: [90-80]\n", GOOD.replace("NAME", "bad")),
        );
        let polled = manifests.poll().unwrap();
        assert_eq!(names(&polled), ["a"]);
        let faults = polled.unwrap().1;
        let text = faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert!(text.contains("bad.yaml:7: spec.topFlows:"), "{text}");
        assert!(text.contains("bad.yaml:8: spec.ports[0]: the port range"), "{text}");
        // A valid manifest is overwritten with a broken one while its trace runs.
        folder.write("a.yaml", "apiVersion: [\n");
        let polled = manifests.poll().unwrap();
        assert_eq!(names(&polled), ["a"]);
        assert_eq!(polled.unwrap().1.len(), 1);
    }

    #[test]
    fn two_traces_of_one_name_are_refused_with_both_places() {
        let (folder, mut manifests) = Folder::new();
        folder.good("a.yaml", "same");
        folder.good("b.yaml", "same");
        let polled = manifests.poll().unwrap();
        assert_eq!(names(&polled), ["same"]);
        let text = polled.unwrap().1[0].to_string();
        assert!(text.contains("b.yaml") && text.contains("a.yaml already"), "{text}");
    }

    #[test]
    fn a_name_is_never_a_path() {
        let (folder, mut manifests) = Folder::new();
        folder.good("a.yaml", "../../etc/passwd");
        let (traces, faults) = manifests.poll().unwrap().unwrap();
        assert!(traces.is_empty());
        assert!(faults[0].to_string().contains("a.yaml:4: metadata.name"), "{}", faults[0]);
    }
}
