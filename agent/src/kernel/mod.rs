//! Access to the kernel: loads the programs, sets what they select, and reads what they counted. All `unsafe` code of
//! the agent is here.
//!
//! [`Tracer`] exists only while there is something to trace. Dropping it detaches every program and frees every map.
//! Nothing is pinned, so the same happens when the process is killed.

mod cgroups;
mod error;
mod folders;
mod grace;
mod hooks;
mod http;
mod load;
mod losses;
mod mapped;
mod older;
mod readable;
mod reconcile;
mod records;
mod selection;
mod sizes;
mod stacks;
mod table;
mod tier;
mod tls;
mod twins;
mod unseen;
mod uprobes;

use std::{
    collections::HashSet,
    fmt,
    path::Path,
    sync::atomic::{AtomicU64, Ordering::Acquire},
    time::Instant,
};

use aya::{
    Btf, Ebpf, Pod,
    maps::{HashMap, Map, MapData, MapError, Queue},
};
use traffictrace_ebpf::{
    layout::{Loss, Selection, Slot, SpillKey, WORK},
    maps,
};

use self::{
    cgroups::CgroupPrograms, hooks::Hooks, load::Loaded, losses::LossCounters, mapped::Mapped,
    reconcile::Reconcile, sizes::Geometry, table::Table,
};
pub use self::{
    error::{KernelError, may_look_into_processes, missing_capabilities},
    folders::Folders,
    hooks::Wanted,
    http::HttpCapture,
    older::sees_all_processes,
    readable::Readable,
    records::HttpLost,
    stacks::StackCapture,
    table::Drained,
    tier::{HookTier, TierChoice},
    tls::{TlsLinks, TlsProbes, TlsText},
    unseen::Unseen,
};

/// Number of TCP connections that a drain compares with their sockets' own counters (`reconcile.rs`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Connections whose turn it is: most of them, but no more than the kernel compares in about a millisecond.
    Usual,
    /// All connections, as in the last drain of a session.
    Full,
}

/// The loaded programs and their maps.
pub struct Tracer {
    ebpf: Ebpf,
    btf: Btf,
    tier: HookTier,
    table: Table,
    reconcile: Reconcile,
    work: Mapped<AtomicU64>,
    losses: LossCounters,
    hooks: Hooks,
    sees_given: bool,
    selection: Selection,
    /// Value of [`Loss::Ended`] in the last drain.
    ends_lost: u64,
    /// Value of [`Loss::Unowned`] in the last drain.
    unowned: u64,
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tier, table, hooks, .. } = self;
        f.debug_struct("Tracer")
            .field("tier", tier)
            .field("slots", &table.len())
            .field("hooks", hooks)
            .finish_non_exhaustive()
    }
}

impl Tracer {
    /// Loads the programs and attaches those that are always needed. They select nothing yet.
    ///
    /// `flows` is the number of flows that the table can hold at once, and is brought into the supported range. `root`
    /// is the root of the cgroup2 tree. `choice` names the hook tiers that may be used.
    pub fn load(flows: usize, root: &Path, choice: TierChoice) -> Result<Self, KernelError> {
        let geometry = Geometry::for_flows(flows);
        let btf = Btf::from_sys_fs().map_err(|source| KernelError::NoBtf { source })?;
        let Loaded { ebpf, tier, plan, sees_given } = load::load(&btf, geometry, choice)?;
        Ok(Self {
            table: map_table(&ebpf, geometry)?,
            reconcile: Reconcile::default(),
            work: map_work(&ebpf)?,
            losses: LossCounters::map(&ebpf)?,
            hooks: Hooks::new(CgroupPrograms::new(root), !plan.cgroup_hooks.is_empty()),
            ebpf,
            btf,
            tier,
            sees_given,
            selection: [0; 3],
            ends_lost: 0,
            unowned: 0,
        })
    }

    /// Returns the hook tier that counts sends and receives here.
    pub fn hook_tier(&self) -> HookTier {
        self.tier
    }

    /// Finds sockets that are older than the last published selection: open connections get their rows at once, and
    /// sockets of other cgroups that selected processes hold are counted from now on. Returns true if the open files of
    /// every process of the machine were searched.
    pub fn find_older_sockets(&mut self) -> Result<bool, KernelError> {
        older::find(&mut self.ebpf, &self.btf)?;
        self.follow();
        Ok(sees_all_processes())
    }

