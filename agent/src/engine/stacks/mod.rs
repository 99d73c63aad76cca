//! Stacks: which code of the sessions that ask for it moves their bytes.
//!
//! The programs of an object of their own take stacks while a session asks for them. Each comes with the slot of the flow table
//! in which its call was counted, which names the process as the ledger's rows do. What no stack was taken of is known from the
//! ledger.

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

/// Says by the id of a cgroup, and by the name of its folder if that is asked for and known, where its processes are.
pub type PlaceOf<'a> = dyn FnMut(u64, &dyn Fn() -> Option<String>) -> Option<Place> + 'a;

/// What a session wants of stacks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StackSpec {
    /// The stack of each call, whatever that costs; otherwise of as many as a budget allows.
    pub every_call: bool,
    /// The kernel's part of each stack, too.
    pub kernel: bool,
}

/// The thread that names stacks, and how many ledgers there were.
#[derive(Debug, Default)]
pub(super) struct Naming {
    namer: Option<Namer>,
    ledgers: u64,
}

/// The sessions that want stacks.
fn wanting(sessions: &mut BTreeMap<SessionId, Session>) -> Vec<&mut Session> {
    sessions.values_mut().filter(|session| session.stacks.is_some()).collect()
}

impl Engine {
    /// Loads the programs when a session begins to ask for stacks, tells them which sessions want what, and unloads them when
    /// none asks any more. Call it before what a new session selects is published, so that its first call has a stack.
    pub(super) fn update_stacks(&mut self) -> Result<(), EngineError> {
        let wanted = |wants: &dyn Fn(&StackSpec) -> bool| {
            self.sessions_with(|session| session.spec.stacks.as_ref().is_some_and(wants))
        };
        let asked = (wanted(&|_| true), wanted(&|spec| spec.every_call), wanted(&|spec| spec.kernel));
        if self.sessions.values().any(|session| session.spec.stacks.is_some() && session.stacks.is_none()) {
            // What was counted until now is no stack's.
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
                // A part of the programs may be attached already when another one is refused.
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

    /// Has the stacks that wait named, and books those that are. They name their flows by slots, so this comes before a drain
    /// frees slots.
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

    /// The stacks of a session's traffic since it began to ask for them, up to now; nothing if it does not. `place_of` says
    /// where the processes of a cgroup are; what is in one of which it says nothing is left out.
    pub fn graph(&mut self, id: &SessionId, place_of: &mut PlaceOf<'_>) -> Option<Graph> {
        // What has a stack is counted before, and the drain reads what is counted after.
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
