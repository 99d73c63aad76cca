//! Updates of the kernel's selection to match the sessions' selection.

use std::{collections::BTreeSet, sync::atomic::Ordering::Relaxed};

use traffictrace_ebpf::layout::{self, PENDING, Slot};

use super::{Engine, EngineError, SessionId, SessionSpec, session::Session};
use crate::kernel::{Folders, KernelError, Wanted};

impl Engine {
    /// Changes the kernel's selection of a session from `old` to the session's current specification.
    pub(super) fn arm(&mut self, id: &SessionId, old: &SessionSpec) -> Result<(), EngineError> {
        let no_session = || EngineError::NoSession(id.clone());
        let session = self.sessions.get_mut(id).ok_or_else(no_session)?;
        session.protocols |= session.spec.protocols();
        let (number, new) = (session.number, session.spec.clone());
        let tracer = self.tracer.as_mut().ok_or_else(no_session)?;
        if old.filter != new.filter || new.filter.is_empty() {
            tracer.set_filter(number, &new.filter.to_kernel())?;
        }
        // Hooks come before the selection, so that everything that is counted has its hooks.
        self.attach()?;
        if old.filter.is_empty() && !new.filter.is_empty() {
            // The filter comes before the selection as well: a program that sees a cgroup selected must also see its
            // filter.
            self.publish()?;
        }
        for cgroup in old.cgroups.keys().chain(new.cgroups.keys()) {
            if old.cgroups.contains_key(cgroup) != new.cgroups.contains_key(cgroup) {
                self.select(*cgroup)?;
            }
        }
        self.select_processes(number, old, &new)?;
        self.update_http()?;
        self.update_stacks()?;
        self.watch_records();
        // Publishing comes last, so that all changes take effect at the same moment.
        self.publish()?;
        self.update_icmp();
        Ok(())
    }

    fn select_processes(
        &mut self,
        number: u8,
        old: &SessionSpec,
        new: &SessionSpec,
    ) -> Result<(), KernelError> {
        let Some(tracer) = &mut self.tracer else { return Ok(()) };
        let bit = 1u64 << number;
        for (pid, inherit) in new.processes.iter().filter(|(pid, _)| !old.processes.contains_key(pid)) {
            tracer.select_process(*pid, bit, if *inherit { bit } else { 0 })?;
        }
        if new.processes.is_empty() && !old.processes.is_empty() {
            tracer.release_processes(bit)?;
        }
        Ok(())
    }

    /// Removes a session from the kernel's selection.
    pub(super) fn disarm(&mut self, id: &SessionId) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let selected = std::mem::take(&mut session.spec.cgroups);
        let by_process = !std::mem::take(&mut session.spec.processes).is_empty();
        let number = session.number;
        for cgroup in selected.keys() {
            if let Err(error) = self.select(*cgroup) {
                tracing::error!(%error, cgroup, "cannot take a cgroup out of the kernel's selection");
            }
        }
        if by_process
            && let Some(tracer) = &mut self.tracer
            && let Err(error) = tracer.release_processes(1 << number)
        {
            tracing::error!(%error, "cannot take processes out of the kernel's selection");
        }
        if let Err(error) = self.publish() {
            tracing::error!(%error, "the kernel goes on counting for a session that has ended");
        }
    }

    /// Removes a session from the flows that it no longer wants. The kernel counts no new calls on them in any case.
    /// But without the removal, bytes that no call reports would be counted, and deselected datagram sockets would stay
    /// open in the rows, since no program would report their end.
    pub(super) fn leave_deselected(&mut self, id: &SessionId) {
        let Self { tracer: Some(tracer), sessions, slots, .. } = self else { return };
        let Some(session) = sessions.get_mut(id).filter(|session| session.spec.processes.is_empty()) else {
            return;
        };
        // A program that is running may still count by the earlier selection.
        tracer.wait_for_programs();
        let spec = &session.spec;
        let keep = |slot: &Slot, folders: &Folders<'_>| {
            spec.selects(slot.cgroup.load(Relaxed), |id| folders.parent(id))
                // While a connection is being opened, its ends are not all known. The kernel applies the filter once
                // they are.
                && (slot.state().phase() == PENDING || spec.filter.wants(slot))
        };
        match tracer.leave(1 << session.number, keep) {
            Ok(flows) => slots.leave(&flows, session),
            Err(error) => tracing::error!(%error, "bytes of what is selected no more may go on counting"),
        }
    }

    /// Gives rows to connections that are already open when a session begins.
    pub(super) fn find_older_sockets(&mut self, id: &SessionId) {
        let (Some(tracer), Some(session)) = (&mut self.tracer, self.sessions.get_mut(id)) else { return };
        match tracer.find_older_sockets() {
            Ok(all) => session.older_sockets_found = all,
            Err(error) => {
                tracing::warn!(%error, "connections that are open already are known from their next call on");
            }
        }
    }

    /// Attaches the hooks that the sessions need.
    pub(super) fn attach(&mut self) -> Result<(), KernelError> {
        let protocols = self.sessions.values().fold(0, |all, session| all | session.protocols);
        let selected = self.sessions.values().flat_map(|session| &session.spec.cgroups);
        let wanted = Wanted {
            tcp: protocols & layout::TCP != 0,
            udp: protocols & layout::UDP != 0,
            icmp: protocols & layout::ICMP != 0,
            by_process: self.sessions.values().any(|session| !session.spec.processes.is_empty()),
            cgroups: selected.map(|(id, cgroup)| (*id, cgroup.path.clone())).collect(),
        };
        self.tracer.as_mut().map_or(Ok(()), |tracer| tracer.attach(wanted))
    }

    /// Attaches or detaches the programs for the peers of ICMP messages, as the sessions require.
    pub(super) fn update_icmp(&mut self) {
        if let Some(tracer) = &mut self.tracer {
            self.icmp.update(tracer, self.sessions.values().map(|session| &session.spec.filter));
        }
    }

    /// Ids of the processes that a session selects, including their children if the session wants those.
    pub fn selected_processes(&mut self, id: &SessionId) -> Result<BTreeSet<u32>, EngineError> {
        let number = self.sessions.get(id).map(|session| session.number);
        match (&mut self.tracer, number) {
            (Some(tracer), Some(number)) => Ok(tracer.selected_processes(1 << number)?),
            _ => Ok(BTreeSet::new()),
        }
    }

    /// Returns the bits of the sessions for which `holds` is true.
    pub(super) fn sessions_with(&self, holds: impl Fn(&Session) -> bool) -> u64 {
        let sessions = self.sessions.values().filter(|session| holds(session));
        sessions.fold(0, |bits, session| bits | 1u64 << session.number)
    }

    /// Updates the kernel's selection of one cgroup.
    fn select(&mut self, cgroup: u64) -> Result<(), KernelError> {
        let sessions = self.sessions_with(|session| session.spec.cgroups.contains_key(&cgroup));
        self.tracer.as_mut().map_or(Ok(()), |tracer| tracer.select_cgroup(cgroup, sessions))
    }

    fn publish(&mut self) -> Result<(), KernelError> {
        let filtered = self.sessions_with(|session| !session.spec.filter.is_empty());
        let by_process = self.sessions_with(|session| !session.spec.processes.is_empty());
        self.tracer.as_mut().map_or(Ok(()), |tracer| tracer.publish(filtered, by_process))
    }
}
