//! The kernel room: loads the programs, says what they select, reads what they counted. The only place with `unsafe`.
//!
//! [`Tracer`] exists only while there is something to trace. Dropping it detaches every program and frees every map;
//! nothing is pinned, so the same happens when the process is killed.

mod datagrams;
mod error;
mod free;
mod icmp;
mod load;
mod mapped;
mod missed;
mod older;
mod table;
mod tier;
mod unseen;

use std::{
    collections::HashSet,
    fmt,
    path::{Path, PathBuf},
    sync::atomic::AtomicU64,
};

use aya::{
    Btf, Ebpf, Pod,
    maps::{Array, HashMap, Map, MapData, MapError, Queue},
};
use traffictrace_ebpf::{
    Variant,
    layout::{
        self, Cgroup, FILTER_SIZE, FOLDER_SIZE, Folder, Loss, Overflow, OverflowKey, PeerKey, Process,
        Selection,
    },
    maps,
};

pub use self::{
    error::{KernelError, missing_capabilities},
    older::sees_all_processes,
    table::{Delta, Drained, Role},
    tier::{HookTier, TierChoice},
    unseen::Unseen,
};
use self::{free::FreeSlots, icmp::IcmpPeers, load::Loaded, mapped::Mapped, missed::Missed, table::Table};

/// Smallest and largest flow table, in slots of 128 bytes.
const SLOTS: std::ops::RangeInclusive<usize> = 16_384..=4_194_304;

/// The loaded programs and their maps.
pub struct Tracer {
    ebpf: Ebpf,
    btf: Btf,
    tier: HookTier,
    variant: Variant,
    table: Table,
    losses: Mapped<AtomicU64>,
    follows_processes: bool,
    sees_given: bool,
    /// Root of the cgroup2 tree.
    root: PathBuf,
    icmp_peers: Option<IcmpPeers>,
    missed: Missed,
    selection: Selection,
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracer").field("slots", &self.table.len()).finish_non_exhaustive()
    }
}

impl Tracer {
    /// Loads and attaches the programs. They select nothing yet.
    ///
    /// `slots` is how many flows the table can hold at once; it is brought into a sane range.
    ///
    /// `root` is the root of the cgroup2 tree; `choice` the hooks that may be used.
    pub fn load(slots: usize, root: &Path, choice: TierChoice) -> Result<Self, KernelError> {
        let slots = slots.clamp(*SLOTS.start(), *SLOTS.end());
        let btf = Btf::from_sys_fs().map_err(|source| KernelError::NoBtf { source })?;
        let Loaded { mut ebpf, variant, tier, sees_given } = load::load(&btf, slots, root, choice)?;
        let table = map_table(&mut ebpf, variant, slots)?;
        // SAFETY: a mappable array of `u64`, see `map_table`.
        #[expect(unsafe_code, reason = "see SAFETY")]
        let losses = unsafe { Mapped::new(map_data(&ebpf, maps::LOSSES)?, maps::LOSSES, layout::LOSSES)? };
        let mut missed = Missed::default();
        if missed::tracepoints_are_preempted() {
            missed.attach_twins(&mut ebpf, &btf)?;
        }
        Ok(Self {
            ebpf,
            btf,
            tier,
            variant,
            table,
            losses,
            follows_processes: false,
            sees_given,
            root: root.to_owned(),
            icmp_peers: None,
            missed,
            selection: [0; 3],
        })
    }

    /// Which hooks count sends and receives here.
    pub fn hook_tier(&self) -> HookTier {
        self.tier
    }

    /// Sets the filter of a session. Takes effect with [`Self::publish`].
    pub fn set_filter(&mut self, session: u8, filter: &layout::Filter) -> Result<(), KernelError> {
        let failed = |e| KernelError::map("set a session's filter", maps::FILTERS, e);
        let map = self.ebpf.map_mut(maps::FILTERS).ok_or(KernelError::Object(maps::FILTERS))?;
        let mut array = Array::<_, [u8; FILTER_SIZE]>::try_from(map).map_err(failed)?;
        array.set(session.into(), filter.to_bytes(), 0).map_err(failed)
    }

