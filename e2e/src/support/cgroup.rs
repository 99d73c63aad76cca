//! A temporary cgroup for a test.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use super::{Result, TestError, wait};

/// A cgroup of the cgroup2 tree. When dropped, its processes are killed, and it is removed with all cgroups below.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// Creates a cgroup with a unique name, directly below `root`.
    ///
    /// # Errors
    ///
    /// Fails when the folder cannot be created.
    pub fn new(root: &Path) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("tt-e2e-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let cgroup = Self { path: root.join(name) };
        make(&cgroup.path)?;
        Ok(cgroup)
    }

    /// Folder of the cgroup.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Creates a cgroup below this one, which is removed together with it.
    ///
    /// # Errors
    ///
    /// Fails when the folder cannot be created.
    pub fn child(&self, name: &str) -> Result<PathBuf> {
        let path = self.path.join(name);
        make(&path)?;
        Ok(path)
    }
}

/// Returns the kernel's id of a cgroup, which is the inode of its folder in the cgroup2 tree.
///
/// # Errors
///
/// Fails when the folder cannot be read.
pub fn id(path: &Path) -> Result<u64> {
    Ok(fs::metadata(path).map_err(TestError::io(format!("read {}", path.display())))?.ino())
}

fn make(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(TestError::io(format!("make the cgroup {}", path.display())))
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let removed = wait::until("the cgroup to be empty and removed", Duration::from_secs(10), || {
            // Killed in every round: without `cgroup.kill`, a process may have forked a child just before it was
            // killed.
            kill_tree(&self.path)
                .map_err(TestError::io(format!("kill the processes of {}", self.path.display())))?;
            Ok(remove_tree(&self.path).map_err(|error| error.to_string()))
        });
        if let Err(error) = removed {
            eprintln!("left behind: {error}");
        }
    }
}

/// Kills every process in the cgroup and below.
fn kill_tree(path: &Path) -> io::Result<()> {
    match fs::OpenOptions::new().write(true).open(path.join("cgroup.kill")) {
        Ok(mut kill) => return kill.write_all(b"1"),
        // Linux before 5.14 has no `cgroup.kill`.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            kill_tree(&entry.path())?;
        }
    }
    let processes = fs::read_to_string(path.join("cgroup.procs"))?;
    for process in processes.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)) {
        // The process may have ended meanwhile.
        let _ = kill_process(process, Signal::KILL);
    }
    Ok(())
}

/// Removes the folders from the deepest one up; the kernel's files in them disappear with them.
fn remove_tree(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(path)
}
