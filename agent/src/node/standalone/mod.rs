//! The agent without a cluster: TrafficTraces come from a folder, pods from a file, and each trace's status is written
//! beside its manifest.
//!
//! Planning, counting and ranking are the same as on a node of a cluster. What an API server does to a manifest
//! (defaults, limits, rules on changes) is done here as well.

mod followed;
mod manifests;
mod pods_file;
mod profiles;
mod stamp;
mod yaml;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::core::SelectorExt as _;
use tokio::time::MissedTickBehavior;
use traffictrace_crd::TrafficTrace;

use self::followed::Followed;
use self::manifests::Manifests;
use self::pods_file::LocalPod;
use self::profiles::ProfileFiles;
use self::stamp::Stamp;
use super::folders::{Folders, Located};
use super::state::{Action, Event, Now, State};
use super::{Denied, FIGURES, NodeError, TICK, Watched, follow_records, show, stopped};
use crate::cgroups::{CgroupError, CgroupRoot};
use crate::engine::{CgroupKind, Engine};
use crate::kernel::{Readable, missing_capabilities};
use crate::session::{Trace, Uid};

/// Namespace of objects that name none.
const DEFAULT_NAMESPACE: &str = "default";
/// Interval at which statuses are computed again without a report, since phases and times change by themselves.
const REFRESH: Duration = Duration::from_secs(1);

/// Settings of the agent.
pub(super) struct Settings {
    pub(super) node: String,
    pub(super) folder: PathBuf,
    pub(super) pods_file: PathBuf,
    pub(super) root: CgroupRoot,
    pub(super) engine: Engine,
    pub(super) max_rows: usize,
    pub(super) denied: Denied,
}

struct Agent {
    node: String,
    folder: PathBuf,
    root: CgroupRoot,
    began: Instant,
    state: State<Engine>,
    folders: Folders,
    manifests: Manifests,
    traces: BTreeMap<String, Followed>,
    profiles: ProfileFiles,
    pods_file: PathBuf,
    pods_stamp: Option<Stamp>,
    pods: BTreeMap<Uid, LocalPod>,
    /// Messages about missing cgroups, kept so that each is logged once.
    missing: BTreeSet<String>,
    refreshed: Instant,
}

