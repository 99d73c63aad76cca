//! The one owner of the kernel programs: which sessions there are, what they select, and what they have counted.
//!
//! Both ends of the product use it alike: `top` with one session, the agent with up to 64. It holds no clock of its
//! own beyond pacing; call [`Engine::tick`] a few times a second. With no session nothing is loaded.

mod containers;
mod icmp;
mod losses;
mod slots;

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    time::{Duration, Instant},
};

use traffictrace_ebpf::layout::{Overflow, OverflowKey, SESSIONS};

pub use self::losses::Losses;
use self::{
    containers::Containers,
    icmp::IcmpWish,
    losses::{book_overflow, losses},
    slots::SlotRows,
};
use crate::{
    flows::{Filter, GroupBy, Ledger, Process, Row, Seed, Totals},
    kernel::{KernelError, TierChoice, Tracer, Unseen, give_back_memory},
};

/// Longest time between two drains of the flow table.
const DRAIN_INTERVAL: Duration = Duration::from_millis(950);
/// A snapshot that follows a drain this closely takes what that one read.
const FRESH: Duration = Duration::from_millis(20);

/// So many new flows in one drain take megabytes for a moment, which the allocator would keep.
const MANY_OPENED: usize = 16_384;

/// Name of a session: the UID of its trace.
pub type SessionId = String;

/// What a selected cgroup is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupKind {
    /// A pod's: each cgroup directly below is a container, and rows are booked to that one.
    Pod,
    /// A container's, or any other whose whole tree is one to the user.
    Container,
}

/// What a session selects and how it is shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionSpec {
    /// What it wants of the selected sockets' traffic.
    pub filter: Filter,
    /// What makes one row. Cannot change.
    pub group_by: GroupBy,
    /// Selected cgroups by id, with everything below them.
    pub cgroups: BTreeMap<u64, CgroupKind>,
    /// Processes selected by id, and whether their future children are too.
    pub processes: BTreeMap<u32, bool>,
    /// Rows kept; beyond that the ones that closed first fold together.
    pub max_rows: usize,
}

impl SessionSpec {
    fn selects_more_than(&self, old: &Self) -> bool {
        self.cgroups.keys().any(|id| !old.cgroups.contains_key(id))
            || self.processes.keys().any(|pid| !old.processes.contains_key(pid))
    }
}

/// Settings of the engine.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Flows that the kernel's table holds at once; 128 bytes each.
    pub slots: usize,
    /// Root of the host's cgroup2 tree.
    pub cgroup_root: PathBuf,
    /// Kernel hooks that may count.
    pub hook_tier: TierChoice,
}

/// Why the engine did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// All numbers are taken.
    #[error(
        "this node already serves {SESSIONS} traces, which is all it can; delete one or wait until one completes"
    )]
    Full,
    /// The name is not known.
    #[error("there is no session {0}")]
    NoSession(SessionId),
    /// The kernel refused.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

/// What a session has counted.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Sums of everything.
    pub totals: Totals,
    /// Bytes received a second in the last interval, by all flows.
    pub rx_bytes_per_second: u64,
    /// Likewise, sent.
    pub tx_bytes_per_second: u64,
    /// Connections that are open now.
    pub connections_open: u64,
    /// The largest rows, first the one with the most bytes.
    pub rows: Vec<Row>,
    /// How many rows there are in all.
    pub rows_total: usize,
    /// What is missing or misplaced.
    pub losses: Losses,
    /// Slots of the kernel's flow table, which all sessions share.
    pub slots: usize,
    /// Those of them that flows have; a closed flow has its own for about a second more.
    pub slots_in_use: usize,
    /// Which kernel hooks counted.
    pub hook_tier: &'static str,
    /// Whether sockets older than the session were looked for in all processes of the machine.
    pub older_sockets_found: bool,
    /// What is not seen on this machine.
    pub not_seen: Vec<&'static Unseen>,
    /// Time since the last snapshot, which the rates are over.
    pub interval: Duration,
}

#[derive(Debug)]
struct Session {
    number: u8,
    spec: SessionSpec,
    ledger: Ledger,
    containers: Containers,
    /// Whether it goes on from what was shown before this process began.
    resumed: bool,
    /// Whether sockets older than the session were looked for in all processes of the machine.
    older_sockets_found: bool,
    losses_before: Losses,
    overflow_before: HashMap<OverflowKey, Overflow>,
    shown: Instant,
}

/// See the module.
#[derive(Debug)]
pub struct Engine {
    options: EngineOptions,
    tracer: Option<Tracer>,
    sessions: BTreeMap<SessionId, Session>,
    slots: SlotRows,
    icmp: IcmpWish,
    next_number: u8,
    drained: Instant,
}

impl Engine {
    /// Loads nothing yet.
    pub fn new(options: EngineOptions) -> Self {
        Self {
            options,
            tracer: None,
            sessions: BTreeMap::new(),
            slots: SlotRows::default(),
            icmp: IcmpWish::default(),
            next_number: 0,
            drained: Instant::now(),
        }
    }

