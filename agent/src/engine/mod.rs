//! The only owner of the kernel programs: the sessions, their selection, and their counts.
//!
//! Both `top` (one session) and the agent (up to 64) use the engine. The engine reads nothing by itself: its owner
//! calls [`Engine::tick`] a few times a second. Without a session nothing is loaded.

mod containers;
mod http;
mod icmp;
mod losses;
mod records;
mod selection;
mod session;
mod slots;
mod snapshot;
mod stacks;
mod stats;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    os::fd::OwnedFd,
    path::PathBuf,
    time::{Duration, Instant},
};

use traffictrace_ebpf::layout::{Loss, SESSIONS};

use self::{
    containers::Containers,
    http::HttpFeed,
    icmp::IcmpPrograms,
    losses::{book_overflow, losses},
    session::Session,
    slots::SlotRows,
    stacks::{Naming, StackFeed},
};
pub use self::{
    http::{HttpExchange, HttpInterval, HttpMissing, HttpOwner, HttpSnapshot, HttpSpec, TlsProcess},
    losses::Losses,
    session::{CgroupKind, SelectedCgroup, SessionId, SessionSpec},
    snapshot::Snapshot,
    stacks::StackSpec,
    stats::EngineStats,
};
use crate::{
    flows::{Ledger, Seed, Totals},
    kernel::{Depth, Drained, Folders, KernelError, TierChoice, Tracer, give_back_memory},
};

/// Maximum time between two drains of the flow table.
const DRAIN_INTERVAL: Duration = Duration::from_millis(950);

/// Maximum number of drains' durations that are kept for [`Engine::take_drains`].
const DRAINS: usize = 64;

/// Settings of the engine.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Number of flows that the kernel's table holds at once; each takes about 200 bytes.
    pub slots: usize,
    /// Root of the host's cgroup2 tree.
    pub cgroup_root: PathBuf,
    /// Hook tiers that may be used.
    pub hook_tier: TierChoice,
}

/// The reason why the engine did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// All session numbers are in use.
    #[error(
        "this node already serves {SESSIONS} traces, which is all it can; delete one or wait until one completes"
    )]
    Full,
    /// No session has this id.
    #[error("there is no session {0}")]
    NoSession(SessionId),
    /// The thread that names the functions of stacks could not be started.
    #[error("start the thread that names the functions of stacks: {source}")]
    Thread {
        /// The system's error.
        source: io::Error,
    },
    /// The kernel refused.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

/// The sessions, and the programs while there are sessions.
#[derive(Debug)]
pub struct Engine {
    options: EngineOptions,
    tracer: Option<Tracer>,
    sessions: BTreeMap<SessionId, Session>,
    slots: SlotRows,
    icmp: IcmpPrograms,
    /// Present while a session wants requests.
    http: Option<HttpFeed>,
    /// Present while a session wants stacks.
    stacks: Option<StackFeed>,
    naming: Naming,
    /// Descriptor that becomes readable when records of HTTP or stacks should be read. Created when first needed.
    records: Option<OwnedFd>,
    next_number: u8,
    drained: Instant,
    /// Durations of the first [`DRAINS`] drains since the last [`Self::take_drains`].
    drains: Vec<Duration>,
}

impl Engine {
    /// Creates an engine without sessions. Nothing is loaded yet.
    pub fn new(options: EngineOptions) -> Self {
        Self {
            options,
            tracer: None,
            sessions: BTreeMap::new(),
            slots: SlotRows::default(),
            icmp: IcmpPrograms::default(),
            http: None,
            stacks: None,
            naming: Naming::default(),
            records: None,
            next_number: 0,
            drained: Instant::now(),
            drains: Vec::new(),
        }
    }

    /// Begins a session. The first session loads the programs.
    ///
    /// # Errors
    ///
    /// [`EngineError::Full`] if 64 sessions exist already; [`EngineError::Kernel`] if the kernel refuses, and then
    /// nothing of the session remains.
    pub fn start(&mut self, id: &SessionId, spec: SessionSpec) -> Result<(), EngineError> {
        let number = self.take_number()?;
        let options = &self.options;
        let tracer = match &mut self.tracer {
            Some(tracer) => {
                // A program that ran for very long may have put the last session with this number into a slot after
                // that session had ended.
                tracer.end_sessions(1 << number);
                tracer
            }
            none => {
                let tracer = Tracer::load(options.slots, &options.cgroup_root, options.hook_tier)?;
                tracing::info!(hook_tier = %tracer.hook_tier(), "the kernel's programs are loaded");
                give_back_memory();
                none.insert(tracer)
            }
        };
        let session = Session {
            number,
            protocols: 0,
            ledger: Ledger::new(spec.group_by, spec.max_rows),
            spec: SessionSpec { group_by: spec.group_by, max_rows: spec.max_rows, ..SessionSpec::default() },
            containers: Containers::default(),
            http: None,
            stacks: None,
            resumed: false,
            older_sockets_found: false,
            losses_before: losses(tracer, &self.slots),
            overflow_before: tracer.overflow()?.into_iter().collect(),
            crowded_out: BTreeSet::new(),
            shown: Instant::now(),
        };
        self.sessions.insert(id.clone(), session);
        let result = self.update(id, spec);
        if result.is_err() {
            self.stop(id);
        }
        result
    }

    /// Returns the current specification of a session.
    pub fn spec(&self, id: &SessionId) -> Option<&SessionSpec> {
        self.sessions.get(id).map(|session| &session.spec)
    }

