//! The one owner of the kernel programs: which sessions there are, what they select, and what they have counted.
//!
//! Both ends of the product use it alike: `top` with one session, the agent with up to 64. It holds no clock of its
//! own beyond pacing; call [`Engine::tick`] a few times a second. With no session nothing is loaded.

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

/// Longest time between two drains of the flow table.
const DRAIN_INTERVAL: Duration = Duration::from_millis(950);

/// Most times of drains that are kept for who asks for them.
const DRAINS: usize = 64;

/// Settings of the engine.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Flows that the kernel's table holds at once; about 200 bytes each.
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
    /// There can be no further thread.
    #[error("start the thread that names the functions of stacks: {source}")]
    Thread {
        /// Why not.
        source: io::Error,
    },
    /// The kernel refused.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

/// The sessions, and the programs while there are any.
#[derive(Debug)]
pub struct Engine {
    options: EngineOptions,
    tracer: Option<Tracer>,
    sessions: BTreeMap<SessionId, Session>,
    slots: SlotRows,
    icmp: IcmpPrograms,
    /// While a session wants requests.
    http: Option<HttpFeed>,
    /// While a session wants stacks.
    stacks: Option<StackFeed>,
    naming: Naming,
    /// Readable when records of one of the two should be taken; made for the first of them.
    records: Option<OwnedFd>,
    next_number: u8,
    drained: Instant,
    /// Times of drains that nobody has asked for yet.
    drains: Vec<Duration>,
}

impl Engine {
    /// Loads nothing yet.
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

    /// Begins a session. The programs are loaded with the first one.
    ///
    /// # Errors
    ///
    /// [`EngineError::Full`] for the 65th; [`EngineError::Kernel`] if the kernel refuses, and then nothing is left of
    /// the session.
    pub fn start(&mut self, id: &SessionId, spec: SessionSpec) -> Result<(), EngineError> {
        let number = self.take_number()?;
        let options = &self.options;
        let tracer = match &mut self.tracer {
            Some(tracer) => {
                // For an event that was under way for very long when the number's last session ended.
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

    /// The specification of a session as it is now.
    pub fn spec(&self, id: &SessionId) -> Option<&SessionSpec> {
        self.sessions.get(id).map(|session| &session.spec)
    }

    /// Changes what a session selects or wants; what it counted before stays. `group_by` and `max_rows` stay too.
    pub fn update(&mut self, id: &SessionId, spec: SessionSpec) -> Result<(), EngineError> {
        let old = &self.sessions.get(id).ok_or_else(|| EngineError::NoSession(id.clone()))?.spec;
        let narrows = old.selects_more_than(&spec) || old.selects_anything() && old.filter != spec.filter;
        if narrows {
            // What is selected no more is compared with its sockets a last time, and booked while it is known whose it is.
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

    /// Ends a session and returns its sums. With the last one, the programs are unloaded.
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

    /// Removes from the kernel what is left of a session that has ended, so that another one can have its number.
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

    /// Goes on from what was shown before this process began: `totals` in all, of which `rows` are known.
    pub fn seed(&mut self, id: &SessionId, totals: &Totals, rows: Vec<Seed>) {
        if let Some(session) = self.sessions.get_mut(id) {
            session.seed_stacks(|session| session.ledger.seed(totals, rows));
            session.resumed = true;
        }
    }

    /// Takes the records of HTTP and of stacks, and drains the flow table when it is time or when it fills up. Call it a few
    /// times a second; [`Engine::records_readable`] tells when it should be sooner.
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

    /// Reads everything that moved since the last drain.
    pub fn drain(&mut self) {
        self.drain_to(Depth::Usual);
    }

    /// Reads everything that moved since the last drain, also what no call has reported yet.
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

    /// A number that no session has; the one that was free longest.
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
