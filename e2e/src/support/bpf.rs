//! The objects of the kernel's BPF subsystem that a process holds, and whether they still exist.

use std::{collections::BTreeSet, fs, process::Command};

use serde_json::Value;

use super::{Result, TestError};

/// Error of `bpftool` for a link that another process is creating at this moment (EAGAIN of `bpf_link_by_id()`).
const BEING_MADE: &str = "Resource temporarily unavailable";
/// Maximum number of times that a list is repeated after the error [`BEING_MADE`].
const LISTS: usize = 10;

/// Ids of BPF objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Objects {
    /// Ids of programs.
    pub programs: BTreeSet<u64>,
    /// Ids of maps, also of those that only a program holds.
    pub maps: BTreeSet<u64>,
    /// Ids of links.
    pub links: BTreeSet<u64>,
}

impl Objects {
    /// Returns whether there is no object.
    pub fn is_empty(&self) -> bool {
        self.programs.is_empty() && self.maps.is_empty() && self.links.is_empty()
    }

    /// Returns the objects of this set that still exist.
    ///
    /// # Errors
    ///
    /// Fails when `bpftool` cannot be run.
    pub fn still_there(&self) -> Result<Self> {
        let left = |kind, ids: &BTreeSet<u64>| -> Result<BTreeSet<u64>> {
            let all: BTreeSet<u64> = show(kind)?.iter().filter_map(|object| object["id"].as_u64()).collect();
            Ok(ids & &all)
        };
        Ok(Self {
            programs: left("prog", &self.programs)?,
            maps: left("map", &self.maps)?,
            links: left("link", &self.links)?,
        })
    }
}

/// Returns the objects that a running process holds by its descriptors (`/proc/PID/fdinfo`), and the maps of its
/// programs.
///
/// # Errors
///
/// Fails when the process has ended or `bpftool` cannot be run.
pub fn held_by(pid: u32) -> Result<Objects> {
    let folder = format!("/proc/{pid}/fdinfo");
    let mut objects = Objects::default();
    for entry in fs::read_dir(&folder).map_err(TestError::io(format!("read {folder}")))? {
        let path = entry.map_err(TestError::io(format!("read {folder}")))?.path();
        // The descriptor may have been closed meanwhile.
        let Ok(text) = fs::read_to_string(&path) else { continue };
        for line in text.lines() {
            let Some((name, Ok(id))) = line.split_once(':').map(|(name, id)| (name, id.trim().parse()))
            else {
                continue;
            };
            match name {
                "prog_id" => objects.programs.insert(id),
                "map_id" => objects.maps.insert(id),
                "link_id" => objects.links.insert(id),
                _ => continue,
            };
        }
    }
    for program in show("prog")? {
        if program["id"].as_u64().is_some_and(|id| objects.programs.contains(&id)) {
            let maps = program["map_ids"].as_array().into_iter().flatten().filter_map(Value::as_u64);
            objects.maps.extend(maps);
        }
    }
    Ok(objects)
}

/// Lists all objects of a kind, as `bpftool` prints them.
///
/// # Errors
///
/// Fails when `bpftool` cannot be run.
pub fn show(kind: &str) -> Result<Vec<Value>> {
    let mut listed = bpftool(&[kind, "show"]);
    for _ in 0..LISTS {
        match &listed {
            Err(error) if error.to_string().contains(BEING_MADE) => listed = bpftool(&[kind, "show"]),
            _ => break,
        }
    }
    listed
}

/// Returns the entries of a map; none if the map is gone, which may happen to another process's map at any time.
///
/// # Errors
///
/// Fails when `bpftool` cannot be run.
pub fn dump_map(id: u64) -> Result<Vec<Value>> {
    let entries = bpftool(&["map", "dump", "id", &id.to_string()]);
    let gone = |ids: Vec<Value>| ids.iter().all(|map| map["id"].as_u64() != Some(id));
    match entries {
        Err(_) if show("map").is_ok_and(gone) => Ok(Vec::new()),
        entries => entries,
    }
}

fn bpftool(arguments: &[&str]) -> Result<Vec<Value>> {
    let what = format!("bpftool {}", arguments.join(" "));
    let output = Command::new("bpftool")
        .arg("-j")
        .args(arguments)
        .output()
        .map_err(TestError::io("run bpftool (package bpftool)"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        return Err(TestError::unexpected(&what, text));
    }
    // bpftool prints nothing instead of an empty list.
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    serde_json::from_str(&text).map_err(|error| TestError::unexpected(&what, format!("{error}: {text}")))
}
