//! The command-line argument that selects a container.

use std::{fmt, path::Path, str::FromStr};

use traffictrace_crd::human;

use super::{Container, Names};
use crate::host::HostError;

/// Minimum number of characters for the beginning of an id.
const MIN_LENGTH: usize = 4;
/// Maximum number of candidates that an error lists.
const MAX_NAMED: usize = 10;

/// A container's name or id, or the beginning of its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ContainerPattern(String);

impl FromStr for ContainerPattern {
    type Err = String;

    /// Parses an argument, without the name of the runtime that `kubectl` prints before an id (`containerd://4f1c…`).
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.split_once("://").map_or(text, |(_, id)| id);
        if text.is_empty() {
            return Err("write a container's name, POD/CONTAINER, or the beginning of its id".to_owned());
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for ContainerPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&human::printable(&self.0))
    }
}

/// Quality of a match, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Match {
    Id,
    Name,
    BeginningOfId,
}

impl ContainerPattern {
    fn matches(&self, container: &Container) -> Option<Match> {
        let id = &container.path.name.id;
        if *id == self.0 {
            return Some(Match::Id);
        }
        if container.names.as_ref().is_some_and(|names| names.is_meant_by(&self.0)) {
            return Some(Match::Name);
        }
        let is_part = self.0.chars().count() >= MIN_LENGTH && id.starts_with(&self.0);
        is_part.then_some(Match::BeginningOfId)
    }

    /// Finds the one container that matches best: a complete id or name is preferred to the beginning of a longer
    /// one.
    ///
    /// # Errors
    ///
    /// [`HostError::NoContainer`] or [`HostError::SeveralContainers`], which list the candidates.
    pub(crate) fn find<'a>(
        &self,
        containers: impl Iterator<Item = &'a Container>,
        root: &Path,
    ) -> Result<&'a Container, HostError> {
        let mut containers: Vec<&Container> = containers.collect();
        let mut found: Vec<(Match, &Container)> = Vec::new();
        for container in &containers {
            let Some(rank) = self.matches(container) else { continue };
            // A folder with the same id further down belongs to the same container.
            let is_below = |other: &Container| {
                other.path.name.id == container.path.name.id
                    && container.path.path.starts_with(&other.path.path)
            };
            if !found.iter().any(|(_, other)| is_below(other)) {
                found.push((rank, container));
            }
        }
        let best = found.iter().map(|(rank, _)| *rank).min();
        found.retain(|(rank, _)| Some(*rank) == best);
        match found[..] {
            [(_, container)] => Ok(container),
            [] => {
                // Sandbox containers of pods are not suggested, since users do not trace them.
                let is_sandbox = |names: &Names| names.container.is_none();
                containers.retain(|container| !container.names.as_ref().is_some_and(is_sandbox));
                let similar = |container: &&&Container| described(container).contains(&self.0);
                let mut others: Vec<&Container> = containers.iter().filter(similar).copied().collect();
                if others.is_empty() {
                    others = containers;
                }
                Err(HostError::NoContainer {
                    text: self.to_string(),
                    there: list(&others),
                    root: root.to_owned(),
                })
            }
            _ => {
                let candidates: Vec<&Container> = found.iter().map(|(_, container)| *container).collect();
                Err(HostError::SeveralContainers { text: self.to_string(), candidates: list(&candidates) })
            }
        }
    }
}

/// Describes a container by its name, runtime and id.
pub(crate) fn described(container: &Container) -> String {
    let name = &container.path.name;
    let id = human::printable(name.id.get(..12).filter(|_| name.id.len() == 64).unwrap_or(&name.id));
    match &container.names {
        Some(names) => format!("{names} ({}, id {id})", name.runtime),
        None => format!(
            "{id} ({}, cgroup /{})",
            name.runtime,
            human::printable(&container.path.path.to_string_lossy())
        ),
    }
}

