//! The agent without a cluster: TrafficTraces from a folder, pods from a file, and each trace's status beside it.
//!
//! Planning, counting and ranking are those of a node of a cluster; only the ends differ. What an API server does to a
//! manifest (defaults, limits, rules on changes) is done here too.

mod followed;
mod manifests;
mod pods_file;
mod stamp;
mod yaml;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::core::SelectorExt as _;
use tokio::time::MissedTickBehavior;
use traffictrace_crd::TrafficTrace;

use self::followed::Followed;
use self::manifests::Manifests;
use self::pods_file::LocalPod;
use self::stamp::Stamp;
use super::core::Core;
use super::folders::Located;
use super::{NodeError, TICK, stopped};
use crate::cgroups::{CgroupError, CgroupRoot};
use crate::engine::{CgroupKind, Engine};
use crate::kernel::missing_capabilities;
use crate::session::{Trace, Uid};

/// The namespace of what names none.
const DEFAULT_NAMESPACE: &str = "default";
/// How often statuses are made anew without a report: phases and times change by themselves.
const REFRESH: Duration = Duration::from_secs(1);

/// What the agent is to do where.
pub(super) struct Settings {
    pub(super) node: String,
    pub(super) folder: PathBuf,
    pub(super) pods_file: PathBuf,
    pub(super) root: CgroupRoot,
    pub(super) engine: Engine,
    pub(super) max_rows: usize,
}

struct Agent {
    node: String,
    folder: PathBuf,
    root: CgroupRoot,
    core: Core,
    manifests: Manifests,
    traces: BTreeMap<String, Followed>,
    pods_file: PathBuf,
    pods_stamp: Option<Stamp>,
    pods: BTreeMap<Uid, LocalPod>,
    /// Cgroups that are waited for, by their message, which is said once.
    missing: BTreeSet<String>,
    refreshed: Instant,
}

/// Traces what the manifests in the folder ask for, until the process is told to end.
pub(super) async fn run(settings: Settings) -> Result<(), NodeError> {
    let Settings { node, folder, pods_file, root, engine, max_rows } = settings;
    let missing = missing_capabilities();
    if !missing.is_empty() {
        return Err(NodeError::Capabilities { missing: missing.join(" and ") });
    }
    let mut stop = std::pin::pin!(stopped()?);
    let mut agent = Agent {
        core: Core::new(node.clone(), root.clone(), engine, max_rows),
        manifests: Manifests::new(&folder, &pods_file),
        node,
        folder,
        root,
        traces: BTreeMap::new(),
        pods_file,
        pods_stamp: None,
        pods: BTreeMap::new(),
        missing: BTreeSet::new(),
        refreshed: Instant::now(),
    };
    if !agent.pods_file.exists() {
        tracing::warn!("there is no {} yet: no pods are known until there is", agent.pods_file.display());
    }
    tracing::info!("following the TrafficTraces in {}", agent.folder.display());
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = &mut stop => break,
            _ = tick.tick() => agent.tick()?,
        }
    }
    agent.shut_down();
    Ok(())
}

impl Agent {
    fn tick(&mut self) -> Result<(), NodeError> {
        let now = Timestamp::now();
        let traces = self.read_traces(now)?;
        self.read_pods();
        let places = self.find_cgroups();
        if traces || places || self.refreshed.elapsed() >= REFRESH {
            for uid in self.core.plan(now) {
                // A status from before is no report: a trace begins with the agent.
                self.core.resume(&uid, None, now);
            }
            self.core.find_containers();
        }
        let due = self.core.tick(now);
        if traces || !due.is_empty() || self.refreshed.elapsed() >= REFRESH {
            for due in due {
                self.take(&due.trace, |followed| followed.report(due.report));
            }
            self.refresh(now);
        }
        Ok(())
    }

    /// Follows the manifests. Says whether there is something new.
    fn read_traces(&mut self, now: Timestamp) -> Result<bool, NodeError> {
        let polled = self
            .manifests
            .poll()
            .map_err(|source| NodeError::Folder { path: self.folder.clone(), source })?;
        let Some((manifests, faults)) = polled else { return Ok(false) };
        faults.iter().for_each(|fault| tracing::error!("{fault}"));
        let mut gone: BTreeSet<String> = self.traces.keys().cloned().collect();
        for manifest in manifests {
            let label = label(&manifest);
            gone.remove(&label);
            self.set_trace(&label, manifest, now);
        }
        for label in gone {
            if let Some(followed) = self.traces.remove(&label) {
                tracing::info!(trace = label, "its manifest is gone: it ends");
                self.core.remove_trace(&uid(&followed));
                followed.forget();
            }
        }
        Ok(true)
    }

