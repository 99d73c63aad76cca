//! Common steps at the beginning of the tests in this folder.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use traffictrace_e2e::{
    support::{
        Result, TestError,
        cgroup::Cgroup,
        needs::{self, Host},
        top::Document,
        truth,
        workload::Workload,
    },
    workload::count::Line,
};

/// Creates a cgroup for the test; `None` if the test was skipped.
pub(crate) fn cgroup() -> Option<(Host, Cgroup)> {
    let host = needs::host()?;
    let cgroup = Cgroup::new(&host.cgroup_root).inspect_err(|why| needs::skip(why)).ok()?;
    Some((host, cgroup))
}

/// Converts a path to an argument.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}

/// Compares a document with all counts.
pub(crate) fn compare(lines: &[Line], document: &Document) -> Result<()> {
    truth::compare(&truth::counted(lines), &truth::shown(document)?)
}

/// Runs a client of `server` to its end; returns its counts.
pub(crate) fn client(cgroup: &Path, server: SocketAddr, arguments: &[&str]) -> Result<Vec<Line>> {
    let server = server.to_string();
    Workload::start(cgroup, &[&["client", "--connect", &server], arguments].concat())?.finish()
}

/// Returns a seed that differs in every run, and prints it so that a failure can be repeated.
pub(crate) fn seed() -> String {
    let seed = fastrand::u32(..).to_string();
    println!("seed {seed}");
    seed
}

/// The file that a paused client waits for.
pub(crate) struct Go {
    folder: tempfile::TempDir,
}

impl Go {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { folder: tempfile::tempdir().map_err(TestError::io("make a folder"))? })
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("go")
    }

    pub(crate) fn release(&self) -> Result<()> {
        fs::write(self.file(), "").map_err(TestError::io("release the client"))
    }
}