    /// Calls `sink` for each flow that is new, moved something or ended since the last drain. Frees the slots of flows
    /// that ended some time ago.
    pub fn drain(
        &mut self,
        depth: Depth,
        sink: &mut dyn FnMut(&Drained<'_>, &Folders<'_>),
    ) -> Result<(), KernelError> {
        let now = Instant::now();
        let ended = self.ended_sockets()?;
        let Self { table, reconcile, ebpf, .. } = self;
        let folders = Folders::of(ebpf)?;
        reconcile.begin(depth == Depth::Full);
        table.scan(now, &ended, &mut |drained| sink(drained, &folders), |slot, look| {
            reconcile.offer(slot, look);
        });
        self.close_idle(now);
        self.compare(now, sink)?;
        self.find_owners()?;
        self.free(now, sink)
    }

    /// Looks for the processes of accepted connections whose data is only spliced, which no call reports. The next
    /// drain shows them.
    fn find_owners(&mut self) -> Result<(), KernelError> {
        let unowned = self.loss(Loss::Unowned);
        if std::mem::replace(&mut self.unowned, unowned) != unowned && sees_all_processes() {
            older::find(&mut self.ebpf, &self.btf)?;
        }
        Ok(())
    }

    /// Makes the kernel compare connections with their sockets, and then visits their slots again for the bytes that
    /// this added.
    fn compare(
        &mut self,
        now: Instant,
        sink: &mut dyn FnMut(&Drained<'_>, &Folders<'_>),
    ) -> Result<(), KernelError> {
        let turns = self.reconcile.run(&mut self.ebpf, &self.work);
        let folders = Folders::of(&self.ebpf)?;
        for slot in turns {
            self.table.visit(slot as usize, now, &mut |drained| sink(drained, &folders));
        }
        Ok(())
    }

    /// Closes idle datagram flows if the ends of sockets may have been missed, or if the table is more than half full.
    fn close_idle(&mut self, now: Instant) {
        let ends_lost = self.loss(Loss::Ended);
        let missed = std::mem::replace(&mut self.ends_lost, ends_lost) != ends_lost;
        if missed || self.table.used() > self.table.len() / 2 {
            self.table.close_idle(now);
        }
    }

    /// Frees slots that were closed some time ago. First those in the stash are removed from the map by which programs
    /// find them. Then a grace period has to pass, in which programs that found a slot before end; this thread sleeps
    /// about 10 to 30 ms for it.
    fn free(
        &mut self,
        now: Instant,
        sink: &mut dyn FnMut(&Drained<'_>, &Folders<'_>),
    ) -> Result<(), KernelError> {
        let due = self.table.due(now);
        if due == 0 {
            return Ok(());
        }
        let failed = |e| KernelError::map("remove a slot of the stash", maps::SPILL, e);
        let keys = self.table.spill_keys(due);
        let mut spill = self.hash::<SpillKey, u32>(maps::SPILL)?;
        for (key, number) in &keys {
            // The key may lead to the slot of a newer flow by now, which must stay.
            if spill.get(key, 0).is_ok_and(|leads_to| leads_to == *number) {
                gone_is_fine(spill.remove(key)).map_err(failed)?;
            }
        }
        grace::wait_for_programs();
        let folders = Folders::of(&self.ebpf)?;
        self.table.free(due, &mut |drained| sink(drained, &folders));
        Ok(())
    }

    /// Removes and returns the cookies of ended sockets whose slots the programs could not all close.
    fn ended_sockets(&mut self) -> Result<HashSet<u64>, KernelError> {
        let failed = |e| KernelError::map("take ended sockets", maps::ENDED, e);
        let map = self.ebpf.map_mut(maps::ENDED).ok_or(KernelError::Object(maps::ENDED))?;
        let mut queue = Queue::<_, u64>::try_from(map).map_err(failed)?;
        let mut ended = HashSet::new();
        loop {
            match queue.pop(0) {
                Ok(cookie) => ended.insert(cookie),
                Err(MapError::ElementNotFound) => return Ok(ended),
                Err(error) => return Err(failed(error)),
            };
        }
    }

    /// Waits until the programs that are running now have ended, so that none still counts by an earlier selection.
    pub fn wait_for_programs(&self) {
        grace::wait_for_programs();
    }