/// Lists the first [`MAX_NAMED`] containers.
fn list(containers: &[&Container]) -> String {
    if containers.is_empty() {
        return "none".to_owned();
    }
    let mut names: Vec<String> = containers.iter().map(|container| described(container)).collect();
    names.sort();
    let more = names.len().saturating_sub(MAX_NAMED);
    names.truncate(MAX_NAMED);
    if more > 0 {
        names.push(format!("and {more} more"));
    }
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroups::container_of;

    fn id(digits: &str) -> String {
        digits.repeat(64 / digits.len())
    }

    fn container(folder: &str, names: Option<Names>) -> Container {
        Container::known(container_of(Path::new(folder)).unwrap(), names)
    }

    fn containers() -> Vec<Container> {
        let pod = "kubepods/burstable/pod0d2f3ad1-8c1e-4d5b-9f0a-1b2c3d4e5f60";
        let in_pod = |container| Names::in_pod("shop", "web-7c9f", container);
        vec![
            container(&format!("system.slice/docker-{}.scope", id("1111aaaa")), Names::single("db")),
            container(&format!("{pod}/{}", id("2222bbbb")), in_pod(Some("nginx"))),
            container(&format!("{pod}/{}", id("3333cccc")), in_pod(Some("php"))),
            container(&format!("{pod}/{}", id("4444dddd")), in_pod(None)),
            container(&format!("machine.slice/libpod-{}.scope", id("1111eeee")), Names::single("2222")),
            container("lxc.payload.shop", None),
            container("lxc.payload.shop-two", None),
        ]
    }

    fn found(text: &str) -> Result<String, String> {
        let containers = containers();
        let pattern: ContainerPattern = text.parse()?;
        let found = pattern.find(containers.iter(), Path::new("/sys/fs/cgroup"));
        found.map(|container| container.path.name.id.clone()).map_err(|error| error.to_string())
    }

    #[test]
    fn names_and_ids_find_their_container() {
        for (text, wanted) in [
            ("db", id("1111aaaa")),
            ("1111aaaa1111", id("1111aaaa")),
            ("docker://1111aaaa", id("1111aaaa")),
            (&id("2222bbbb"), id("2222bbbb")),
            ("nginx", id("2222bbbb")),
            ("web-7c9f/php", id("3333cccc")),
            ("shop/web-7c9f/nginx", id("2222bbbb")),
            ("4444", id("4444dddd")),
            // A complete name is preferred to the beginning of another container's id, and a complete id to the
            // beginning of a longer one.
            ("2222", id("1111eeee")),
            ("shop", "shop".to_owned()),
            ("shop-", "shop-two".to_owned()),
        ] {
            assert_eq!(found(text), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn none_and_several_are_errors_that_name_what_is_there() {
        let several = found("web-7c9f").unwrap_err();
        assert!(
            several.contains("shop/web-7c9f/nginx (container runtime, id 2222bbbb2222)")
                && several.contains("shop/web-7c9f/php"),
            "{several}"
        );
        let several = found("1111").unwrap_err();
        assert!(several.contains("db (Docker") && several.contains("2222 (Podman"), "{several}");
        let none = found("111").unwrap_err();
        assert!(none.contains("db (Docker, id 1111aaaa1111)") && none.contains("/sys/fs/cgroup"), "{none}");
        assert!(!none.contains("nginx"), "what is similar is named alone: {none}");
        let none = found("absent").unwrap_err();
        assert!(none.contains("nginx") && none.contains("shop-two"), "{none}");
        assert!(found("aaaa").is_err(), "in the middle of an id");
        assert!(found("").is_err() && found("docker://").is_err());
    }

    #[test]
    fn thousands_are_not_all_listed_and_hostile_names_are_harmless() {
        let many: Vec<_> = (0..5000)
            .map(|n| container(&format!("docker/{n:064x}"), Names::single(&format!("\u{1b}[2J{n}"))))
            .collect();
        let pattern: ContainerPattern = "absent\u{1b}]0;".parse().unwrap();
        let error = pattern.find(many.iter(), Path::new("/")).unwrap_err().to_string();
        assert!(error.contains("and 4990 more") && !error.contains('\u{1b}'), "{error}");
    }
}
