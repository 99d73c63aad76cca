//! TLS: the programs and the thread that finds processes, while a session asks for plain text; and what is known of the
//! processes that speak it.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::event::epoll;

use super::{
    HttpLedger, HttpSpec, TlsProcess,
    connections::Connections,
    ledger::TlsSpeaker,
    watcher::{Finding, Wanted, Watcher},
};
use crate::{
    engine::session::SessionSpec,
    kernel::{HttpCapture, TlsProbes, TlsText},
};

/// Size of the ring buffer of plain text: at most 64 KiB of a call are in it.
const RING_BYTES: u32 = 8 << 20;

/// What is there of TLS.
#[derive(Debug, Default)]
pub(super) struct TlsFeed {
    /// While a session asks for plain text.
    pub(super) text: Option<TlsText>,
    /// From the first process on that speaks TLS, or is to be read.
    watcher: Option<Watcher>,
    /// Readable when one of the two ring buffers gets full.
    both: Option<OwnedFd>,
    /// Why no plain text can be read here.
    problem: Option<String>,
}

impl TlsFeed {
    /// Loads the programs when a session begins to ask for plain text, and unloads them when none does any more.
    pub(super) fn update<'a>(
        &mut self,
        specs: impl Iterator<Item = &'a SessionSpec> + Clone,
        root: &Path,
        packets: &HttpCapture,
    ) {
        if !specs.clone().any(SessionSpec::wants_tls) {
            if self.text.is_some() || self.problem.is_some() {
                *self = Self::default();
            }
            return;
        }
        if self.text.is_none() && self.problem.is_none() {
            self.problem = self.load(packets).err();
            if let Some(problem) = &self.problem {
                tracing::warn!(%problem, "the plain text of TLS is not read");
            }
        }
        self.select(specs.filter(|spec| spec.wants_tls()), root, BTreeSet::new());
    }

    fn load(&mut self, packets: &HttpCapture) -> Result<(), String> {
        let (probes, text) = TlsProbes::load(RING_BYTES).map_err(|error| error.to_string())?;
        let failed =
            |error: &dyn std::fmt::Display| format!("there is no room for a descriptor or a thread: {error}");
        let both = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|error| failed(&error))?;
        for (number, ring) in [packets.readable(), text.readable()].into_iter().enumerate() {
            let data = epoll::EventData::new_u64(number as u64);
            epoll::add(&both, ring, data, epoll::EventFlags::IN).map_err(|error| failed(&error))?;
        }
        // The one before attaches nothing.
        self.watcher = Some(Watcher::start(Some(probes)).map_err(|error| failed(&error))?);
        (self.text, self.both) = (Some(text), Some(both));
        Ok(())
    }

    /// Changes what is selected. `processes` are those that the kernel follows.
    pub(super) fn select<'a>(
        &self,
        specs: impl Iterator<Item = &'a SessionSpec>,
        root: &Path,
        processes: BTreeSet<u32>,
    ) {
        let Some(watcher) = self.watcher.as_ref().filter(|watcher| watcher.has_probes()) else { return };
        let mut wanted = Wanted { processes, ..Wanted::default() };
        for spec in specs {
            let folders = |id: &u64, path: &PathBuf| (*id, root.join(path));
            wanted.cgroups.extend(spec.cgroups.iter().map(|(id, cgroup)| folders(id, &cgroup.path)));
            wanted.processes.extend(spec.processes.keys());
            wanted.around.extend(spec.http.iter().flat_map(|http: &HttpSpec| http.cgroups.keys()));
        }
        wanted.around.extend(wanted.cgroups.keys());
        watcher.select(wanted);
    }

    /// Has processes that speak TLS be looked at.
    pub(super) fn ask(&mut self, pids: Vec<u32>) {
        if pids.is_empty() {
            return;
        }
        if self.watcher.is_none() {
            self.watcher = Watcher::start(None)
                .inspect_err(|error| {
                    tracing::warn!(%error, "the TLS libraries of processes are not looked up");
                })
                .ok();
        }
        if let Some(watcher) = &self.watcher {
            watcher.ask(pids);
        }
    }

    /// Whether processes are still to be looked at that speak TLS.
    pub(super) fn is_busy(&self) -> bool {
        self.watcher.as_ref().is_some_and(Watcher::is_busy)
    }

    /// When the probes of a process were attached.
    pub(super) fn probed(&self, pid: u32) -> Option<u64> {
        self.watcher.as_ref()?.probed(pid)
    }

    /// Descriptor that is readable when records should be taken.
    pub(super) fn readable<'a>(&'a self, packets: &'a HttpCapture) -> BorrowedFd<'a> {
        self.both.as_ref().map_or_else(|| packets.readable(), |both| both.as_fd())
    }

    /// What is known of the processes of a session that speak TLS.
    pub(super) fn processes(
        &self,
        ledger: &HttpLedger,
        spec: &HttpSpec,
        connections: &Connections,
    ) -> Vec<TlsProcess> {
        let open = connections.unread();
        let describe = |(pid, TlsSpeaker { owner, unread }): (u32, TlsSpeaker)| {
            let unread = unread + open.get(&pid).copied().unwrap_or_default();
            let finding = self.watcher.as_ref().and_then(|watcher| watcher.finding(pid));
            let readable = spec.tls && finding.as_ref().is_some_and(|finding| finding.probed.is_some());
            let unplaced = connections.unplaced(pid);
            let reason = self.reason(finding.as_ref(), spec, readable, unread, unplaced);
            let library = finding.map(|finding| finding.library).unwrap_or_default();
            TlsProcess { owner, pid, library, readable, reason }
        };
        ledger.tls_speakers().map(describe).collect()
    }

    fn reason(
        &self,
        finding: Option<&Finding>,
        spec: &HttpSpec,
        readable: bool,
        unread: u64,
        unplaced: u64,
    ) -> String {
        if !spec.tls {
            return "It is read when it is asked for: by --tls, or spec.http.tls of a trace.".to_owned();
        }
        if let Some(problem) = &self.problem {
            return format!("No TLS is read here: {problem}.");
        }
        let Some(finding) = finding else {
            return "The process has not been looked at yet.".to_owned();
        };
        if !finding.reason.is_empty() || !readable {
            return finding.reason.clone();
        }
        let connections =
            |count: u64| if count == 1 { "1 connection".into() } else { format!("{count} connections") };
        match (unread, unplaced) {
            (0, 0) => String::new(),
            (_, 0) => format!(
                "No request was seen in the plain text of {}: they carried none, are older than the probes, use another library, or ended before the probes were there.",
                connections(unread)
            ),
            _ => format!("The plain text of {} could not be assigned to a socket.", connections(unplaced)),
        }
    }

    /// What was lost of plain text so far, by cgroup.
    pub(super) fn lost(&self) -> BTreeMap<u64, crate::kernel::HttpLost> {
        let lost = self.text.as_ref().map(TlsText::lost);
        lost.transpose().map(Option::unwrap_or_default).unwrap_or_else(|error| {
            tracing::error!(%error, "the number of lost records of plain text is not known");
            BTreeMap::new()
        })
    }
}
