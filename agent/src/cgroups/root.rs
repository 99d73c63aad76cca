//! The host's cgroup2 tree, and the cgroup of a process in it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use super::CgroupError;

/// `CGROUP2_SUPER_MAGIC` of linux/magic.h.
const CGROUP2_MAGIC: rustix::fs::FsWord = 0x6367_7270;
/// Inode number of the first cgroup namespace, fixed by the kernel (`PROC_CGROUP_INIT_INO`, linux/proc_ns.h).
const FIRST_NAMESPACE: u64 = 0xEFFF_FFFB;
/// Maximum depth of a search. kind inside a systemd host needs seven.
const MAX_DEPTH: usize = 32;

/// The root of a cgroup2 tree. Paths given to its methods are relative to it. A leading slash, or the mount point in
/// front of the path, makes no difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CgroupRoot {
    path: PathBuf,
}

/// A cgroup whose folder is held open, so that the kernel cannot reuse its id.
#[derive(Debug)]
pub(crate) struct CgroupFolder {
    id: u64,
    path: PathBuf,
    /// Held open, but not read.
    _folder: File,
}

impl CgroupFolder {
    /// Id by which kernel programs identify the cgroup.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Folder of the cgroup, relative to the root.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Finds the cgroup2 tree: the given one, or the highest one that is mounted.
///
/// On a hybrid host the given folder may also be the parent: `/sys/fs/cgroup` stands for `/sys/fs/cgroup/unified`
/// there.
///
/// # Errors
///
/// [`CgroupError::NotMounted`], [`CgroupError::NotCgroup2`], or [`CgroupError::Io`] if the folder or
/// `/proc/self/mountinfo` cannot be read.
pub(crate) fn find_root(given: Option<&Path>) -> Result<CgroupRoot, CgroupError> {
    if let Some(path) = given {
        let candidates = [path.to_owned(), path.join("unified")];
        let found = candidates.into_iter().find(|candidate| is_cgroup2(candidate).unwrap_or(false));
        return match found {
            Some(path) => Ok(CgroupRoot { path }),
            None => match is_cgroup2(path) {
                Err(source) => Err(CgroupError::Io { action: "open", path: path.to_owned(), source }),
                Ok(_) => Err(CgroupError::NotCgroup2 { path: path.to_owned(), hint: mounted_hint() }),
            },
        };
    }
    mounted_root()?.map(|path| CgroupRoot { path }).ok_or(CgroupError::NotMounted)
}

impl CgroupRoot {
    /// Mount point of the tree.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the id of a cgroup, which is the inode number of its folder.
    ///
    /// # Errors
    ///
    /// Those of [`CgroupRoot::open`].
    pub(crate) fn id_of(&self, cgroup: &Path) -> Result<u64, CgroupError> {
        self.open(cgroup).map(|folder| folder.id)
    }

    /// Opens a cgroup's folder and keeps it open.
    ///
    /// # Errors
    ///
    /// [`CgroupError::NoSuchCgroup`]; [`CgroupError::UpwardPath`] if the path contains `..`;
    /// [`CgroupError::NotCgroup2`] if the folder is in another filesystem; or [`CgroupError::Io`].
    pub(crate) fn open(&self, cgroup: &Path) -> Result<CgroupFolder, CgroupError> {
        let relative = self.relative(cgroup)?;
        let path = self.path.join(&relative);
        let folder = File::open(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound
                if cgroup.is_absolute() && fs::metadata(cgroup).is_ok_and(|m| m.is_dir()) =>
            {
                // The folder exists, but in another filesystem: most likely that of a cgroup v1 controller.
                CgroupError::NotCgroup2 { path: cgroup.to_owned(), hint: self.path.display().to_string() }
            }
            io::ErrorKind::NotFound => {
                CgroupError::NoSuchCgroup { path: path.clone(), root: self.path.clone() }
            }
            _ => CgroupError::Io { action: "open", path: path.clone(), source },
        })?;
        let io_error = |source| CgroupError::Io { action: "read", path: path.clone(), source };
        let metadata = folder.metadata().map_err(io_error)?;
        let kind = rustix::fs::fstatfs(&folder).map_err(|errno| io_error(errno.into()))?;
        if !metadata.is_dir() || !is_cgroup2_magic(&kind) {
            return Err(CgroupError::NotCgroup2 { path, hint: self.path.display().to_string() });
        }
        Ok(CgroupFolder { id: metadata.ino(), path: relative, _folder: folder })
    }