    fn set_trace(&mut self, label: &str, manifest: TrafficTrace, now: Timestamp) {
        let followed = match self.traces.get_mut(label) {
            Some(followed) => match followed.change(&manifest) {
                Ok(true) => followed,
                Ok(false) => return,
                Err(refused) => return tracing::error!(trace = label, "the change is not taken: {refused}"),
            },
            None => {
                let followed = Followed::new(manifest, &self.folder, now);
                self.traces.entry(label.to_owned()).or_insert(followed)
            }
        };
        match Trace::read(&followed.object, now) {
            Ok(trace) => self.core.set_trace(trace),
            Err(unusable) => tracing::error!("{unusable}"),
        }
    }

    /// Follows the pods file. One that cannot be read changes nothing.
    fn read_pods(&mut self) {
        let stamp = Stamp::of(&self.pods_file);
        if stamp == self.pods_stamp {
            return;
        }
        self.pods_stamp = stamp;
        let text = match std::fs::read_to_string(&self.pods_file) {
            Ok(text) => text,
            Err(error) => return tracing::error!("cannot read {}: {error}", self.pods_file.display()),
        };
        match pods_file::read(&self.pods_file, &text) {
            Ok(pods) => self.set_pods(pods),
            Err(fault) => tracing::error!("{fault}"),
        }
    }

    fn set_pods(&mut self, pods: BTreeMap<Uid, LocalPod>) {
        for uid in self.pods.keys().filter(|uid| !pods.contains_key(*uid)) {
            self.core.displace(uid);
            self.core.remove_pod(uid);
        }
        pods.values().for_each(|local| self.core.set_pod(local.pod.clone()));
        self.pods = pods;
    }

    /// Finds the cgroups of the pods, which may come and go. Says whether one did.
    fn find_cgroups(&mut self) -> bool {
        let mut changed = false;
        for (uid, local) in &self.pods {
            let mut found = Vec::new();
            for (name, cgroup) in &local.containers {
                let message = |error: &CgroupError| format!("pod {uid}, container {name}: {error}");
                match self.root.open(cgroup) {
                    Ok(folder) => {
                        found.push(Located {
                            folder,
                            kind: CgroupKind::Container,
                            container: Some(name.clone()),
                        });
                    }
                    Err(error) => {
                        let message = message(&error);
                        if self.missing.insert(message.clone()) {
                            tracing::warn!("{message}; waiting for it");
                        }
                    }
                }
            }
            let same = found.iter().map(key).eq(self.core.located(uid).iter().map(key));
            if !same {
                self.core.place(uid, found);
                changed = true;
            }
        }
        changed
    }

    fn refresh(&mut self, now: Timestamp) {
        self.refreshed = Instant::now();
        for followed in self.traces.values_mut() {
            let Some(trace) = self.core.trace(&uid(followed)) else { continue };
            let selects = |local: &&LocalPod| {
                local.pod.namespace == trace.namespace && trace.selector.matches(&local.pod.labels)
            };
            let pods = self.pods.values().filter(selects).count();
            if let Err(error) = followed.refresh(&self.node, pods, trace.interval, now) {
                tracing::error!("cannot write {}: {error}", followed.file().display());
            }
        }
    }

    fn take(&mut self, uid_of: &Uid, take: impl FnOnce(&mut Followed)) {
        if let Some(followed) = self.traces.values_mut().find(|followed| uid(followed) == *uid_of) {
            take(followed);
        }
    }

    fn shut_down(&mut self) {
        let now = Timestamp::now();
        for due in self.core.shut_down(now) {
            self.take(&due.trace, |followed| followed.report(due.report));
        }
        self.refresh(now);
    }
}

fn label(trace: &TrafficTrace) -> String {
    let meta = &trace.metadata;
    format!("{}/{}", meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
}

fn uid(followed: &Followed) -> Uid {
    followed.object.metadata.uid.clone().unwrap_or_default()
}

fn key(located: &Located) -> (u64, Option<&String>) {
    (located.folder.id(), located.container.as_ref())
}

/// Where the pods file is when nothing else is said.
pub(super) fn default_pods_file(folder: &Path) -> PathBuf {
    folder.join("pods.yaml")
}
