//! What the tests of this folder start from.

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

/// A cgroup of the test's own, or nothing when the test was skipped.
pub(crate) fn cgroup() -> Option<(Host, Cgroup)> {
    let host = needs::host()?;
    let cgroup = Cgroup::new(&host.cgroup_root).inspect_err(|why| needs::skip(why)).ok()?;
    Some((host, cgroup))
}

/// `path` as an argument.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}

/// Compares a document with everything that was counted.
pub(crate) fn compare(lines: &[Line], document: &Document) -> Result<()> {
    truth::compare(&truth::counted(lines), &truth::shown(document)?)
}

/// A client that runs to its end against `server`; what it counted.
pub(crate) fn client(cgroup: &Path, server: SocketAddr, arguments: &[&str]) -> Result<Vec<Line>> {
    let server = server.to_string();
    Workload::start(cgroup, &[&["client", "--connect", &server], arguments].concat())?.finish()
}

/// A seed that differs in every run, printed so that a failure can be repeated.
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
