//! The interface by which the state of a node counts traffic. The engine implements it, and in tests a fake.

use traffictrace_http::endpoint::{Counts, Row};
use traffictrace_profile::Place;

use crate::engine::{Engine, EngineError, HttpOwner, HttpSnapshot, SessionSpec, Snapshot};
use crate::flows::{Seed, Totals};
use crate::report::{Owned, Profiled};
use crate::session::Uid;

/// Returns the pod of a cgroup, as `namespace/name`, and its container, or `None` for traffic that the trace does not
/// want. The first argument is the cgroup's id. The second one returns the name of the cgroup's folder, and is called
/// only if the id is unknown.
pub(super) type OwnerOf<'a> = dyn FnMut(u64, &dyn Fn() -> Option<String>) -> Option<Owned> + 'a;

/// Counts the traffic of sessions, which are identified by the UIDs of their traces.
pub(super) trait Counter {
    /// Begins a session.
    ///
    /// # Errors
    ///
    /// [`EngineError`] if the kernel refuses or all sessions are in use. Nothing of the session remains then.
    fn start(&mut self, id: &Uid, spec: SessionSpec) -> Result<(), EngineError>;

    /// Changes what a session selects or wants. Its counts stay.
    ///
    /// # Errors
    ///
    /// [`EngineError`] if the kernel refuses. The session then continues unchanged.
    fn update(&mut self, id: &Uid, spec: SessionSpec) -> Result<(), EngineError>;

    /// Returns the current specification of a session.
    fn spec(&self, id: &Uid) -> Option<&SessionSpec>;

    /// Continues from counts of an earlier run: `totals` in all, of which `rows` are known.
    fn seed(&mut self, id: &Uid, totals: &Totals, rows: Vec<Seed>);

    /// Returns the `top` largest rows of a session and its sums, up to now.
    fn snapshot(&mut self, id: &Uid, top: usize) -> Option<Snapshot>;

    /// Continues from HTTP requests of an earlier run: those of known rows, and in `rest` those of rows that are
    /// unknown.
    fn seed_http(&mut self, id: &Uid, rows: &[Row<HttpOwner>], rest: &Counts);

    /// Returns all endpoints of a session and the sums of its HTTP requests, up to now; `None` if it counts no
    /// requests.
    fn http(&mut self, id: &Uid) -> Option<HttpSnapshot>;

    /// Returns the profile of a session's stacks, up to now; `None` if it takes no stacks.
    fn profile(&mut self, id: &Uid, owner_of: &mut OwnerOf<'_>) -> Option<Profiled>;

    /// Ends a session.
    fn stop(&mut self, id: &Uid);

    /// Does the periodic work, such as reading the kernel's flow table. Call this a few times a second.
    fn tick(&mut self);

    /// Returns the folder name of a container's cgroup, even after its removal, if the kernel programs have recorded
    /// it.
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
        // All endpoints are needed for the ranking, because rows of a restarted container are merged with those of its
        // predecessor.
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
