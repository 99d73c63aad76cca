//! The kernel programs' selection: cgroups, processes and filters of each session.

use std::collections::BTreeSet;

use aya::maps::{Array, MapError};
use traffictrace_ebpf::{
    layout::{self, FILTER_SIZE, Process, Selection},
    maps,
};

use super::{KernelError, Tracer, gone_is_fine};

impl Tracer {
    /// Sets the filter of a session. Takes effect with [`Self::publish`].
    pub fn set_filter(&mut self, session: u8, filter: &layout::Filter) -> Result<(), KernelError> {
        let failed = |e| KernelError::map("set a session's filter", maps::FILTERS, e);
        let map = self.ebpf.map_mut(maps::FILTERS).ok_or(KernelError::Object(maps::FILTERS))?;
        let mut array = Array::<_, [u8; FILTER_SIZE]>::try_from(map).map_err(failed)?;
        array.set(session.into(), filter.to_bytes(), 0).map_err(failed)
    }

    /// Sets the sessions that select a cgroup and everything below it. With no session, the cgroup is removed.
    pub fn select_cgroup(&mut self, id: u64, sessions: u64) -> Result<(), KernelError> {
        let mut map = self.hash::<u64, u64>(maps::CGROUPS)?;
        let result = if sessions == 0 { gone_is_fine(map.remove(&id)) } else { map.insert(id, sessions, 0) };
        result.map_err(|e| KernelError::map("select a cgroup", maps::CGROUPS, e))
    }

    /// Sets the sessions that select a process by its id, and those of them that its future children inherit.
    pub fn select_process(&mut self, pid: u32, sessions: u64, inherited: u64) -> Result<(), KernelError> {
        self.follow_processes()?;
        let mut map = self.hash::<u32, Process>(maps::PROCESSES)?;
        map.insert(pid, [sessions, inherited], 0)
            .map_err(|e| KernelError::map("select a process", maps::PROCESSES, e))
    }

    /// Ids of the processes that any of these sessions selects, including children that inherited the selection.
    pub fn selected_processes(&mut self, sessions: u64) -> Result<BTreeSet<u32>, KernelError> {
        let failed = |e| KernelError::map("list selected processes", maps::PROCESSES, e);
        let map = self.hash::<u32, Process>(maps::PROCESSES)?;
        let mut pids = BTreeSet::new();
        for entry in map.iter() {
            let (pid, [selected, _]) = entry.map_err(failed)?;
            if selected & sessions != 0 {
                pids.insert(pid);
            }
        }
        Ok(pids)
    }

    /// Removes sessions, given as bits, from every selected process, and processes that then have no session.
    pub fn release_processes(&mut self, sessions: u64) -> Result<(), KernelError> {
        let failed = |e| KernelError::map("release processes", maps::PROCESSES, e);
        let mut map = self.hash::<u32, Process>(maps::PROCESSES)?;
        for pid in map.keys().collect::<Result<Vec<_>, _>>().map_err(failed)? {
            let [selected, inherited] = match map.get(&pid, 0) {
                Err(MapError::KeyNotFound) => continue,
                other => other.map_err(failed)?,
            };
            let left = [selected & !sessions, inherited & !sessions];
            let result = if left[0] == 0 { gone_is_fine(map.remove(&pid)) } else { map.insert(pid, left, 0) };
            result.map_err(failed)?;
        }
        Ok(())
    }

    /// Makes all changes of the selection since the last call take effect, also on sockets that are already open: with
    /// a new generation, every slot is checked again at its next event.
    ///
    /// `filtered` has the bits of sessions with a filter, `by_process` those of sessions that select processes.
    pub fn publish(&mut self, filtered: u64, by_process: u64) -> Result<(), KernelError> {
        let failed = |e| KernelError::map("publish the selection", maps::SELECTION, e);
        let map = self.ebpf.map_mut(maps::SELECTION).ok_or(KernelError::Object(maps::SELECTION))?;
        let mut selection = Array::<_, Selection>::try_from(map).map_err(failed)?;
        let [generation, ..] = self.selection;
        // The programs keep only 32 bits of the generation, and it must not be 0.
        let next = if generation == u64::from(u32::MAX) { 1 } else { generation + 1 };
        for generation in [generation, next] {
            self.selection = [generation, filtered, by_process];
            selection.set(0, self.selection, 0).map_err(failed)?;
        }
        Ok(())
    }
}
