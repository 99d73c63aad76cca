//! The process that supervises a container, from whose command line and files the container's name is read.
//!
//! The supervisor is an ancestor of the container's processes and outside of the container's cgroup, so no process
//! inside the container can pose as it. A supervisor that runs inside another container belongs to that container, and
//! can name only containers that are nested in it.

use std::{
    fs::{self, File},
    io::Read as _,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use procfs::process::Process;

use super::{
    Names,
    bundle::{Specification, dockers_name},
};
use crate::{
    cgroups::{CgroupRoot, ContainerPath, container_of},
    foreign,
};

/// Maximum number of ancestors that are examined. A container's first process has one or two; other processes have as
/// many as shells are nested.
const MAX_ANCESTORS: usize = 64;
/// Maximum number of bytes read of a command line.
const MAX_COMMAND: u64 = 64 * 1024;
/// Maximum number of bytes read of a file. The specification of a container has some ten thousand.
const MAX_FILE: u64 = 4 << 20;
/// Maximum number of a container's folders that are searched for a process.
const MAX_FOLDERS: usize = 64;
/// Folders of CRI-O and Podman with one folder for each container. They are searched if the supervisor's command line
/// does not give the container's own folder.
const OF_STORAGE: [&str; 2] =
    ["/run/containers/storage/overlay-containers", "/var/lib/containers/storage/overlay-containers"];

/// Result of looking for a container's name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The name.
    Named(Names),
    /// The container has no process yet.
    Empty,
    /// The name cannot be found.
    Unknown,
}

/// Looks for the name of a container that has processes.
pub(super) fn ask(root: &CgroupRoot, container: &ContainerPath) -> Answer {
    let Some(pid) = a_process_of(root, container) else { return Answer::Empty };
    let mut pid = pid;
    for _ in 0..MAX_ANCESTORS {
        match parent_of(pid) {
            Some(parent) if parent > 0 => pid = parent,
            _ => break,
        }
        // A process inside the container could pose as a supervisor, so only processes outside of it are believed.
        let is_outside = || root.of_pid(pid).is_ok_and(|cgroup| !cgroup.starts_with(&container.path));
        let command = command_of(pid);
        if let Some(supervisor) = Supervisor::of(&command)
            && is_outside()
            && let Some(names) = supervisor.names(pid, &container.name.id)
        {
            return Answer::Named(names);
        }
    }
    Answer::Unknown
}

/// A kind of supervisor, recognised by its command line.
#[derive(Debug, PartialEq, Eq)]
enum Supervisor {
    /// containerd's shim, also used by Docker and nerdctl. Its working directory is the folder of the first container
    /// that it serves; the folders of the pod's other containers are beside it.
    Shim,
    /// conmon, of Podman and CRI-O, with the name from its command line.
    Conmon(Option<String>),
}

impl Supervisor {
    fn of(command: &[String]) -> Option<Self> {
        let program = Path::new(command.first()?).file_name()?.to_str()?;
        if program.starts_with("containerd-shim") {
            return Some(Self::Shim);
        }
        if program != "conmon" && program != "conmonrs" {
            return None;
        }
        // The words after `--exit-command` are another program's command line.
        let own = command.iter().take_while(|word| *word != "--exit-command").collect::<Vec<_>>();
        let name = own
            .windows(2)
            .find(|pair| matches!(pair[0].as_str(), "-n" | "--name"))
            .map(|pair| pair[1].clone());
        Some(Self::Conmon(name))
    }

    fn names(&self, pid: u32, id: &str) -> Option<Names> {
        match self {
            Self::Conmon(Some(name)) => Names::single(name),
            Self::Conmon(None) => {
                let root = foreign::root_of(pid).ok()?;
                let files = OF_STORAGE.map(|folder| Path::new(folder).join(id).join("userdata/config.json"));
                files.iter().find_map(|file| Specification::read(&read_within(&root, file)?)?.names())
            }
            Self::Shim => {
                let file = foreign::open_beside(pid, &PathBuf::from(id).join("config.json")).ok()?;
                let specification = Specification::read(&read(file)?)?;
                specification.names().or_else(|| {
                    let root = foreign::root_of(pid).ok()?;
                    dockers_name(&read_within(&root, &specification.dockers_file(id)?)?)
                })
            }
        }
    }
}

/// Returns a process in a container's folder or below it, but not in a nested container.
fn a_process_of(root: &CgroupRoot, container: &ContainerPath) -> Option<u32> {
    let mut open = vec![container.path.clone()];
    for _ in 0..MAX_FOLDERS {
        let folder = open.pop()?;
        let processes =
            fs::read_to_string(root.path().join(&folder).join("cgroup.procs")).unwrap_or_default();
        // Processes outside of this pid namespace are listed as 0, and cannot be looked up.
        if let Some(pid) = processes.lines().filter_map(|line| line.parse().ok()).find(|pid| *pid != 0) {
            return Some(pid);
        }
        let children = root.children(&folder).into_iter().map(|name| folder.join(name));
        open.extend(children.filter(|child| container_of(child).is_some_and(|of| of.path == container.path)));
    }
    None
}

fn parent_of(pid: u32) -> Option<u32> {
    let stat = Process::new(pid.try_into().ok()?).and_then(|process| process.stat()).ok()?;
    stat.ppid.try_into().ok()
}

/// Returns the words of a process's command line.
fn command_of(pid: u32) -> Vec<String> {
    let mut bytes = Vec::new();
    let file = File::open(format!("/proc/{pid}/cmdline"));
    if file.is_ok_and(|file| file.take(MAX_COMMAND).read_to_end(&mut bytes).is_ok()) {
        return bytes
            .split(|byte| *byte == 0)
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .collect();
    }
    Vec::new()
}

fn read_within(root: &OwnedFd, path: &Path) -> Option<Vec<u8>> {
    read(foreign::open_within(root, path).ok()?)
}

/// Reads a complete file; `None` if it is too long.
fn read(file: File) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= MAX_FILE).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Option<Supervisor> {
        Supervisor::of(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn supervisors_are_known_by_their_command_lines() {
        assert_eq!(
            of("/usr/bin/containerd-shim-runc-v2 -namespace moby -id 4f1c -address /x"),
            Some(Supervisor::Shim)
        );
        assert_eq!(
            of(
                "/usr/bin/conmon --api-version 1 -c 4f1c -n web --exit-command /usr/bin/podman --exit-command-arg -n"
            ),
            Some(Supervisor::Conmon(Some("web".into())))
        );
        assert_eq!(of("conmon -c 4f1c --exit-command podman -n other"), Some(Supervisor::Conmon(None)));
        assert_eq!(of("/bin/sh -c conmon"), None);
        assert_eq!(of(""), None);
    }

    #[test]
    fn a_process_without_a_supervisor_names_nothing() {
        let Some(root) = crate::testing::writable_cgroups() else { return };
        let cgroup = crate::testing::TestCgroup::new(&root);
        let path = cgroup.make(&"ab".repeat(32));
        let container = container_of(&path).unwrap();
        assert_eq!(ask(&root, &container), Answer::Empty);
        // Podman puts the processes into a folder below the container's.
        cgroup.make(&format!("{}/container", "ab".repeat(32)));
        let _process = cgroup.sleeper(&format!("{}/container", "ab".repeat(32)));
        assert_eq!(ask(&root, &container), Answer::Unknown);
    }
}
