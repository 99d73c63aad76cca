//! Helpers shared by the tests of several modules. A test that cannot run on a machine prints the reason, and fails if
//! `CI=true`.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::cgroups::{CgroupRoot, find_root};

/// Returns the cgroup2 tree, if this process may create cgroups in it.
pub(crate) fn writable_cgroups() -> Option<CgroupRoot> {
    match find_root(None) {
        Ok(root) if rustix::fs::access(root.path(), rustix::fs::Access::WRITE_OK).is_ok() => Some(root),
        Ok(root) => skip(&format!("no right to make cgroups in {}: run as root", root.path().display())),
        Err(error) => skip(&error.to_string()),
    }
}

/// Prints why a test is skipped, and returns `None`. Panics if `CI=true`, where no test may be skipped.
pub(crate) fn skip<T>(why: &str) -> Option<T> {
    // Written past the test runner's capture, so that the line is seen and counted although the test passes.
    let _ = std::io::stderr().write_all(format!("SKIPPED: {why}\n").as_bytes());
    assert!(std::env::var("CI").as_deref() != Ok("true"), "cannot run, and CI=true allows no skip: {why}");
    None
}

/// A cgroup for one test, which is removed at its end with everything below.
pub(crate) struct TestCgroup {
    root: CgroupRoot,
    path: PathBuf,
}

impl TestCgroup {
    pub(crate) fn new(root: &CgroupRoot) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("tt-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let cgroup = Self { root: root.clone(), path: name.into() };
        cgroup.make("");
        cgroup
    }

    /// Path relative to the root of the tree.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Creates a cgroup at the path `below`, relative to this one. Returns its path relative to the root of the tree.
    pub(crate) fn make(&self, below: &str) -> PathBuf {
        let path = self.path.join(below);
        fs::create_dir_all(self.root.path().join(&path)).unwrap();
        path
    }

    pub(crate) fn remove(&self, below: &str) {
        fs::remove_dir(self.root.path().join(&self.path).join(below)).unwrap();
    }

    /// Starts a sleeping process in a cgroup below this one.
    pub(crate) fn sleeper(&self, below: &str) -> Sleeper {
        let child = Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().unwrap();
        let procs = self.root.path().join(&self.path).join(below).join("cgroup.procs");
        let sleeper = Sleeper(child);
        fs::write(procs, sleeper.0.id().to_string()).unwrap();
        sleeper
    }
}

impl Drop for TestCgroup {
    fn drop(&mut self) {
        remove_all(&self.root.path().join(&self.path));
    }
}

/// A process that is killed when the value is dropped.
pub(crate) struct Sleeper(Child);

impl Sleeper {
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        // The process may have ended already, and a failure here cannot be handled.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Removes cgroup folders from the leaves up. Their files belong to the kernel and need no removal.
fn remove_all(path: &Path) {
    if let Ok(entries) = fs::read_dir(path) {
        for entry in entries.filter_map(Result::ok).filter(|e| e.file_type().is_ok_and(|t| t.is_dir())) {
            remove_all(&entry.path());
        }
    }
    if let Err(error) = fs::remove_dir(path) {
        eprintln!("cannot remove the test's cgroup {}: {error}", path.display());
    }
}