/// Serves the manifests in the folder until the process is asked to stop.
pub(super) async fn run(settings: Settings, watched: Watched) -> Result<(), NodeError> {
    let Watched { metrics, health, mut tasks } = watched;
    let Settings { node, folder, pods_file, root, engine, max_rows, denied } = settings;
    let missing = missing_capabilities();
    if !missing.is_empty() {
        return Err(NodeError::Capabilities { missing: missing.join(" and ") });
    }
    let mut stop = std::pin::pin!(stopped()?);
    let began = Instant::now();
    let settings = denied.settings(node.clone(), max_rows);
    // There are no earlier reports: a status file is not a report, so every trace begins with the agent.
    let now = Now { time: Timestamp::now(), running: Duration::ZERO };
    let mut agent = Agent {
        began,
        state: State::new(settings, engine, [], now),
        folders: Folders::new(root.clone()),
        manifests: Manifests::new(&folder, &pods_file),
        node,
        folder,
        root,
        traces: BTreeMap::new(),
        profiles: ProfileFiles::new(),
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
    let mut figures = tokio::time::interval(FIGURES);
    let mut records = Readable::default();
    loop {
        health.beat();
        follow_records(&mut records, &mut agent.state)?;
        tokio::select! {
            () = &mut stop => break,
            readable = records.readable() => {
                readable.map_err(|source| NodeError::Records { source })?;
                agent.state.counter().read_records();
            }
            _ = tick.tick() => agent.tick()?,
            _ = figures.tick() => show(&mut agent.state, &metrics),
            ended = tasks.ended() => return Err(ended.into()),
        }
    }
    agent.shut_down().await;
    Ok(())
}

impl Agent {
    fn now(&self) -> Now {
        Now { time: Timestamp::now(), running: self.began.elapsed() }
    }

    fn tick(&mut self) -> Result<(), NodeError> {
        let now = self.now();
        let traces = self.read_traces(now)?;
        self.read_pods(now);
        let places = self.find_cgroups();
        if places {
            self.state.apply(Event::Places(self.folders.places()), now);
        }
        let actions = self.state.step(now);
        let look = self.refreshed.elapsed() >= REFRESH;
        if places {
            self.folders.release();
        }
        if places || look {
            for uid in self.state.selected_pods() {
                self.state.saw_containers(&uid, self.folders.children(&uid));
            }
        }
        if traces || look || !actions.is_empty() {
            self.take(actions);
            self.refresh(now.time);
        }
        Ok(())
    }

    /// Reads changed manifests. Returns true if any trace may have changed.
    fn read_traces(&mut self, now: Now) -> Result<bool, NodeError> {
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
                self.state.apply(Event::TraceGone(uid(&followed)), now);
                followed.forget();
                self.profiles.remove(followed.profile_file());
            }
        }
        Ok(true)
    }

    fn set_trace(&mut self, label: &str, manifest: TrafficTrace, now: Now) {
        let followed = match self.traces.get_mut(label) {
            Some(followed) => match followed.change(&manifest) {
                Ok(true) => followed,
                Ok(false) => return,
                Err(refused) => return tracing::error!(trace = label, "the change is not taken: {refused}"),
            },
            None => {
                let followed = Followed::new(manifest, &self.folder, now.time);
                self.traces.entry(label.to_owned()).or_insert(followed)
            }
        };
        match Trace::read(&followed.object, now.time) {
            Ok(trace) => self.state.apply(Event::Trace(Box::new(trace)), now),
            Err(unusable) => tracing::error!("{unusable}"),
        }
    }

    /// Reads the pods file if it changed. An unreadable file changes nothing.
    fn read_pods(&mut self, now: Now) {
        let stamp = Stamp::of(&self.pods_file);
        if stamp == self.pods_stamp {
            return;
        }
        self.pods_stamp = stamp;
        let text = match fs::read_to_string(&self.pods_file) {
            Ok(text) => text,
            Err(error) => return tracing::error!("cannot read {}: {error}", self.pods_file.display()),
        };
        match pods_file::read(&self.pods_file, &text) {
            Ok(pods) => self.set_pods(pods, now),
            Err(fault) => tracing::error!("{fault}"),
        }
    }

    fn set_pods(&mut self, pods: BTreeMap<Uid, LocalPod>, now: Now) {
        for uid in self.pods.keys().filter(|uid| !pods.contains_key(*uid)) {
            self.folders.displace(uid);
            self.state.apply(Event::PodGone(uid.clone()), now);
        }
        for local in pods.values() {
            self.state.apply(Event::Pod(Box::new(local.pod.clone())), now);
        }
        self.state.apply(Event::Places(self.folders.places()), now);
        self.pods = pods;
    }

    /// Finds the cgroups of the pods, which may come and go. Returns true if any did.
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
            let same = found.iter().map(key).eq(self.folders.of(uid).iter().map(key));
            if !same {
                self.folders.place(uid, found);
                changed = true;
            }
        }
        changed
    }

    fn refresh(&mut self, now: Timestamp) {
        self.refreshed = Instant::now();
        for followed in self.traces.values_mut() {
            let Some(trace) = self.state.trace(&uid(followed)) else { continue };
            let selects = |local: &&LocalPod| {
                local.pod.namespace == trace.namespace && trace.selector.matches(&local.pod.labels)
            };
            let pods = self.pods.values().filter(selects).count();
            if let Err(error) = followed.refresh(&self.node, pods, trace.interval(), now) {
                tracing::error!("cannot write {}: {error}", followed.file().display());
            }
        }
    }

    fn take(&mut self, actions: Vec<Action>) {
        for action in actions {
            let of_trace = match &action {
                Action::Report { report, .. } => &report.spec.trace_uid,
                Action::Profile(profile) => &profile.object().spec.trace_uid,
                // A trace is forgotten after its manifest is gone, and its files were removed then.
                Action::Forget(_) => continue,
            };
            let found = self.traces.values_mut().find(|followed| uid(followed) == *of_trace);
            let Some(followed) = found else { continue };
            match action {
                Action::Report { report, .. } => followed.report(*report),
                Action::Profile(profile) => self.profiles.write(followed.profile_file(), profile),
                Action::Forget(_) => {}
            }
        }
    }

    async fn shut_down(mut self) {
        let now = self.now();
        let actions = self.state.shut_down(now);
        self.take(actions);
        self.refresh(now.time);
        self.profiles.finish().await;
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

/// Replaces a file in one step, so that readers never see half of it.
fn replace(file: &Path, contents: &[u8]) -> io::Result<()> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let draft = file.with_file_name(format!(".{name}.tmp"));
    fs::write(&draft, contents)?;
    fs::rename(&draft, file)
}

/// Returns the default path of the pods file.
pub(super) fn default_pods_file(folder: &Path) -> PathBuf {
    folder.join("pods.yaml")
}
