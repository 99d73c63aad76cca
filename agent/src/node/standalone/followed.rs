//! A trace from a manifest file, and the status file beside the manifest.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Serialize;
use traffictrace_crd::{
    GROUP, TrafficTrace, TrafficTraceReport, TrafficTraceStatus, VERSION, ValidationFailed,
};

use super::manifests::STATUS_SUFFIX;
use super::replace;
use crate::merge::{self, NodeReports, PeerNames};

/// Suffix of a profile file, after the trace's name.
const PROFILE_SUFFIX: &str = ".pb.gz";

/// A trace that a manifest asks for.
#[derive(Debug)]
pub(super) struct Followed {
    /// The trace as an API server would store it, with UID, generation, creation time and status.
    pub(super) object: TrafficTrace,
    reports: NodeReports,
    filters_changed: bool,
    file: PathBuf,
    /// Path of the profile, if the trace asks for stacks.
    profile_file: PathBuf,
}

/// Contents of a status file.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StatusFile<'a> {
    api_version: String,
    kind: &'static str,
    metadata: Names<'a>,
    status: &'a TrafficTraceStatus,
}

#[derive(Serialize)]
struct Names<'a> {
    name: &'a str,
    namespace: &'a str,
}

/// A [`PeerNames`] that knows no names, since there is no cluster.
struct Nobody;

impl PeerNames for Nobody {
    fn name_of(&self, _: IpAddr) -> Option<String> {
        None
    }
}

impl Followed {
    /// Creates a new trace. Its UID contains the time, so a manifest that is removed and put back is a different trace.
    pub(super) fn new(mut object: TrafficTrace, folder: &Path, now: Timestamp) -> Self {
        let name = object.metadata.name.clone().unwrap_or_default();
        let namespace = object.metadata.namespace.clone().unwrap_or_default();
        object.metadata.uid = Some(format!("{namespace}/{name}@{now}"));
        object.metadata.generation = Some(1);
        object.metadata.creation_timestamp = Some(Time(now));
        Self {
            object,
            reports: NodeReports::default(),
            filters_changed: false,
            file: folder.join(format!("{name}{STATUS_SUFFIX}")),
            profile_file: folder.join(format!("{name}{PROFILE_SUFFIX}")),
        }
    }

    /// Applies a changed manifest. Returns `Ok(false)` if its spec is unchanged.
    ///
    /// # Errors
    ///
    /// [`ValidationFailed`] if the manifest changes a field that cannot change. The trace then continues unchanged.
    pub(super) fn change(&mut self, manifest: &TrafficTrace) -> Result<bool, ValidationFailed> {
        let (old, new) = (&self.object.spec, &manifest.spec);
        if old == new {
            return Ok(false);
        }
        let changed = TrafficTrace {
            metadata: self.object.metadata.clone(),
            status: self.object.status.clone(),
            ..manifest.clone()
        };
        changed.validate_change(&self.object)?;
        self.filters_changed |= (&old.protocols, &old.ports, &old.remote_cidrs, old.direction)
            != (&new.protocols, &new.ports, &new.remote_cidrs, new.direction);
        self.object.spec = manifest.spec.clone();
        self.object.metadata.generation = self.object.metadata.generation.map(|generation| generation + 1);
        Ok(true)
    }

    /// Adds this node's report.
    pub(super) fn report(&mut self, report: TrafficTraceReport) {
        self.reports.apply(report.spec);
    }

    /// Computes the status again, and writes it if it changed. `pods` is the number of pods that the trace selects now.
    ///
    /// # Errors
    ///
    /// The system's error if the file cannot be written.
    pub(super) fn refresh(
        &mut self,
        node: &str,
        pods: usize,
        interval: Duration,
        now: Timestamp,
    ) -> io::Result<()> {
        let live_pods = match i32::try_from(pods).unwrap_or(i32::MAX) {
            0 => BTreeMap::new(),
            // This process is the only agent, so no other node is waited for.
            count => BTreeMap::from([(node.to_owned(), merge::LivePods { count, since: now })]),
        };
        let merge::Merged { mut status, .. } = merge::merge(&merge::Inputs {
            trace: &self.object,
            invalid: None,
            reports: &self.reports,
            live_pods: &live_pods,
            existing_nodes: None,
            clock_offset: None,
            peers: &Nobody,
            report_interval: interval,
            filters_changed: std::mem::take(&mut self.filters_changed),
            now,
        });
        if let Some(stacks) = &mut status.stacks {
            let (from, to) = (&self.profile_file, self.profile_file.with_extension("").with_extension("svg"));
            stacks.picture =
                format!("traffictrace flamegraph --from {} --output {}", from.display(), to.display());
        }
        if self.object.status.as_ref() == Some(&status) {
            return Ok(());
        }
        self.write(&status)?;
        self.object.status = Some(status);
        Ok(())
    }

