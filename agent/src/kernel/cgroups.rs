//! Programs that are attached to cgroups: which program is attached to which cgroup, and why.
//!
//! A program on a cgroup sees the sockets of that cgroup and of all cgroups below, and makes each of their operations
//! slightly slower. Programs are therefore attached to the selected cgroups only, and only while a session uses them.
//! On the root of the tree they see every socket of the machine. They are attached there while a session selects
//! processes by id, while selected processes hold sockets of unselected cgroups, or while very many cgroups are selected.

use std::{
    collections::{BTreeMap, HashSet},
    fs::File,
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use aya::{
    Btf, Ebpf,
    programs::{
        CgroupAttachMode, CgroupSkbAttachType, Program, ProgramError,
        links::{FdLink, LinkError},
    },
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{
    KernelError, load,
    tier::{Hook, ICMP_SEND, INGRESS, PEERS, RELEASE},
};

/// Attach mode without flags. A cgroup link always allows further links, and the kernel refuses the flag that asks for
/// that (`cgroup_bpf_link_attach()`).
const MODE: CgroupAttachMode = CgroupAttachMode::Single;

/// Maximum number of cgroups that have programs of their own. Each link takes a file descriptor and a moment to attach.
/// Beyond that number, one program on the root costs less than one on each cgroup.
const MAX_CGROUPS: usize = 512;

/// Needs of all sessions together from the programs on cgroups.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct AtCgroups {
    /// Selected cgroups by id, with their folders relative to the root of the tree.
    pub(super) selected: BTreeMap<u64, PathBuf>,
    /// Set if sockets of any cgroup may be counted.
    pub(super) everywhere: bool,
    /// Set if the peers of UDP messages are wanted. The kernel runs the programs for peers only at UDP sockets.
    pub(super) peers: bool,
    /// Set if the program that reports the ends of sockets is wanted.
    pub(super) ends: bool,
    /// Set if the destinations of ICMP messages are wanted.
    pub(super) icmp: bool,
}

/// Programs attached to cgroups. Dropping a link detaches the program.
#[derive(Debug)]
pub(super) struct CgroupPrograms {
    /// Root of the cgroup2 tree.
    root: PathBuf,
    links: BTreeMap<(&'static str, u64), FdLink>,
}

impl CgroupPrograms {
    /// Creates an empty set with nothing attached. `root` is the root of the cgroup2 tree.
    pub(super) fn new(root: &Path) -> Self {
        allow_many_links();
        Self { root: root.to_owned(), links: BTreeMap::new() }
    }

    /// Attaches each program to the cgroups that need it, and detaches it from those that no longer do.
    pub(super) fn update(
        &mut self,
        ebpf: &mut Ebpf,
        btf: &Btf,
        wanted: &AtCgroups,
    ) -> Result<(), KernelError> {
        let groups: [(bool, &[Hook]); 3] =
            [(wanted.peers, &PEERS), (wanted.ends, &[RELEASE]), (wanted.icmp, &[ICMP_SEND])];
        let hooks = groups.into_iter().filter(|(wanted, _)| *wanted).flat_map(|(_, hooks)| hooks);
        let hooks: Vec<_> = hooks.copied().collect();
        let topmost = topmost(&wanted.selected);
        let is_everywhere = wanted.everywhere || topmost.len() > MAX_CGROUPS;
        let targets = if is_everywhere { self.everywhere()? } else { topmost };
        self.set(ebpf, btf, &hooks, &targets)
    }

    /// Attaches the programs of `hooks` to the cgroups in `targets`, and detaches all others. New links are made before
    /// old ones are dropped, so that no message passes unseen in between. Programs on a cgroup and on one above it then
    /// both run for a message, which does no harm.
    pub(super) fn set(
        &mut self,
        ebpf: &mut Ebpf,
        btf: &Btf,
        hooks: &[Hook],
        targets: &BTreeMap<u64, PathBuf>,
    ) -> Result<(), KernelError> {
        let mut kept = HashSet::new();
        for hook in hooks {
            for (cgroup, folder) in targets {
                let key = (hook.program, *cgroup);
                if !self.links.contains_key(&key)
                    && let Some(link) = self.attach(ebpf, btf, *hook, *cgroup, folder)?
                {
                    self.links.insert(key, link);
                }
                kept.insert(key);
            }
        }
        self.links.retain(|key, _| kept.contains(key));
        Ok(())
    }

    /// Returns the ids of the cgroups to which a program is attached.
    #[cfg(test)]
    pub(super) fn cgroups_with(&self, program: &str) -> Vec<u64> {
        self.links.keys().filter(|(name, _)| *name == program).map(|(_, cgroup)| *cgroup).collect()
    }

    /// Returns the root of the tree alone, where programs see the sockets of all cgroups.
    pub(super) fn everywhere(&self) -> Result<BTreeMap<u64, PathBuf>, KernelError> {
        let metadata = self.root.metadata();
        let metadata =
            metadata.map_err(|source| KernelError::CgroupRoot { path: self.root.clone(), source })?;
        Ok([(metadata.ino(), PathBuf::new())].into())
    }

    /// Attaches a program to a cgroup. Returns `None` if the cgroup no longer exists.
    fn attach(
        &self,
        ebpf: &mut Ebpf,
        btf: &Btf,
        hook: Hook,
        cgroup: u64,
        folder: &Path,
    ) -> Result<Option<FdLink>, KernelError> {
        let path = self.root.join(folder);
        let Some(folder) = open(&path, cgroup) else { return Ok(None) };
        let program = load::program(ebpf, hook)?;
        if program.fd().is_err() {
            load::load_program(program, btf, hook).map_err(|error| load::loading(hook, error))?;
        }
        match attach(program, hook, &folder) {
            Ok(link) => Ok(Some(link)),
            // A cgroup can be removed at any moment.
            Err(_) if open(&path, cgroup).is_none() => Ok(None),
            Err(error) => {
                let step =
                    format!("attach the BPF program {} to the cgroup {}", hook.program, path.display());
                Err(KernelError::load(step, error))
            }
        }
    }
}

/// Raises the soft limit of open files to the hard limit: each link needs a descriptor, and a node has some hundred
/// pods. Many container runtimes start processes with a soft limit of 1024.
fn allow_many_links() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some() && limit.current != limit.maximum {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::debug!(%error, "the limit of open files stays as it is");
        }
    }
}

