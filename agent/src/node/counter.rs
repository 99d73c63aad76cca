//! The counter that a node's state drives: the engine, or a stand-in in its tests.

use traffictrace_http::endpoint::{Counts, Row};
use traffictrace_profile::Place;

use crate::engine::{Engine, EngineError, HttpOwner, HttpSnapshot, SessionSpec, Snapshot};
use crate::flows::{Seed, Totals};
use crate::report::{Owned, Profiled};
use crate::session::Uid;

/// Names the pod, as `namespace/name`, and the container of a cgroup; nothing for one whose traffic the trace does not want. The folder that the cgroup
/// had is asked for where nothing else is known of it.
pub(super) type OwnerOf<'a> = dyn FnMut(u64, &dyn Fn() -> Option<String>) -> Option<Owned> + 'a;

/// Counts the traffic of sessions, which are named by the UIDs of their traces.
pub(super) trait Counter {
    /// Begins a session.
    ///
    /// # Errors
    ///
    /// When the kernel refuses, or there is no room for another session; nothing is left of it then.
    fn start(&mut self, id: &Uid, spec: SessionSpec) -> Result<(), EngineError>;

    /// Changes what a session selects or wants; what it counted stays.
    ///
    /// # Errors
    ///
    /// When the kernel refuses; the session goes on as it was then.
    fn update(&mut self, id: &Uid, spec: SessionSpec) -> Result<(), EngineError>;

    /// The specification of a session as it is now.
    fn spec(&self, id: &Uid) -> Option<&SessionSpec>;

    /// Goes on from what was counted before.
    fn seed(&mut self, id: &Uid, totals: &Totals, rows: Vec<Seed>);

    /// The `top` largest rows of a session and its sums, up to now.
    fn snapshot(&mut self, id: &Uid, top: usize) -> Option<Snapshot>;

    /// Goes on from the HTTP requests that were counted before: those of rows, and the rest.
    fn seed_http(&mut self, id: &Uid, rows: &[Row<HttpOwner>], rest: &Counts);

    /// All endpoints of a session and the sums of its HTTP requests, up to now; nothing if it does not count any.
    fn http(&mut self, id: &Uid) -> Option<HttpSnapshot>;

    /// What the stacks of a session show, up to now; nothing if it takes none.
    fn profile(&mut self, id: &Uid, owner_of: &mut OwnerOf<'_>) -> Option<Profiled>;

    /// Ends a session.
    fn stop(&mut self, id: &Uid);

    /// Does what is due; called a few times a second.
    fn tick(&mut self);

    /// The folder that a container's cgroup had, if the kernel told of it.
    fn container_folder(&self, cgroup: u64) -> Option<String>;
}

impl Counter for Engine {
    fn start(&mut self, id: &Uid, spec: SessionSpec) -> Result<(), EngineError> {
        self.start(id, spec)
    }

    fn update(&mut self, id: &Uid, spec: SessionSpec) -> Result<(), EngineError> {
        self.update(id, spec)
    }

    fn spec(&self, id: &Uid) -> Option<&SessionSpec> {
        self.spec(id)
    }

    fn seed(&mut self, id: &Uid, totals: &Totals, rows: Vec<Seed>) {
        self.seed(id, totals, rows);
    }

    fn snapshot(&mut self, id: &Uid, top: usize) -> Option<Snapshot> {
        self.snapshot(id, top)
    }

    fn seed_http(&mut self, id: &Uid, rows: &[Row<HttpOwner>], rest: &Counts) {
        self.seed_http(id, rows, rest);
    }

    fn http(&mut self, id: &Uid) -> Option<HttpSnapshot> {
        // Rows of containers that began again are one to the user, which the ranking must know.
        self.http(id, usize::MAX)
    }

    fn profile(&mut self, id: &Uid, owner_of: &mut OwnerOf<'_>) -> Option<Profiled> {
        let mut place_of = |cgroup, folder: &dyn Fn() -> Option<String>| {
            let Owned { pod, container } = owner_of(cgroup, folder)?;
            Some(Place { pod, container: container.unwrap_or_default() })
        };
        self.graph(id, &mut place_of).map(Profiled::of)
    }

    fn stop(&mut self, id: &Uid) {
        self.stop(id);
    }

    fn tick(&mut self) {
        self.tick();
    }

    fn container_folder(&self, cgroup: u64) -> Option<String> {
        self.container_folder(cgroup)
    }
}