    /// Removes the status file, because the trace is gone.
    pub(super) fn forget(&self) {
        if let Err(error) = fs::remove_file(&self.file)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!("cannot remove {}: {error}", self.file.display());
        }
    }

    /// Returns the path of the profile.
    pub(super) fn profile_file(&self) -> &Path {
        &self.profile_file
    }

    /// Returns the path of the status file.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    fn write(&self, status: &TrafficTraceStatus) -> io::Result<()> {
        let text = serde_saphyr::to_string(&StatusFile {
            api_version: format!("{GROUP}/{VERSION}"),
            kind: "TrafficTrace",
            metadata: Names {
                name: self.object.metadata.name.as_deref().unwrap_or_default(),
                namespace: self.object.metadata.namespace.as_deref().unwrap_or_default(),
            },
            status,
        })
        .map_err(io::Error::other)?;
        replace(&self.file, text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use traffictrace_crd::{Phase, TrafficTraceReportSpec};

    use super::*;

    fn manifest(spec: serde_json::Value) -> TrafficTrace {
        TrafficTrace::from_manifest(&json!({
            "apiVersion": "traffictrace.dev/v1alpha1", "kind": "TrafficTrace",
            "metadata": { "name": "shop", "namespace": "web" }, "spec": spec,
        }))
        .unwrap()
    }

    fn now() -> Timestamp {
        "2026-11-23T10:00:00Z".parse().unwrap()
    }

    #[test]
    fn the_status_file_says_what_kubectl_would() {
        let folder = tempfile::tempdir().unwrap();
        let mut followed =
            Followed::new(manifest(json!({ "selector": {}, "duration": "1m" })), folder.path(), now());
        followed.refresh("here", 1, Duration::from_secs(10), now()).unwrap();
        let read = || -> serde_json::Value {
            serde_saphyr::from_str(&fs::read_to_string(folder.path().join("shop.status.yaml")).unwrap())
                .unwrap()
        };
        assert_eq!(read()["status"]["phase"], "Pending");
        assert_eq!(read()["metadata"]["namespace"], "web");
        let uid = followed.object.metadata.uid.clone().unwrap();
        let report = |is_final| {
            let spec = TrafficTraceReportSpec {
                trace_name: "shop".into(),
                trace_uid: uid.clone(),
                node_name: "here".into(),
                is_final,
                ..TrafficTraceReportSpec::default()
            };
            TrafficTraceReport::new("shop-1", spec)
        };
        followed.report(report(false));
        followed.refresh("here", 1, Duration::from_secs(10), now()).unwrap();
        assert_eq!(read()["status"]["phase"], "Running");
        followed.report(report(true));
        let end = "2026-11-23T10:01:00Z".parse().unwrap();
        followed.refresh("here", 1, Duration::from_secs(10), end).unwrap();
        assert_eq!(read()["status"]["phase"], "Completed");
        assert_eq!(followed.object.status.as_ref().unwrap().phase, Some(Phase::Completed));
        let files: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(files, ["shop.status.yaml"], "no draft is left");
        followed.forget();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_status_says_how_to_draw_the_profile_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let asking = manifest(json!({ "selector": {}, "duration": "1m", "stacks": {} }));
        let mut followed = Followed::new(asking, folder.path(), now());
        let spec = TrafficTraceReportSpec {
            trace_uid: followed.object.metadata.uid.clone().unwrap(),
            node_name: "here".into(),
            stacks: Some(traffictrace_crd::StackTotals { bytes: 7, ..Default::default() }),
            ..TrafficTraceReportSpec::default()
        };
        followed.report(TrafficTraceReport::new("shop-1", spec));
        followed.refresh("here", 1, Duration::from_secs(10), now()).unwrap();
        let stacks = followed.object.status.as_ref().unwrap().stacks.clone().unwrap();
        assert_eq!((stacks.nodes, stacks.totals.bytes), (1, 7));
        let path = |name| folder.path().join(name).display().to_string();
        let (from, to) = (path("shop.pb.gz"), path("shop.svg"));
        assert_eq!(stacks.picture, format!("traffictrace flamegraph --from {from} --output {to}"));
        followed.forget();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_may_not_change_is_refused_and_the_rest_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let mut followed = Followed::new(manifest(json!({ "selector": {} })), folder.path(), now());
        assert_eq!(followed.change(&manifest(json!({ "selector": {} }))), Ok(false));
        let other = manifest(json!({ "selector": { "matchLabels": { "app": "x" } } }));
        let error = followed.change(&other).unwrap_err().to_string();
        assert!(error.contains("selector") && error.contains("create a new one"), "{error}");
        assert_eq!(followed.change(&manifest(json!({ "selector": {}, "ports": [443] }))), Ok(true));
        assert!(followed.filters_changed);
        assert_eq!(followed.object.metadata.generation, Some(2));
    }
}