    /// Sets the sessions that select a cgroup and everything below it; none takes it out.
    pub fn select_cgroup(&mut self, id: u64, sessions: u64) -> Result<(), KernelError> {
        let [generation, ..] = self.selection;
        let mut map = self.hash::<u64, Cgroup>(maps::CGROUPS)?;
        let since = map.get(&id, 0).map_or(generation, |[_, since]| since);
        let result =
            if sessions == 0 { gone_is_fine(map.remove(&id)) } else { map.insert(id, [sessions, since], 0) };
        result.map_err(|e| KernelError::map("select a cgroup", maps::CGROUPS, e))
    }

    /// Sets the sessions that select a process by its id, and those of them that its future children inherit.
    pub fn select_process(&mut self, pid: u32, sessions: u64, inherited: u64) -> Result<(), KernelError> {
        if !self.follows_processes {
            load::attach(&mut self.ebpf, &self.btf, tier::PROCESS_END)?;
            self.follows_processes = true;
        }
        let mut map = self.hash::<u32, Process>(maps::PROCESSES)?;
        map.insert(pid, [sessions, inherited], 0)
            .map_err(|e| KernelError::map("select a process", maps::PROCESSES, e))
    }

    /// Takes sessions away from every selected process.
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

    /// Whether the peers of ICMP messages are to be found out, which costs something for each packet of the machine.
    pub fn see_icmp_peers(&mut self, wanted: bool) -> Result<(), KernelError> {
        if !wanted {
            self.icmp_peers = None;
        } else if self.icmp_peers.is_none() {
            self.icmp_peers = Some(IcmpPeers::attach(&mut self.ebpf, &self.btf, &self.root, self.tier)?);
        }
        Ok(())
    }

    /// Finds the sockets that are older than what was last published: open connections get their rows at once, and
    /// sockets of other cgroups that selected processes hold are counted. Returns whether it looked into every process
    /// of the machine.
    pub fn find_older_sockets(&mut self) -> Result<bool, KernelError> {
        older::find(&mut self.ebpf, &self.btf)?;
        Ok(sees_all_processes())
    }

    /// Makes the changes since the last call take effect, on sockets that are open already too.
    ///
    /// `filtered`: sessions with any filter; `by_process`: sessions that select processes.
    pub fn publish(&mut self, filtered: u64, by_process: u64) -> Result<(), KernelError> {
        let failed = |e| KernelError::map("publish the selection", maps::SELECTION, e);
        let map = self.ebpf.map_mut(maps::SELECTION).ok_or(KernelError::Object(maps::SELECTION))?;
        let mut selection = Array::<_, Selection>::try_from(map).map_err(failed)?;
        let [generation, ..] = self.selection;
        // The programs keep 32 bits of it.
        let next = if generation == u64::from(u32::MAX) { 1 } else { generation + 1 };
        for generation in [generation, next] {
            self.selection = [generation, filtered, by_process];
            selection.set(0, self.selection, 0).map_err(failed)?;
        }
        Ok(())
    }