    /// Begins a session. The programs are loaded with the first one.
    ///
    /// # Errors
    ///
    /// [`EngineError::Full`] for the 65th; [`EngineError::Kernel`] where the kernel refuses, and then nothing is left
    /// of the session.
    pub fn start(&mut self, id: &SessionId, spec: SessionSpec) -> Result<(), EngineError> {
        let number = self.take_number()?;
        let options = &self.options;
        let tracer = match &mut self.tracer {
            Some(tracer) => tracer,
            none => {
                let tracer = Tracer::load(options.slots, &options.cgroup_root, options.hook_tier)?;
                tracing::info!(hook_tier = %tracer.hook_tier(), "the kernel's programs are loaded");
                give_back_memory();
                none.insert(tracer)
            }
        };
        let session = Session {
            number,
            ledger: Ledger::new(spec.group_by, spec.max_rows),
            spec: SessionSpec { group_by: spec.group_by, max_rows: spec.max_rows, ..SessionSpec::default() },
            containers: Containers::default(),
            resumed: false,
            older_sockets_found: false,
            losses_before: losses(tracer, &self.slots),
            overflow_before: tracer.overflow()?.into_iter().collect(),
            shown: Instant::now(),
        };
        self.sessions.insert(id.clone(), session);
        let result = self.update(id, spec);
        if result.is_err() {
            self.stop(id);
        }
        result
    }

    /// Changes what a session selects or wants; what it counted before stays. `group_by` and `max_rows` stay too.
    pub fn update(&mut self, id: &SessionId, spec: SessionSpec) -> Result<(), EngineError> {
        let session = self.sessions.get_mut(id).ok_or_else(|| EngineError::NoSession(id.clone()))?;
        let old = std::mem::replace(&mut session.spec, spec);
        session.containers.clear();
        let result = self.arm(id, &old);
        match (result.is_ok(), self.sessions.get_mut(id)) {
            // What is selected later can be as old as what is selected first.
            (true, Some(session)) if session.spec.selects_more_than(&old) => self.find_older_sockets(id),
            // The next attempt must see the difference again.
            (false, Some(session)) => {
                let refused = std::mem::replace(&mut session.spec, old);
                if let Err(error) = self.arm(id, &refused) {
                    tracing::error!(%error, "the kernel keeps a part of a selection that it refused");
                }
            }
            _ => {}
        }
        result
    }

    /// Makes the kernel's selection what the spec of the session says, where it was `old` before.
    fn arm(&mut self, id: &SessionId, old: &SessionSpec) -> Result<(), EngineError> {
        let no_session = || EngineError::NoSession(id.clone());
        let session = self.sessions.get(id).ok_or_else(no_session)?;
        let tracer = self.tracer.as_mut().ok_or_else(no_session)?;
        let (number, new) = (session.number, session.spec.clone());
        if old.filter != new.filter || new.filter.is_empty() {
            tracer.set_filter(number, &new.filter.to_kernel())?;
        }
        if old.filter.is_empty() && !new.filter.is_empty() {
            // Before any cgroup is selected: who sees it selected must see that there is a filter.
            self.publish()?;
        }
        for cgroup in old.cgroups.keys().chain(new.cgroups.keys()) {
            if old.cgroups.contains_key(cgroup) != new.cgroups.contains_key(cgroup) {
                self.select(*cgroup)?;
            }
        }
        let bit = 1u64 << number;
        for (pid, inherit) in new.processes.iter().filter(|(pid, _)| !old.processes.contains_key(pid)) {
            if let Some(tracer) = &mut self.tracer {
                tracer.select_process(*pid, bit, if *inherit { bit } else { 0 })?;
            }
        }
        if let Some(tracer) = &mut self.tracer
            && new.processes.is_empty()
            && !old.processes.is_empty()
        {
            tracer.release_processes(bit)?;
        }
        // Last, so that all that is new begins at once.
        self.publish()?;
        self.wish_for_icmp();
        Ok(())
    }

    /// Gives rows to the connections that are open as a session begins.
    fn find_older_sockets(&mut self, id: &SessionId) {
        let (Some(tracer), Some(session)) = (&mut self.tracer, self.sessions.get_mut(id)) else { return };
        match tracer.find_older_sockets() {
            Ok(all) => session.older_sockets_found = all,
            Err(error) => {
                tracing::warn!(%error, "connections that are open already are known from their next call on");
            }
        }
    }

    /// Ends a session and says what it counted. With the last one, the programs are unloaded.
    pub fn stop(&mut self, id: &SessionId) -> Option<Totals> {
        let session = self.sessions.get_mut(id)?;
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
        self.drain();
        let totals = self.sessions.remove(id).map(|session| session.ledger.totals());
        self.slots.forget_session(number);
        self.wish_for_icmp();
        if self.sessions.is_empty() {
            self.tracer = None;
            self.slots = SlotRows::default();
            self.icmp = IcmpWish::default();
            give_back_memory();
        }
        totals
    }

    /// Goes on from what was shown before this process began: `totals` in all, of which `rows` are known.
    pub fn seed(&mut self, id: &SessionId, totals: &Totals, rows: Vec<Seed>) {
        if let Some(session) = self.sessions.get_mut(id) {
            session.ledger.seed(totals, rows);
            session.resumed = true;
        }
    }