    /// Changes what a session selects or wants. Its counts so far stay, and so do `group_by` and `max_rows`.
    pub fn update(&mut self, id: &SessionId, spec: SessionSpec) -> Result<(), EngineError> {
        let old = &self.sessions.get(id).ok_or_else(|| EngineError::NoSession(id.clone()))?.spec;
        let narrows = old.selects_more_than(&spec) || old.selects_anything() && old.filter != spec.filter;
        if narrows {
            // Flows that are about to be deselected are compared with their sockets a last time, and their bytes are
            // counted while their owner is still known.
            self.drain_fully();
        }
        let Some(session) = self.sessions.get_mut(id) else { return Ok(()) };
        let old = std::mem::replace(&mut session.spec, spec);
        session.containers.clear();
        let result = self.arm(id, &old);
        if narrows && result.is_ok() {
            self.leave_deselected(id);
        }
        match (result.is_ok(), self.sessions.get_mut(id)) {
            // Newly selected sockets may be older than the change, and then have to be found.
            (true, Some(session)) if session.spec.selects_more_than(&old) => self.find_older_sockets(id),
            // The old specification is restored, so that the next attempt sees the difference again.
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

    /// Ends a session and returns its sums. The last session unloads the programs.
    pub fn stop(&mut self, id: &SessionId) -> Option<Totals> {
        let number = self.sessions.get(id)?.number;
        self.drain_fully();
        self.disarm(id);
        if let Some(tracer) = &mut self.tracer {
            tracer.wait_for_programs();
        }
        self.drain();
        let totals = self.sessions.remove(id).map(|session| session.ledger.totals());
        self.slots.forget_session(number);
        if let Err(error) = self.update_http() {
            tracing::error!(%error, "the HTTP programs go on with what a session selected that has ended");
        }
        if let Err(error) = self.update_stacks() {
            tracing::error!(%error, "stacks are taken for a session that has ended");
        }
        if self.sessions.is_empty() {
            self.tracer = None;
            self.slots = SlotRows::default();
            self.icmp = IcmpPrograms::default();
            give_back_memory();
        } else {
            self.forget(number);
        }
        totals
    }

    /// Removes everything of an ended session from the kernel, so that another session can use its number.
    fn forget(&mut self, number: u8) {
        let live = self.sessions_with(|_| true);
        let Some(tracer) = &mut self.tracer else { return };
        tracer.end_sessions(1 << number);
        let forgotten = tracer.forget_overflow(live);
        if let Err(error) = forgotten.and_then(|()| self.attach()) {
            tracing::error!(%error, "the kernel keeps a part of what a session needed that has ended");
        }
        self.update_icmp();
    }

    /// Continues from counts of before this process began: `totals` in all, of which `rows` are known.
    pub fn seed(&mut self, id: &SessionId, totals: &Totals, rows: Vec<Seed>) {
        if let Some(session) = self.sessions.get_mut(id) {
            session.seed_stacks(|session| session.ledger.seed(totals, rows));
            session.resumed = true;
        }
    }

    /// Reads the records of HTTP and stacks, and drains the flow table if that is due or the table fills up. Call this
    /// a few times a second, and earlier if [`Engine::records_readable`] becomes readable.
    pub fn tick(&mut self) {
        self.read_records();
        let Some(tracer) = &mut self.tracer else { return };
        tracer.follow();
        if let Some(stacks) = &mut self.stacks {
            stacks.follow(tracer);
        }
        if self.drained.elapsed() >= DRAIN_INTERVAL || tracer.is_filling() {
            self.drain();
        }
        self.update_icmp();
    }

    /// Adds all traffic since the last drain to the sessions' rows.
    pub fn drain(&mut self) {
        self.drain_to(Depth::Usual);
    }

    /// Drains like [`Self::drain`], and compares all TCP connections with their sockets, so that bytes that no call has
    /// reported are included.
    pub fn drain_fully(&mut self) {
        self.drain_to(Depth::Full);
    }

    fn drain_to(&mut self, depth: Depth) {
        self.read_records();
        let Self { tracer: Some(tracer), sessions, slots, drains, .. } = self else { return };
        let mut by_number: [Option<&mut Session>; SESSIONS] = [const { None }; SESSIONS];
        for session in sessions.values_mut() {
            let number = usize::from(session.number);
            by_number[number] = Some(session);
        }
        let book = &mut |drained: &Drained<'_>, folders: &Folders<'_>| {
            slots.book(drained, &|id| folders.parent(id), &mut by_number);
        };
        let begin = Instant::now();
        let result = tracer.drain(depth, book);
        if drains.len() < DRAINS {
            drains.push(begin.elapsed());
        }
        if let Err(error) = result {
            tracing::error!(%error, "some slots of the flow table are not freed yet");
        }
        if tracer.loss(Loss::TableFull) > 0 {
            book_overflow(tracer, &mut by_number);
        }
        self.drained = Instant::now();
    }

    /// Returns the next free session number after the one taken last, so that a number is used again as late as
    /// possible.
    fn take_number(&mut self) -> Result<u8, EngineError> {
        let count = SESSIONS as u8;
        let number = (0..count)
            .map(|step| (self.next_number + step) % count)
            .find(|number| self.sessions.values().all(|session| session.number != *number))
            .ok_or(EngineError::Full)?;
        self.next_number = (number + 1) % count;
        Ok(number)
    }
}

#[cfg(test)]
pub use self::stats::ProgramStats;

#[cfg(test)]
mod tests;
