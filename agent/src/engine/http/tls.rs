//! TLS: the programs, the thread that finds processes while a session asks for plain text, and findings about the
//! processes that use TLS.

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

/// Size of the ring buffer of plain text in bytes. One call takes at most 64 KiB of it, since the kernel copies no more
/// (`MOST_COPIED` in `tls_state.h`).
const RING_BYTES: u32 = 8 << 20;

/// The parts of TLS that are in use.
#[derive(Debug, Default)]
pub(super) struct TlsFeed {
    /// Present while a session asks for plain text.
    pub(super) text: Option<TlsText>,
    /// Present once a process uses TLS or is to be probed.
    watcher: Option<Watcher>,
    /// Descriptor that becomes readable when the ring buffer of packets or that of plain text fills up.
    both: Option<OwnedFd>,
    /// The reason why no plain text can be read on this machine.
    problem: Option<String>,
}

impl TlsFeed {
    /// Loads the programs once a session asks for plain text, and unloads them when no session does any more.
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
        // Replaces a watcher without probes, which only looked up the libraries of processes.
        self.watcher = Some(Watcher::start(Some(probes)).map_err(|error| failed(&error))?);
        (self.text, self.both) = (Some(text), Some(both));
        Ok(())
    }

    /// Tells the watcher which processes to probe: those that `specs` select, by cgroup or id, and `processes`, which
    /// the kernel programs follow.
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

    /// Asks the watcher to examine processes that use TLS.
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

    /// Returns true while processes that use TLS are still to be examined.
    pub(super) fn is_busy(&self) -> bool {
        self.watcher.as_ref().is_some_and(Watcher::is_busy)
    }

    /// Returns the time when the probes of a process were attached, in nanoseconds of the monotonic clock.
    pub(super) fn probed(&self, pid: u32) -> Option<u64> {
        self.watcher.as_ref()?.probed(pid)
    }

    /// Descriptor that becomes readable when records should be read.
    pub(super) fn readable<'a>(&'a self, packets: &'a HttpCapture) -> BorrowedFd<'a> {
        self.both.as_ref().map_or_else(|| packets.readable(), |both| both.as_fd())
    }

    /// Describes the processes of a session that use TLS.
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

    /// Losses of plain text so far, by cgroup.
    pub(super) fn lost(&self) -> BTreeMap<u64, crate::kernel::HttpLost> {
        let lost = self.text.as_ref().map(TlsText::lost);
        lost.transpose().map(Option::unwrap_or_default).unwrap_or_else(|error| {
            tracing::error!(%error, "cannot read from the kernel how many records inside TLS were lost; these numbers show no such losses");
            BTreeMap::new()
        })
    }
}
