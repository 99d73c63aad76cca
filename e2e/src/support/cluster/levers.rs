//! Faults that the suite causes, and facts that it reads from the kernel under the agents. Both need the test cluster,
//! whose nodes run on this machine.

use std::{
    collections::BTreeMap,
    env,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::Value;

use crate::support::{
    Result, TestError,
    bpf::{self, Objects},
    cgroup, needs, wait,
};

/// The script that starts the test cluster and causes faults in it.
#[derive(Clone, Debug)]
pub struct Levers {
    script: PathBuf,
}

impl Levers {
    /// Finds the script; `None` if `KUBECONFIG` names another cluster, in which case the test was
    /// [skipped](needs::skip).
    pub fn find() -> Option<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("cluster/cluster.sh");
        let levers = Self { script };
        let ours = levers.run(&["env"]).is_ok_and(|exports| {
            env::var("KUBECONFIG").is_ok_and(|path| exports.contains(&format!("KUBECONFIG={path} ")))
        });
        if !ours {
            needs::skip("faults and the kernel's view need the test cluster of `make cluster-up`");
            return None;
        }
        Some(levers)
    }

    /// Runs a command of the script, see `cluster.sh help`; returns the output.
    ///
    /// # Errors
    ///
    /// Fails when the script does.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        let what = format!("{} {}", self.script.display(), arguments.join(" "));
        let output = Command::new(&self.script).args(arguments).output();
        let output = output.map_err(TestError::io(format!("run {what}")))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(TestError::unexpected(what, String::from_utf8_lossy(&output.stderr)))
    }

    /// Runs a command of the script, see `cluster.sh help`, in a thread, so that the test's other tasks go on.
    ///
    /// # Errors
    ///
    /// Fails when the script does.
    pub async fn pull(&self, arguments: &[&str]) -> Result<()> {
        println!("pulling: {}", arguments.join(" "));
        let (levers, arguments) = (self.clone(), arguments.iter().map(|&a| a.to_owned()).collect::<Vec<_>>());
        let pulled = tokio::task::spawn_blocking(move || {
            levers.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
        });
        pulled.await.map_err(|error| TestError::unexpected("a lever", error))?.map(drop)
    }

    /// Returns the process id of a node's agent, as this machine sees it.
    ///
    /// # Errors
    ///
    /// Fails when no agent runs on the node.
    pub fn agent_pid(&self, node: &str) -> Result<u32> {
        let pid = self.run(&["agent-pid", node])?;
        pid.trim().parse().map_err(|_| TestError::unexpected("the agent's pid", pid))
    }

    /// Returns the kernel objects that a node's agent holds.
    ///
    /// # Errors
    ///
    /// Fails when no agent runs there or `bpftool` cannot be run.
    pub fn kernel_objects(&self, node: &str) -> Result<Objects> {
        bpf::held_by(self.agent_pid(node)?)
    }

    /// Waits until a node's agent holds no kernel objects, and the objects that it `held` are gone.
    ///
    /// # Errors
    ///
    /// Fails when an object stays.
    pub async fn nothing_left(&self, node: &str, held: &Objects) -> Result<()> {
        let what = format!("the agent of {node} to have nothing in the kernel");
        wait::until_async(&what, Duration::from_secs(20), async || {
            let (now, before) = (self.kernel_objects(node)?, held.still_there()?);
            let left = !now.is_empty() || !before.is_empty();
            Ok(if left { Err(format!("{now:?}, of before {before:?}")) } else { Ok(()) })
        })
        .await
    }
}

/// Reads the map `tt_cgroups` among an agent's objects, by which its programs select: ids of cgroups, each with a bit
/// for each trace.
///
/// # Errors
///
/// Fails when `bpftool` cannot be run.
pub fn selected_cgroups(objects: &Objects) -> Result<BTreeMap<u64, u64>> {
    let mut selected = BTreeMap::new();
    for map in bpf::show("map")? {
        let id = map["id"].as_u64().filter(|id| objects.maps.contains(id));
        if let (Some(id), Some("tt_cgroups")) = (id, map["name"].as_str()) {
            let entries = bpf::dump_map(id)?;
            selected.extend(
                entries.iter().filter_map(|entry| Some((word(entry, "key")?, word(entry, "value")?))),
            );
        }
    }
    Ok(selected)
}

/// Reads a 64-bit key, or the bits of the traces (`sessions`) at the beginning of a value. `bpftool` prints them as
/// numbers if the map has type information, and as bytes in the machine's order if not.
fn word(entry: &Value, name: &str) -> Option<u64> {
    let formatted = &entry["formatted"][name];
    if let Some(word) = formatted.as_u64().or_else(|| formatted["sessions"].as_u64()) {
        return Some(word);
    }
    let bytes = entry[name]
        .as_array()?
        .iter()
        .take(size_of::<u64>())
        .map(|byte| u8::from_str_radix(byte.as_str()?.trim_start_matches("0x"), 16).ok());
    Some(u64::from_ne_bytes(bytes.collect::<Option<Vec<_>>>()?.try_into().ok()?))
}

/// Returns the id of a pod's cgroup on this machine; `None` until the cgroup exists.
///
/// # Errors
///
/// Fails when the machine has no cgroup2 tree.
pub fn pod_cgroup(pod_uid: &str) -> Result<Option<u64>> {
    let mut folders = vec![needs::cgroup2_mount()?];
    // The folder of a pod is at most at this depth: root, node, kubepods, class, pod.
    for _ in 0..4 {
        let below = |folder: PathBuf| {
            // A folder may be removed while it is read.
            std::fs::read_dir(folder).into_iter().flatten().flatten().filter(|e| e.path().is_dir())
        };
        folders = folders.into_iter().flat_map(below).map(|entry| entry.path()).collect();
        let pod = folders.iter().find(|folder| folder.to_string_lossy().ends_with(&format!("/pod{pod_uid}")));
        if let Some(pod) = pod {
            return Ok(cgroup::id(pod).ok());
        }
    }
    Ok(None)
}