    /// Drains the flow table when it is time or when it fills up. Call it a few times a second.
    pub fn tick(&mut self) {
        if self.drained.elapsed() >= DRAIN_INTERVAL || self.tracer.as_ref().is_some_and(Tracer::is_half_full)
        {
            self.drain();
        }
        self.wish_for_icmp();
    }

    /// Has the peers of ICMP messages looked at where a session wants that.
    fn wish_for_icmp(&mut self) {
        if let Some(tracer) = &mut self.tracer {
            self.icmp.fulfil(tracer, self.sessions.values().map(|session| &session.spec.filter));
        }
    }

    /// The `top` largest rows of a session and its sums, up to now.
    pub fn snapshot(&mut self, id: &SessionId, top: usize) -> Option<Snapshot> {
        if self.drained.elapsed() >= FRESH {
            self.drain();
        }
        let now = self.tracer.as_mut().map(|tracer| losses(tracer, &self.slots)).unwrap_or_default();
        let hook_tier = self.tracer.as_ref().map_or("none", |tracer| tracer.hook_tier().name());
        let not_seen = self.tracer.as_ref().map(Tracer::not_seen).unwrap_or_default();
        let (slots, slots_in_use) = self.tracer.as_ref().map_or((0, 0), Tracer::slot_use);
        let session = self.sessions.get_mut(id)?;
        let interval = session.shown.elapsed();
        session.shown = Instant::now();
        let (rx_bytes_per_second, tx_bytes_per_second) = session.ledger.rates(interval);
        Some(Snapshot {
            totals: session.ledger.totals(),
            rx_bytes_per_second,
            tx_bytes_per_second,
            connections_open: session.ledger.connections_open(),
            rows: session.ledger.rank(top, interval),
            rows_total: session.ledger.len(),
            losses: now.since(&session.losses_before),
            slots,
            slots_in_use,
            hook_tier,
            older_sockets_found: session.older_sockets_found,
            not_seen,
            interval,
        })
    }

    /// The sums of each process of a session as of the last drain, those with the most bytes first.
    pub fn processes(&self, id: &SessionId) -> Vec<Process> {
        self.sessions.get(id).map(|session| session.ledger.processes()).unwrap_or_default()
    }

    /// Name of the folder of a cgroup that a counted socket belongs to, also when it is gone.
    pub fn container_folder(&mut self, cgroup: u64) -> Option<String> {
        self.tracer.as_mut()?.folder(cgroup).map(|folder| folder.name)
    }

    /// Reads everything that moved since the last drain.
    pub fn drain(&mut self) {
        let Self { tracer: Some(tracer), sessions, slots, .. } = self else { return };
        let mut by_number: Vec<Option<&mut Session>> = (0..SESSIONS).map(|_| None).collect();
        for session in sessions.values_mut() {
            let number = usize::from(session.number);
            by_number[number] = Some(session);
        }
        let mut opened = Vec::new();
        if let Err(error) = tracer.drain(&mut |drained| slots.book(&drained, &mut by_number, &mut opened)) {
            tracing::error!(%error, "some slots of the flow table are not given back yet");
        }
        // New flows need their container's name from the kernel, which cannot be asked while the table is borrowed.
        let many = opened.len() >= MANY_OPENED;
        slots.book_opened(opened, &mut by_number, tracer);
        if many {
            give_back_memory();
        }
        match losses(tracer, slots).overflowed() {
            0 => {}
            _ => book_overflow(tracer, &mut by_number),
        }
        self.drained = Instant::now();
    }

    /// A number that no session has; the one that was free longest, so that nothing in the kernel still bears it.
    fn take_number(&mut self) -> Result<u8, EngineError> {
        let count = SESSIONS as u8;
        let number = (0..count)
            .map(|step| (self.next_number + step) % count)
            .find(|number| self.sessions.values().all(|session| session.number != *number))
            .ok_or(EngineError::Full)?;
        self.next_number = (number + 1) % count;
        Ok(number)
    }

    /// Brings the kernel's selection of one cgroup up to date.
    fn select(&mut self, cgroup: u64) -> Result<(), KernelError> {
        let sessions = self
            .sessions
            .values()
            .filter(|session| session.spec.cgroups.contains_key(&cgroup))
            .fold(0, |bits, session| bits | 1u64 << session.number);
        self.tracer.as_mut().map_or(Ok(()), |tracer| tracer.select_cgroup(cgroup, sessions))
    }

    fn publish(&mut self) -> Result<(), KernelError> {
        let bits = |wanted: &dyn Fn(&SessionSpec) -> bool| {
            let sessions = self.sessions.values().filter(|session| wanted(&session.spec));
            sessions.fold(0, |bits, session| bits | 1u64 << session.number)
        };
        let filtered = bits(&|spec| !spec.filter.is_empty());
        let by_process = bits(&|spec| !spec.processes.is_empty());
        self.slots.selection_changed();
        self.tracer.as_mut().map_or(Ok(()), |tracer| tracer.publish(filtered, by_process))
    }
}

#[cfg(test)]
mod tests;