    /// Returns the folder of a process's cgroup, relative to the root.
    ///
    /// `/proc/PID/cgroup` is relative to the reader's cgroup namespace. That need not begin at this tree's root, for
    /// example in an agent's pod that mounts the host's tree. Then the tree is searched for the folder that lists the
    /// process.
    ///
    /// # Errors
    ///
    /// [`CgroupError::NoSuchProcess`]; [`CgroupError::Unreachable`] if no folder of this tree lists the process; or
    /// [`CgroupError::Io`].
    pub(crate) fn of_pid(&self, pid: u32) -> Result<PathBuf, CgroupError> {
        let file = PathBuf::from(format!("/proc/{pid}/cgroup"));
        let text = fs::read_to_string(&file).map_err(|source| match source.raw_os_error() {
            Some(libc::ENOENT | libc::ESRCH) => CgroupError::NoSuchProcess { pid },
            _ => CgroupError::Io { action: "read", path: file.clone(), source },
        })?;
        let seen = text.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or_default();
        // The kernel appends this to the path of a zombie whose cgroup was removed.
        let seen = seen.strip_suffix(" (deleted)").unwrap_or(seen);
        let relative = PathBuf::from(seen.trim_start_matches('/'));
        let inside = seen.starts_with('/') && !relative.components().any(|c| c == Component::ParentDir);
        if inside
            && (in_first_namespace() || self.lists(&relative, pid))
            && self.path.join(&relative).is_dir()
        {
            return Ok(relative);
        }
        self.search(Path::new(""), 0, &|folder| self.lists(folder, pid))
            .ok_or_else(|| CgroupError::Unreachable { pid, root: self.path.clone(), seen: seen.to_owned() })
    }

    /// Returns the names of the folders in a cgroup; none if the cgroup is gone.
    pub(crate) fn children(&self, cgroup: &Path) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path.join(cgroup)) else { return Vec::new() };
        entries
            .filter_map(Result::ok)
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect()
    }

    fn relative(&self, cgroup: &Path) -> Result<PathBuf, CgroupError> {
        let relative = cgroup.strip_prefix(&self.path).unwrap_or(cgroup);
        let mut path = PathBuf::new();
        for part in relative.components() {
            match part {
                Component::Normal(name) => path.push(name),
                Component::RootDir | Component::CurDir => {}
                Component::ParentDir | Component::Prefix(_) => {
                    return Err(CgroupError::UpwardPath { path: cgroup.to_owned() });
                }
            }
        }
        Ok(path)
    }

    /// Returns true if a cgroup lists the process by its id in this pid namespace.
    fn lists(&self, cgroup: &Path, pid: u32) -> bool {
        fs::read_to_string(self.path.join(cgroup).join("cgroup.procs"))
            .is_ok_and(|text| text.lines().any(|line| line.parse() == Ok(pid)))
    }

    fn search(&self, cgroup: &Path, depth: usize, wanted: &dyn Fn(&Path) -> bool) -> Option<PathBuf> {
        if wanted(cgroup) {
            return Some(cgroup.to_owned());
        }
        if depth == MAX_DEPTH {
            return None;
        }
        self.children(cgroup).iter().find_map(|name| self.search(&cgroup.join(name), depth + 1, wanted))
    }
}

fn is_cgroup2(path: &Path) -> io::Result<bool> {
    Ok(is_cgroup2_magic(&rustix::fs::statfs(path)?))
}

fn is_cgroup2_magic(kind: &rustix::fs::StatFs) -> bool {
    kind.f_type == CGROUP2_MAGIC
}