    /// Removes a session, given as its bit, from the slots that `keep` rejects, so that these flows no longer count for
    /// the session. Returns the numbers of these flows, as in [`Drained::flow`].
    pub fn leave(
        &mut self,
        session: u64,
        keep: impl Fn(&Slot, &Folders<'_>) -> bool,
    ) -> Result<Vec<usize>, KernelError> {
        let folders = Folders::of(&self.ebpf)?;
        Ok(self.table.leave(session, |slot| keep(slot, &folders)))
    }

    /// Removes these sessions, given as bits, from all slots. Their numbers can then be given to other sessions.
    pub fn end_sessions(&mut self, sessions: u64) {
        self.table.end_sessions(sessions);
    }

    /// Number of slots of the flow table, and number of slots that were used when the last drain began.
    pub fn slot_use(&self) -> (usize, usize) {
        (self.table.len(), self.table.used())
    }

    /// Returns true if the flow table fills up, so that the next drain should not wait.
    pub fn is_filling(&self) -> bool {
        self.table.is_filling()
    }

    /// Name, run time and number of runs of each program since the program was loaded. Time and number are zero unless
    /// the kernel counts them (`kernel.bpf_stats_enabled`).
    pub fn program_stats(&self) -> Vec<(String, std::time::Duration, u64)> {
        let stats = self.ebpf.programs().filter_map(|(name, program)| {
            // Programs of the object that are not loaded have no statistics.
            let info = program.info().ok()?;
            Some((name.to_owned(), info.run_time(), info.run_count()))
        });
        stats.collect()
    }

    /// Returns the kernel programs' record of cgroup folders.
    pub fn folders(&self) -> Result<Folders<'_>, KernelError> {
        Folders::of(&self.ebpf)
    }

    /// Returns a slot by its number, or `None` if its epoch is not this one: the slot was then freed, and has another
    /// flow or none.
    pub fn slot(&self, number: u32, epoch: u32) -> Option<&Slot> {
        self.table.slot(number).filter(|slot| slot.epoch.load(Acquire) == epoch)
    }

    /// Returns the main slot of a TCP socket by the socket's cookie. The slot has the process and both ends of the
    /// connection.
    pub fn main_slot(&self, cookie: u64) -> Option<&Slot> {
        self.table.main_slot(cookie)
    }

    fn hash<K: Pod, V: Pod>(
        &mut self,
        name: &'static str,
    ) -> Result<HashMap<&mut MapData, K, V>, KernelError> {
        let map = self.ebpf.map_mut(name).ok_or(KernelError::Object(name))?;
        HashMap::try_from(map).map_err(|e| KernelError::map("find keys", name, e))
    }
}

/// Returns freed memory to the system. Loading parses the types of the whole kernel, tens of megabytes that the
/// allocator would otherwise keep for the life of an agent that is mostly idle.
pub fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) only touches memory that nothing uses, and may be called at any time from any thread.
    #[expect(unsafe_code, reason = "the standard library has no call for it")]
    unsafe {
        libc::malloc_trim(0);
    }
}

fn map_table(ebpf: &Ebpf, geometry: Geometry) -> Result<Table, KernelError> {
    // SAFETY: these maps are mappable arrays with these elements (shared.h, which asserts on both sides compare with
    // `layout`), made with the lengths given here. Any bytes are valid, and all fields are atomics.
    #[expect(unsafe_code, reason = "see SAFETY")]
    let (tags, slots) = unsafe {
        (
            Mapped::new(map_data(ebpf, maps::TAGS)?, maps::TAGS, geometry.sets())?,
            Mapped::new(map_data(ebpf, maps::SLOTS)?, maps::SLOTS, geometry.slots())?,
        )
    };
    Ok(Table::new(tags, slots, geometry))
}

fn map_work(ebpf: &Ebpf) -> Result<Mapped<AtomicU64>, KernelError> {
    // SAFETY: the map is a mappable array of `WORK` elements of `u64` (shared.h, maps.h).
    #[expect(unsafe_code, reason = "see SAFETY")]
    unsafe {
        Mapped::new(map_data(ebpf, maps::WORK)?, maps::WORK, WORK)
    }
}

fn map_data<'a>(ebpf: &'a Ebpf, name: &'static str) -> Result<&'a MapData, KernelError> {
    match ebpf.map(name) {
        Some(Map::Array(data)) => Ok(data),
        _ => Err(KernelError::Object(name)),
    }
}

/// Ignores that an entry does not exist: its process may have ended, or it was never added.
fn gone_is_fine(result: Result<(), MapError>) -> Result<(), MapError> {
    match result {
        Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(e)) if e.io_error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        other => other,
    }
}
