//! A cgroup that goes away with its test.

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

/// A folder of the cgroup2 tree. When dropped, its processes are killed and it is removed with all below it.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// Makes a cgroup with a name that no other test has, directly below `root`.
    ///
    /// # Errors
    ///
    /// When the folder cannot be made.
    pub fn new(root: &Path) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("tt-e2e-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let cgroup = Self { path: root.join(name) };
        make(&cgroup.path)?;
        Ok(cgroup)
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a cgroup below it; it goes away with this one.
    ///
    /// # Errors
    ///
    /// When the folder cannot be made.
    pub fn child(&self, name: &str) -> Result<PathBuf> {
        let path = self.path.join(name);
        make(&path)?;
        Ok(path)
    }
}

/// The id that the kernel gives a cgroup: the inode of its folder in the cgroup2 tree.
///
/// # Errors
///
/// When the folder cannot be read.
pub fn id(path: &Path) -> Result<u64> {
    Ok(fs::metadata(path).map_err(TestError::io(format!("read {}", path.display())))?.ino())
}

fn make(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(TestError::io(format!("make the cgroup {}", path.display())))
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let removed = wait::until("the cgroup to be empty and removed", Duration::from_secs(10), || {
            // In every round: on an old kernel, a process that was just killed may have had a child.
            kill_tree(&self.path)
                .map_err(TestError::io(format!("kill the processes of {}", self.path.display())))?;
            Ok(remove_tree(&self.path).map_err(|error| error.to_string()))
        });
        if let Err(error) = removed {
            eprintln!("left behind: {error}");
        }
    }
}

/// Kills every process in the folder and below.
fn kill_tree(path: &Path) -> io::Result<()> {
    match fs::OpenOptions::new().write(true).open(path.join("cgroup.kill")) {
        Ok(mut kill) => return kill.write_all(b"1"),
        // Before Linux 5.14.
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
        // It may have ended meanwhile.
        let _ = kill_process(process, Signal::KILL);
    }
    Ok(())
}

/// Removes the folders from the deepest up; the kernel's files in them go with them.
fn remove_tree(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(path)
}