/// Returns true if this process sees cgroup paths from the host's root on.
fn in_first_namespace() -> bool {
    fs::metadata("/proc/self/ns/cgroup").is_ok_and(|namespace| namespace.ino() == FIRST_NAMESPACE)
}

fn mounted_root() -> Result<Option<PathBuf>, CgroupError> {
    let file = Path::new("/proc/self/mountinfo");
    let text = fs::read_to_string(file).map_err(|source| CgroupError::Io {
        action: "read",
        path: file.to_owned(),
        source,
    })?;
    Ok(highest_mount(&text))
}

fn mounted_hint() -> String {
    match mounted_root() {
        Ok(Some(path)) => path.display().to_string(),
        _ => "no place visible from here".to_owned(),
    }
}

/// Finds, in the text of mountinfo (proc(5)), the cgroup2 mount that shows most of the hierarchy, and returns its
/// mount point.
///
/// The fourth field is the mounted folder, relative to the reader's cgroup namespace: `/..` is above the namespace's
/// root, `/` is the root, anything else is below. Among equals, the shortest mount point is taken.
fn highest_mount(mountinfo: &str) -> Option<PathBuf> {
    mountinfo
        .lines()
        .filter_map(|line| {
            let (mount, filesystem) = line.split_once(" - ")?;
            if filesystem.split(' ').next() != Some("cgroup2") {
                return None;
            }
            let mut fields = mount.split(' ').skip(3);
            let (root, point) = (fields.next()?, fields.next()?);
            let above = root.split('/').filter(|name| *name == "..").count();
            let below = root.split('/').filter(|name| !name.is_empty() && *name != "..").count();
            Some((std::cmp::Reverse(above), below, point.len(), PathBuf::from(unescape(point))))
        })
        .min()
        .map(|(.., point)| point)
}

/// Undoes the escapes in mountinfo: space, tab, newline and backslash are written as three octal digits.
fn unescape(field: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(field.to_owned(), |text, (escape, plain)| text.replace(escape, plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_mount_that_shows_most() {
        let host = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw";
        let hybrid = "31 23 0:27 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                      32 31 0:28 / /sys/fs/cgroup/unified rw - cgroup2 none rw\n\
                      33 31 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory";
        let pod = "41 40 0:26 / /sys/fs/cgroup ro - cgroup2 cgroup rw\n\
                   42 40 0:26 /../../.. /host/cgroup ro master:9 - cgroup2 cgroup2 rw";
        let part = "50 1 0:26 /docker/a1 /mnt/part rw - cgroup2 none rw\n\
                    51 1 0:26 / /mnt/a\\040long\\134place rw - cgroup2 none rw";
        for (text, point) in [
            (host, Some("/sys/fs/cgroup")),
            (hybrid, Some("/sys/fs/cgroup/unified")),
            (pod, Some("/host/cgroup")),
            (part, Some("/mnt/a long\\place")),
            ("", None),
            ("garbage\n- cgroup2\n1 - cgroup2", None),
        ] {
            assert_eq!(highest_mount(text), point.map(PathBuf::from), "{text}");
        }
    }

    #[test]
    fn every_way_to_write_a_path_means_the_same_folder() {
        let root = CgroupRoot { path: "/sys/fs/cgroup/unified".into() };
        for path in ["a/b", "/a/b", "/sys/fs/cgroup/unified/a/b", "/a//b/", "./a/./b"] {
            assert_eq!(root.relative(Path::new(path)).unwrap(), Path::new("a/b"), "{path}");
        }
        assert!(matches!(root.relative(Path::new("/a/../../etc")), Err(CgroupError::UpwardPath { .. })));
    }

    #[test]
    fn a_given_folder_that_is_no_cgroup2_is_refused_with_the_way_out() {
        let folder = tempfile::tempdir().unwrap();
        let error = find_root(Some(folder.path())).unwrap_err();
        assert!(matches!(error, CgroupError::NotCgroup2 { .. }), "{error}");
        let error = find_root(Some(Path::new("/no/such/folder"))).unwrap_err();
        assert!(error.to_string().contains("/no/such/folder"), "{error}");
    }
}
