//! The container that an id names.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
};

use super::HostError;
use crate::cgroups::{CgroupRoot, ContainerPath, container_of};

/// Fewest characters of an id.
const MIN_LENGTH: usize = 4;
/// Deepest folder that is looked into; a container inside a kind node inside a pod is at twelve.
const MAX_DEPTH: usize = 32;
/// Most candidates that an error names.
const MAX_NAMED: usize = 5;

/// The beginning of a container's id, or the whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ContainerId(String);

impl FromStr for ContainerId {
    type Err = String;

    /// Reads an id as people copy it: `kubectl` prints it behind the runtime's name (`containerd://4f1c…`).
    fn from_str(text: &str) -> Result<Self, String> {
        let id = text.split_once("://").map_or(text, |(_, id)| id);
        if id.chars().count() < MIN_LENGTH {
            return Err(format!("write at least {MIN_LENGTH} characters of the id"));
        }
        Ok(Self(id.to_owned()))
    }
}

impl ContainerId {
    /// The folder of the one container with this id.
    pub(super) fn find(&self, root: &CgroupRoot) -> Result<ContainerPath, HostError> {
        let (mut found, seen) = self.search(&|folder| root.children(folder));
        match (found.pop(), found.is_empty()) {
            (Some(container), true) => Ok(container),
            (None, _) => {
                Err(HostError::NoContainer { id: self.0.clone(), seen, root: root.path().to_owned() })
            }
            (Some(last), false) => {
                found.push(last);
                Err(HostError::SeveralContainers { id: self.0.clone(), candidates: candidates(&found) })
            }
        }
    }

    /// All containers with this id, and the number of containers in the tree. `children` lists the folders in a folder.
    fn search(&self, children: &dyn Fn(&Path) -> Vec<String>) -> (Vec<ContainerPath>, usize) {
        let (mut found, mut seen): (Vec<ContainerPath>, _) = (Vec::new(), 0);
        let mut open = vec![(PathBuf::new(), 0)];
        while let Some((folder, depth)) = open.pop() {
            if let Some(container) = container_of(&folder).filter(|container| container.path == folder) {
                seen += 1;
                if container.name.id.starts_with(&self.0) {
                    // A folder of equal name further down belongs to the same container.
                    let below = |other: &ContainerPath| {
                        other.name.id == container.name.id && folder.starts_with(&other.path)
                    };
                    if !found.iter().any(below) {
                        found.push(container);
                    }
                }
            }
            if depth < MAX_DEPTH {
                let mut names = children(&folder);
                names.sort_unstable_by(|one, two| two.cmp(one));
                open.extend(names.iter().map(|name| (folder.join(name), depth + 1)));
            }
        }
        // A whole id is not meant as the beginning of a longer one.
        if found.iter().any(|container| container.name.id == self.0) {
            found.retain(|container| container.name.id == self.0);
        }
        (found, seen)
    }
}

/// The first candidates, each with its whole id and its folder.
fn candidates(found: &[ContainerPath]) -> String {
    let name = |container: &ContainerPath| {
        format!("{} ({}, cgroup /{})", container.name.id, container.name.runtime, container.path.display())
    };
    let mut names: Vec<String> = found.iter().take(MAX_NAMED).map(name).collect();
    if found.len() > MAX_NAMED {
        names.push(format!("and {} more", found.len() - MAX_NAMED));
    }
    names.join(", ")
}

#[cfg(test)]
mod tests;
