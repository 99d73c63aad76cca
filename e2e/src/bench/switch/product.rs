//! The product as it runs on a node: an agent that stays, and a trace that is added and removed.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::process::Signal;

use super::Switch;
use crate::{
    bench::{child, programs::Seen, stage::Stage},
    support::{Result, TestError, bpf, needs::Host, process::Process},
};

/// Time for which the number of links must stay the same before all of them count as attached.
const STEADY: Duration = Duration::from_millis(60);
const LIMIT: Duration = Duration::from_secs(30);

/// A standalone agent. Switched on, one trace selects all pods of the stage except the plain one.
pub(in crate::bench) struct Product {
    process: Process,
    folder: tempfile::TempDir,
    /// Number of traces so far, which gives each trace its own name.
    traces: u32,
    on: bool,
    /// Number of links that the process holds, and the time since which it is unchanged.
    links: usize,
    since: Instant,
    seen: Option<Seen>,
}

impl Product {
    /// Starts the agent. With `rates`, switching it off fails if the kernel's BPF statistics were on.
    pub(in crate::bench) fn start(host: &Host, stage: &Stage, rates: bool) -> Result<Self> {
        let folder = tempfile::tempdir().map_err(TestError::io("make a folder"))?;
        let mut pods = String::new();
        for cgroup in stage.selected() {
            let name = cgroup.file_name().unwrap_or_default().to_string_lossy();
            pods += &format!("- {{name: {name}, labels: {{app: bench}}, cgroup: {}}}\n", cgroup.display());
        }
        write(&folder.path().join("pods.yaml"), &pods)?;
        let mut command = child::command(&host.traffictrace);
        command.args(["agent", "--standalone"]).arg(folder.path());
        let process = Process::start(&mut command)?;
        let seen = rates.then(Seen::default);
        Ok(Self { process, folder, traces: 0, on: false, links: 0, since: Instant::now(), seen })
    }

    pub(in crate::bench) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Programs that were attached while the agent traced.
    pub(in crate::bench) fn seen(&self) -> Option<&Seen> {
        self.seen.as_ref()
    }

    /// Ends the agent while it traces; returns the bytes that the trace counted, received and sent together.
    ///
    /// # Errors
    ///
    /// Fails when the agent ends in any other way, or when its status has no totals.
    pub(in crate::bench) fn finish(self) -> Result<u64> {
        self.process.signal(Signal::INT)?;
        let ended = self.process.wait(LIMIT)?;
        let file = self.folder.path().join(format!("bench-{}.status.yaml", self.traces));
        let status = fs::read_to_string(&file).map_err(TestError::io(format!("read {}", file.display())))?;
        let total = |field: &str| {
            let line = status.lines().find_map(|line| line.trim().strip_prefix(field));
            line.and_then(|rest| rest.trim_start_matches(':').trim().parse::<u64>().ok())
        };
        match (total("rxBytes"), total("txBytes")) {
            (Some(received), Some(sent)) if ended.status.success() => Ok(received + sent),
            _ => Err(TestError::unexpected("the agent's end", format!("{status}{}", ended.stderr))),
        }
    }

    fn manifest(&self) -> PathBuf {
        self.folder.path().join(format!("bench-{}.yaml", self.traces))
    }
}

impl Switch for Product {
    fn begin(&mut self, level: Option<usize>) -> Result<()> {
        self.on = level.is_some();
        (self.links, self.since) = (0, Instant::now());
        if !self.on {
            if let Some(seen) = &mut self.seen {
                seen.add(self.process.pid())?;
            }
            return fs::remove_file(self.manifest()).map_err(TestError::io("remove a trace"));
        }
        self.traces += 1;
        let manifest = format!(
            "apiVersion: traffictrace.dev/v1alpha1\nkind: TrafficTrace\nmetadata: {{name: bench-{}}}\n\
             spec: {{selector: {{}}, duration: 1h}}\n",
            self.traces
        );
        // The file is renamed into place, so that the agent never reads half of it.
        let draft = self.folder.path().join("draft");
        write(&draft, &manifest)?;
        fs::rename(draft, self.manifest()).map_err(TestError::io("add a trace"))
    }

    /// The switch is off when no link is left, and on when the number of links has not changed for [`STEADY`].
    fn done(&mut self) -> Result<bool> {
        let links = bpf::held_by(self.process.pid())?.links.len();
        if links != self.links {
            (self.links, self.since) = (links, Instant::now());
        }
        Ok(if self.on { links > 0 && self.since.elapsed() >= STEADY } else { links == 0 })
    }
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("traffictrace")
    }
}

fn write(file: &Path, content: &str) -> Result<()> {
    fs::write(file, content).map_err(TestError::io(format!("write {}", file.display())))
}