/// Opens the folder of a cgroup. Returns `None` if the cgroup is gone or its path now belongs to another cgroup.
fn open(path: &Path, cgroup: u64) -> Option<File> {
    let folder = File::open(path).ok()?;
    folder.metadata().is_ok_and(|metadata| metadata.ino() == cgroup).then_some(folder)
}

fn attach(program: &mut Program, hook: Hook, folder: &File) -> Result<FdLink, ProgramError> {
    let link = match program {
        Program::CgroupSockAddr(program) => {
            let id = program.attach(folder, MODE)?;
            program.take_link(id)?.try_into()
        }
        Program::CgroupSock(program) => {
            let id = program.attach(folder, MODE)?;
            program.take_link(id)?.try_into()
        }
        Program::CgroupSkb(program) => {
            let way = match hook.target {
                INGRESS => CgroupSkbAttachType::Ingress,
                _ => CgroupSkbAttachType::Egress,
            };
            let id = program.attach(folder, way, MODE)?;
            program.take_link(id)?.try_into()
        }
        _ => return Err(ProgramError::UnexpectedProgramType),
    };
    // Since Linux 5.7 every cgroup link is a kernel object with a descriptor.
    link.map_err(|error: LinkError| ProgramError::IOError(io::Error::other(error)))
}

/// Returns the selected cgroups without those that lie below another selected one, since the programs on the upper
/// cgroup see their sockets too.
pub(super) fn topmost(selected: &BTreeMap<u64, PathBuf>) -> BTreeMap<u64, PathBuf> {
    let paths: HashSet<&Path> = selected.values().map(PathBuf::as_path).collect();
    let is_topmost = |path: &Path| !path.ancestors().skip(1).any(|above| paths.contains(above));
    let kept = selected.iter().filter(|(_, path)| is_topmost(path));
    kept.map(|(cgroup, path)| (*cgroup, path.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_below_a_selected_one_needs_no_program_of_its_own() {
        let paths = ["pods/a", "pods/a/container", "pods/ab", "system/x/y/z"];
        let selected = (1..).zip(paths.map(PathBuf::from)).collect();
        assert_eq!(topmost(&selected).into_keys().collect::<Vec<_>>(), [1, 3, 4]);
        let all = [(9, PathBuf::new())].into_iter().chain(selected).collect();
        assert_eq!(topmost(&all).into_keys().collect::<Vec<_>>(), [9]);
    }

    #[test]
    fn another_cgroup_of_the_same_path_is_not_the_one() {
        let folder = tempfile::tempdir().unwrap();
        let id = folder.path().metadata().unwrap().ino();
        assert!(open(folder.path(), id).is_some());
        assert!(open(folder.path(), id + 1).is_none());
        assert!(open(&folder.path().join("gone"), id).is_none());
    }
}
