//! The health of the process: that it is alive, and that it is of use.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The main loop counts as stuck when it has not come round for so long.
const STUCK: Duration = Duration::from_secs(30);

/// Signs of life of the main loop; all copies are one.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    beat: Instant,
    /// The things that are needed before the process is of use, each with why it is not there yet.
    needed: BTreeMap<&'static str, Option<String>>,
}

impl Health {
    /// Of a process that begins, and that needs these things before it is of use.
    pub(crate) fn new(needed: &[&'static str]) -> Self {
        let not_yet = |name: &&'static str| (*name, Some("not yet".to_owned()));
        let state = State { beat: Instant::now(), needed: needed.iter().map(not_yet).collect() };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// The main loop has come round.
    pub(crate) fn beat(&self) {
        self.with(|state| state.beat = Instant::now());
    }

    /// Something that is needed is there.
    pub(crate) fn has(&self, name: &'static str) {
        self.with(|state| state.needed.insert(name, None));
    }

    /// Something that is needed is not there, and why.
    pub(crate) fn lacks(&self, name: &'static str, why: String) {
        self.with(|state| state.needed.insert(name, Some(why)));
    }

    /// Says that the main loop goes round, or why not.
    pub(super) fn alive(&self) -> Result<String, String> {
        let since = self.with(|state| state.beat.elapsed());
        if since < STUCK {
            return Ok("the main loop goes round\n".to_owned());
        }
        Err(format!("the main loop has not come round for {} s\n", since.as_secs()))
    }

    /// A line for each thing that is needed; an error when one is not there.
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
        // Nothing here can be half changed.
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
