//! Requirements of a test on the machine, and the function that skips a test.

use std::{
    env,
    fmt::Display,
    fs,
    io::{self, Write as _},
    path::PathBuf,
};

use super::{Result, TestError};

/// Prints on standard error that the calling test is skipped; the caller then returns.
///
/// The line bypasses libtest's capture, so that it is seen and counted although the test passes.
///
/// # Panics
///
/// With `CI=true`, a test that cannot run is a failure.
pub fn skip(why: impl Display) {
    assert!(env::var_os("CI").is_none_or(|ci| ci != "true"), "cannot run, and CI=true: {why}");
    let thread = std::thread::current();
    // One write keeps the lines of simultaneous tests whole.
    let line = format!("SKIPPED: {}: {why}\n", thread.name().unwrap_or("a test"));
    let _ = io::stderr().write_all(line.as_bytes());
}

/// The requirements of tests on the machine's own kernel.
#[derive(Clone, Debug)]
pub struct Host {
    /// Mount point of the cgroup2 tree.
    pub cgroup_root: PathBuf,
    /// Path of the product's binary.
    pub traffictrace: PathBuf,
}

/// Finds root permissions, a writable cgroup2 tree and the built binary; otherwise the test is [skipped](skip).
pub fn host() -> Option<Host> {
    let found = (|| {
        if !rustix::process::geteuid().is_root() {
            return Err(TestError::unexpected("the user", "not root, which BPF programs need"));
        }
        Ok(Host { cgroup_root: cgroup2_mount()?, traffictrace: program("traffictrace")? })
    })();
    found.inspect_err(|why| skip(why)).ok()
}

/// Finds the mount point of the cgroup2 tree: `/sys/fs/cgroup`, or `/sys/fs/cgroup/unified` on a hybrid host.
///
/// # Errors
///
/// Fails when there is no cgroup2 tree.
pub fn cgroup2_mount() -> Result<PathBuf> {
    const MOUNTS: &str = "/proc/self/mounts";
    let mounts = fs::read_to_string(MOUNTS).map_err(TestError::io(format!("read {MOUNTS}")))?;
    mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let (target, kind) = (fields.next()?, fields.next()?);
            (kind == "cgroup2" && target.starts_with("/sys/fs/cgroup")).then(|| PathBuf::from(target))
        })
        .next()
        .ok_or_else(|| TestError::unexpected(MOUNTS, "no cgroup2 below /sys/fs/cgroup"))
}

/// Finds an installed program in the folders of `PATH`.
pub fn in_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// Finds a binary of this workspace in the folder that the running test or program was built in.
///
/// # Errors
///
/// Fails when the binary was not built.
pub fn program(name: &str) -> Result<PathBuf> {
    let test = env::current_exe().map_err(TestError::io("find the running test's binary"))?;
    // target/<profile>/<program> or target/<profile>/deps/<test> -> target/<profile>/<name>
    let folder = test.parent().ok_or_else(|| TestError::unexpected("the path", test.display()))?;
    let folder = folder.parent().filter(|_| folder.ends_with("deps")).unwrap_or(folder);
    let program = folder.join(name);
    if program.is_file() {
        return Ok(program);
    }
    let found = format!("not at {}; build it with `cargo build --workspace`", program.display());
    Err(TestError::unexpected(format!("the program {name}"), found))
}
