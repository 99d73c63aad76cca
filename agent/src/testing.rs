//! What several tests need. A test that cannot run here says so and is counted as failed where `CI=true`.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::cgroups::{CgroupRoot, find_root};

/// The cgroup2 tree, when this process may make cgroups in it.
pub(crate) fn writable_cgroups() -> Option<CgroupRoot> {
    match find_root(None) {
        Ok(root) if rustix::fs::access(root.path(), rustix::fs::Access::WRITE_OK).is_ok() => Some(root),
        Ok(root) => skip(&format!("no right to make cgroups in {}: run as root", root.path().display())),
        Err(error) => skip(&error.to_string()),
    }
}

/// Says why a test does not run; fails it where nothing may be left out.
pub(crate) fn skip<T>(why: &str) -> Option<T> {
    // Past the test runner's capture, so that it is seen and counted although the test passes.
    let _ = std::io::stderr().write_all(format!("SKIPPED: {why}\n").as_bytes());
    assert!(std::env::var("CI").as_deref() != Ok("true"), "cannot run, and CI=true allows no skip: {why}");
    None
}

/// A cgroup for one test, removed at its end with everything below it.
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

    /// Relative to the root of the tree.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a cgroup below this one, and returns its path relative to the root of the tree.
    pub(crate) fn make(&self, below: &str) -> PathBuf {
        let path = self.path.join(below);
        fs::create_dir_all(self.root.path().join(&path)).unwrap();
        path
    }

    pub(crate) fn remove(&self, below: &str) {
        fs::remove_dir(self.root.path().join(&self.path).join(below)).unwrap();
    }

    /// A sleeping process in a cgroup below this one.
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

/// A process that ends with the value.
pub(crate) struct Sleeper(Child);

impl Sleeper {
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        // The process may have ended already; there is nothing else to do about a failure here.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Removes cgroup folders from the leaves up; the files in them are the kernel's.
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
