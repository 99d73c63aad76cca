//! The cgroups of a measurement.

use std::path::{Path, PathBuf};

use crate::support::{Result, cgroup::Cgroup, needs::Host};

/// Number of other containers that are traced beside the load's, as on a busy node.
const OTHERS: usize = 200;

/// Two pods with a container each, one of which can be traced, and other pods that are traced with it.
pub(super) struct Stage {
    _cgroup: Cgroup,
    traced: PathBuf,
    plain: PathBuf,
    others: Vec<PathBuf>,
}

impl Stage {
    pub(super) fn new(host: &Host) -> Result<Self> {
        let cgroup = Cgroup::new(&host.cgroup_root)?;
        let traced = cgroup.child("traced/container")?;
        let plain = cgroup.child("plain/container")?;
        let others = (0..OTHERS).map(|i| cgroup.child(&format!("other{i}"))).collect::<Result<_>>()?;
        Ok(Self { _cgroup: cgroup, traced, plain, others })
    }

    /// Cgroup of the container whose pod a trace selects.
    pub(super) fn traced(&self) -> &Path {
        &self.traced
    }

    /// Cgroup of the container that is not traced.
    pub(super) fn plain(&self) -> &Path {
        &self.plain
    }

    /// Cgroups of all pods that a trace selects.
    pub(super) fn selected(&self) -> impl Iterator<Item = &Path> {
        let pod = self.traced.parent().unwrap_or(&self.traced);
        self.others.iter().map(PathBuf::as_path).chain([pod])
    }
}
