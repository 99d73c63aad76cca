//! Health of the process: liveness and readiness.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Time without a heartbeat after which the main loop counts as stuck.
const STUCK: Duration = Duration::from_secs(30);

/// Health of the process, with heartbeats of the main loop. All clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    beat: Instant,
    /// Components that must be present before the process is ready. The value says why a component is missing; `None`
    /// if it is present.
    needed: BTreeMap<&'static str, Option<String>>,
}

impl Health {
    /// Creates the health of a starting process that needs these components.
    pub(crate) fn new(needed: &[&'static str]) -> Self {
        let not_yet = |name: &&'static str| (*name, Some("not yet".to_owned()));
        let state = State { beat: Instant::now(), needed: needed.iter().map(not_yet).collect() };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Records a heartbeat of the main loop.
    pub(crate) fn beat(&self) {
        self.with(|state| state.beat = Instant::now());
    }

    /// Records that a component is present.
    pub(crate) fn has(&self, name: &'static str) {
        self.with(|state| state.needed.insert(name, None));
    }

    /// Records that a component is missing, and why.
    pub(crate) fn lacks(&self, name: &'static str, why: String) {
        self.with(|state| state.needed.insert(name, Some(why)));
    }

    /// Returns the liveness as text; an error if the main loop is stuck.
    pub(super) fn alive(&self) -> Result<String, String> {
        let since = self.with(|state| state.beat.elapsed());
        if since < STUCK {
            return Ok("the main loop goes round\n".to_owned());
        }
        Err(format!("the main loop has not come round for {} s\n", since.as_secs()))
    }

    /// Returns a line for each component; an error if one is missing.
    pub(super) fn ready(&self) -> Result<String, String> {
        self.with(|state| {
            let lines = state.needed.iter().map(|(name, lacks)| match lacks {
                None => format!("{name}: ok\n"),
                Some(why) => format!("{name}: {why}\n"),
            });
            let lines: String = lines.collect();
            if state.needed.values().all(Option::is_none) { Ok(lines) } else { Err(lines) }
        })
    }

    fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        // A panic elsewhere cannot leave the state half changed.
        look(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_everything_needed_is_there() {
        let health = Health::new(&["pods", "bpf"]);
        assert_eq!(health.ready(), Err("bpf: not yet\npods: not yet\n".to_owned()));
        health.has("pods");
        health.lacks("bpf", "no CAP_BPF".to_owned());
        assert_eq!(health.ready(), Err("bpf: no CAP_BPF\npods: ok\n".to_owned()));
        health.has("bpf");
        assert_eq!(health.ready(), Ok("bpf: ok\npods: ok\n".to_owned()));
    }

    #[test]
    fn dead_when_the_main_loop_stands_still() {
        let health = Health::new(&[]);
        assert!(health.alive().is_ok());
        let long_ago = Instant::now().checked_sub(STUCK).unwrap();
        health.with(|state| state.beat = long_ago);
        assert!(health.alive().unwrap_err().contains("not come round for 30 s"));
        health.beat();
        assert!(health.alive().is_ok());
    }
}
