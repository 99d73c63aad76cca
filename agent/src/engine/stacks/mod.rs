//! Stacks: the code that moves bytes, for the sessions that ask for it.
//!
//! A separate object of programs takes stacks while a session asks for them. Each record names the slot of the flow
//! table in which its call was counted, and the slot names the process in the same way as the ledger's rows. Traffic of
//! which no stack was taken is known from the ledger.

mod feed;
mod ledger;

use std::collections::{BTreeMap, HashMap};

use traffictrace_profile::{Graph, Place};

use self::{feed::Namer, ledger::owner_of};
pub(super) use self::{feed::StackFeed, ledger::StackLedger};
use super::{Engine, EngineError, SessionId, session::Session};
use crate::stacks::{
    profile::{Owner, Profile, Sums},
    worker::Worker,
};

/// A function that returns the place (such as pod and container) of a cgroup's processes. Its arguments are the
/// cgroup's id, and a function that returns the name of the cgroup's folder, if that is known.
pub type PlaceOf<'a> = dyn FnMut(u64, &dyn Fn() -> Option<String>) -> Option<Place> + 'a;

/// A session's settings for stacks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StackSpec {
    /// Takes the stack of each call at any cost. Otherwise a budget limits the number of stacks.
    pub every_call: bool,
    /// Takes the kernel stack as well, beside the user stack.
    pub kernel: bool,
}

/// The thread that names stacks, and the number of ledgers made so far.
#[derive(Debug, Default)]
pub(super) struct Naming {
    namer: Option<Namer>,
    ledgers: u64,
}

/// Returns the sessions that want stacks.
fn wanting(sessions: &mut BTreeMap<SessionId, Session>) -> Vec<&mut Session> {
    sessions.values_mut().filter(|session| session.stacks.is_some()).collect()
}

impl Engine {
    /// Loads the programs once a session asks for stacks, tells them the sessions' settings, and unloads them when no
    /// session asks any more. Call this before the selection of a new session is published, so that its first call has
    /// a stack.
    pub(super) fn update_stacks(&mut self) -> Result<(), EngineError> {
        let wanted = |wants: &dyn Fn(&StackSpec) -> bool| {
            self.sessions_with(|session| session.spec.stacks.as_ref().is_some_and(wants))
        };
        let asked = (wanted(&|_| true), wanted(&|spec| spec.every_call), wanted(&|spec| spec.kernel));
        if self.sessions.values().any(|session| session.spec.stacks.is_some() && session.stacks.is_none()) {
            // The session's sums are kept below as those before its first stack, so they must include all traffic until
            // now.
            self.drain_fully();
        }
        let Some(tracer) = &mut self.tracer else { return Ok(()) };
        for session in self.sessions.values_mut().filter(|session| session.spec.stacks.is_none()) {
            session.stacks = None;
        }
        if asked.0 == 0 {
            if self.stacks.take().is_some() {
                if let Some(namer) = &mut self.naming.namer {
                    namer.forget();
                }
                tracer.set_stacked(0)?;
            }
            return Ok(());
        }
        if self.naming.namer.is_none() {
            let namer = Worker::start().map_err(|source| EngineError::Thread { source })?;
            self.naming.namer = Some(namer);
        }
        let feed = match &mut self.stacks {
            Some(feed) => feed,
            none => {
                // If the kernel refuses a program, the one that notes claims may be attached already, and is detached.
                let loaded = StackFeed::load(tracer).inspect_err(|_| drop(tracer.set_stacked(0)));
                none.insert(loaded?)
            }
        };
        feed.follow(tracer);
        let lost_before = feed.lost();
        for session in self.sessions.values_mut().filter(|session| session.stacks.is_none()) {
            if session.spec.stacks.is_some() {
                self.naming.ledgers += 1;
                session.stacks = Some(StackLedger {
                    number: self.naming.ledgers,
                    profile: Profile::default(),
                    before: session.ledger.sums(owner_of),
                    lost_before,
                });
            }
        }
        let profiles = asked.0.count_ones() as usize;
        for stacks in self.sessions.values_mut().filter_map(|session| session.stacks.as_mut()) {
            stacks.profile.share_with(profiles);
        }
        if feed.asked != asked {
            feed.capture.set_sessions(tracer, asked.0, asked.1, asked.2)?;
            feed.asked = asked;
        }
        Ok(())
    }

    /// Passes the waiting stacks to the naming thread, and adds those that have names. Records name their flows by
    /// slots, so this has to happen before a drain frees slots.
    pub(super) fn read_stacks(&mut self) {
        let Self { stacks: Some(feed), tracer: Some(tracer), sessions, naming, .. } = self else { return };
        let Some(namer) = &mut naming.namer else { return };
        let folders = match tracer.folders() {
            Ok(folders) => folders,
            Err(error) => return tracing::error!(%error, "stacks wait for the names of cgroups"),
        };
        let mut wanting = wanting(sessions);
        feed.read(tracer, namer, &folders, &mut wanting);
        feed.book(namer, false, &mut wanting);
    }

    /// Number of stacks that a session has taken so far.
    pub fn stacks_taken(&self, id: &SessionId) -> u64 {
        self.sessions
            .get(id)
            .and_then(|session| session.stacks.as_ref())
            .map_or(0, |stacks| stacks.profile.taken())
    }

    /// Returns the stacks of a session's traffic since it began to ask for them, or `None` if it does not. `place_of`
    /// returns the place of a cgroup's processes; cgroups without a place are left out.
    pub fn graph(&mut self, id: &SessionId, place_of: &mut PlaceOf<'_>) -> Option<Graph> {
        // A call is counted before its stack is taken, so this drain reads the counts of all calls whose stacks were
        // taken.
        self.drain_fully();
        let Self { stacks: Some(feed), tracer: Some(tracer), sessions, naming, .. } = self else {
            return None;
        };
        feed.book(naming.namer.as_mut()?, true, &mut wanting(sessions));
        let (lost, session) = (feed.lost(), sessions.get_mut(id)?);
        let mut sums = session.stack_sums();
        let mut places: HashMap<u64, Option<Place>> = HashMap::new();
        let folder_of = |cgroup| Some(tracer.folders().ok()?.get(cgroup)?.name);
        sums.retain(|Sums { owner: Owner { cgroup, .. }, .. }| {
            let place = || place_of(*cgroup, &|| folder_of(*cgroup));
            places.entry(*cgroup).or_insert_with(place).is_some()
        });
        let stacks = session.stacks.as_mut()?;
        stacks.profile.lost(lost.saturating_sub(std::mem::replace(&mut stacks.lost_before, lost)));
        let mut graph = stacks.profile.settle(&sums);
        graph.name(&|cgroup| places.get(&cgroup).cloned().flatten().unwrap_or_default());
        Some(graph)
    }
}