    /// Calls `sink` for each flow that is new, moved bytes or ended since the last call.
    pub fn drain(&mut self, sink: &mut dyn FnMut(Drained<'_>)) -> Result<(), KernelError> {
        let ended = self.ended_sockets()?;
        self.table.end_sockets(&ended);
        let forget = self.table.drain(sink);
        let idle = self.table.idle();
        if forget.is_empty() && idle.is_empty() {
            return Ok(());
        }
        let failed = |e| KernelError::map("forget a peer", maps::PEERS, e);
        let mut peers = self.hash::<PeerKey, [u64; 2]>(maps::PEERS)?;
        // First out of the map, so that no event finds the slot any more; then it is closed like any other.
        for key in forget.iter().chain(idle.iter().map(|(_, key)| key)) {
            gone_is_fine(peers.remove(key)).map_err(failed)?;
        }
        for (index, _) in idle {
            self.table.close(index);
        }
        Ok(())
    }

    /// Cookies of the sockets that ended since the last call and have flows in the map of peers.
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

    /// Events that the kernel ran no program for, at most, since the programs were loaded. The first one has others
    /// step in from then on.
    pub fn missed_events(&mut self) -> u64 {
        if self.missed.wants_twins(&self.ebpf)
            && let Err(error) = self.missed.attach_twins(&mut self.ebpf, &self.btf)
        {
            tracing::error!(%error, "events that the kernel skips go on missing");
        }
        self.missed.events(&self.ebpf, |counter| self.loss(counter))
    }

    /// Puts twins behind the programs that count; with `alone`, they are all there is.
    #[cfg(test)]
    pub fn use_twins(&mut self, alone: bool) {
        self.missed.attach_twins(&mut self.ebpf, &self.btf).unwrap();
        if alone {
            Missed::skip_all(&mut self.ebpf);
        }
    }

    /// Slots of the flow table in all, and those that flows have now.
    pub fn slot_use(&self) -> (usize, usize) {
        (self.table.len(), self.table.len() - self.table.free())
    }

    /// Whether the flow table is at least half used, so that draining should not wait.
    pub fn is_half_full(&self) -> bool {
        self.table.free() < self.table.len() / 2
    }

    /// How often, or how many bytes, since the programs were loaded.
    pub fn loss(&self, loss: Loss) -> u64 {
        self.losses.get(loss as usize).map_or(0, |counter| counter.load(std::sync::atomic::Ordering::Relaxed))
    }

    /// Name and parent of a cgroup that a counted socket belongs to, or of one above it; also when it is gone.
    pub fn folder(&mut self, cgroup: u64) -> Option<Folder> {
        let map = self.hash::<u64, [u8; FOLDER_SIZE]>(maps::FOLDERS).ok()?;
        map.get(&cgroup, 0).ok().map(|bytes| Folder::from_bytes(&bytes))
    }

    /// The sums of what found no slot.
    pub fn overflow(&mut self) -> Result<Vec<(OverflowKey, Overflow)>, KernelError> {
        let map = self.hash::<OverflowKey, Overflow>(maps::OVERFLOW)?;
        map.iter()
            .collect::<Result<_, _>>()
            .map_err(|e| KernelError::map("read the overflow rows", maps::OVERFLOW, e))
    }

    fn hash<K: Pod, V: Pod>(
        &mut self,
        name: &'static str,
    ) -> Result<HashMap<&mut MapData, K, V>, KernelError> {
        let map = self.ebpf.map_mut(name).ok_or(KernelError::Object(name))?;
        HashMap::try_from(map).map_err(|e| KernelError::map("find keys", name, e))
    }
}

/// Gives freed memory back to the system. Loading parses the types of the whole kernel, tens of megabytes that the
/// allocator would keep for the life of an agent that is idle nearly always.
pub fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) only touches memory that nothing uses, and may be called at any time from any thread.
    #[expect(unsafe_code, reason = "the standard library has no call for it")]
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Maps the flow table.
fn map_table(ebpf: &mut Ebpf, variant: Variant, slots: usize) -> Result<Table, KernelError> {
    let queue = match variant {
        Variant::Storage => None,
        Variant::Plain => {
            let map = ebpf.take_map(maps::FREE).ok_or(KernelError::Object(maps::FREE))?;
            Some(Queue::try_from(map).map_err(|e| KernelError::map("put free slots", maps::FREE, e))?)
        }
    };
    let map = |name| map_data(ebpf, name);
    // SAFETY: these maps are mappable arrays with these elements (shared.h, held to `layout` by asserts on
    // both sides), made with the lengths given here; any bytes are valid; what the kernel changes is atomic.
    #[expect(unsafe_code, reason = "see SAFETY")]
    unsafe {
        let positions = Mapped::new(map(maps::RING)?, maps::RING, 1)?;
        let free = match queue {
            Some(queue) => FreeSlots::queue(queue, positions, slots),
            None => {
                let entries = Mapped::new(map(maps::FREE)?, maps::FREE, slots.next_power_of_two())?;
                FreeSlots::ring(entries, positions, slots)
            }
        };
        let slots_map = Mapped::new(map(maps::SLOTS)?, maps::SLOTS, slots)?;
        Ok(Table::new(slots_map, free, Mapped::new(map(maps::COOKIES)?, maps::COOKIES, slots)?))
    }
}

fn map_data<'a>(ebpf: &'a Ebpf, name: &'static str) -> Result<&'a MapData, KernelError> {
    match ebpf.map(name) {
        Some(Map::Array(data)) => Ok(data),
        _ => Err(KernelError::Object(name)),
    }
}

/// An entry may have gone by itself: its process ended, or it was never there.
fn gone_is_fine(result: Result<(), MapError>) -> Result<(), MapError> {
    match result {
        Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(e)) if e.io_error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        other => other,
    }
}
