//! The steps that the controller takes for a trace, and how long each has to wait.

use std::time::Duration;

use jiff::Timestamp;

use super::pace::after;
use crate::kubeapi::Backoff;

/// Something that the controller does for a trace at the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Deletes the trace, whose time has come.
    Deletion,
    /// Deletes the reports of a trace that has finished.
    Reports,
    /// Makes the status anew, and writes it if it is another.
    Status,
    /// Tells the agents, which watch the metadata alone, what they must know of the status.
    Metadata,
}

impl Step {
    /// All steps; of those that are due the first one is taken.
    pub(super) const ALL: [Self; 4] = [Self::Deletion, Self::Reports, Self::Status, Self::Metadata];

    /// How long the step is not taken again after it was done, so that somebody who undoes it over and over again costs
    /// little. A status has a pace of its own.
    fn rest(self) -> Duration {
        match self {
            Self::Status => Duration::ZERO,
            Self::Metadata => Duration::from_secs(5),
            Self::Reports | Self::Deletion => Duration::from_secs(30),
        }
    }
}

/// A status that was no news is not made again sooner than that, whatever the times of its trace say.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// When the steps of a trace may be taken. At most one is under way.
#[derive(Debug, Default)]
pub(super) struct Timing {
    under_way: Option<Step>,
    /// Since when something has changed that no status shows.
    changed: Option<Timestamp>,
    /// When this process last wrote the status.
    written: Option<Timestamp>,
    waits: [Wait; Step::ALL.len()],
}

/// The pause of one step.
#[derive(Debug, Default)]
struct Wait {
    until: Option<Timestamp>,
    backoff: Backoff,
}

impl Timing {
    /// Something has changed that the status does not show.
    pub(super) fn change(&mut self, now: Timestamp) {
        self.changed.get_or_insert(now);
    }

    /// Since when something has changed that no status shows.
    pub(super) fn changed(&self) -> Option<Timestamp> {
        self.changed
    }

    /// When this process last wrote the status.
    pub(super) fn written(&self) -> Option<Timestamp> {
        self.written
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// The status has been made of all that is known. Unless it is written now, it was no news.
    pub(super) fn looked(&mut self, now: Timestamp) {
        self.changed = None;
        self.waits[Step::Status as usize].until = Some(after(now, LOOK_AGAIN));
    }

    pub(super) fn begin(&mut self, step: Step) {
        self.under_way = Some(step);
    }

    pub(super) fn done(&mut self, step: Step, now: Timestamp) {
        self.under_way = None;
        if step == Step::Status {
            self.written = Some(now);
        }
        let wait = &mut self.waits[step as usize];
        wait.backoff.reset();
        wait.until = Some(after(now, step.rest()));
    }

    /// The step has failed; it is taken again after a pause, at least as long as the server asks.
    pub(super) fn failed(&mut self, step: Step, asked: Option<Duration>, now: Timestamp) {
        self.under_way = None;
        if step == Step::Status {
            self.change(now);
        }
        let wait = &mut self.waits[step as usize];
        wait.until = Some(after(now, wait.backoff.next(asked)));
    }

    /// When a step may be taken that is wanted at a time; never while another one is under way.
    pub(super) fn allowed(&self, step: Step, wanted: Option<Timestamp>) -> Option<Timestamp> {
        let wanted = wanted.filter(|_| !self.is_under_way())?;
        Some(self.waits[step as usize].until.map_or(wanted, |until| wanted.max(until)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn one_step_at_a_time_and_each_waits_for_itself() {
        let mut timing = Timing::default();
        timing.change(at(1));
        timing.change(at(2));
        assert_eq!(timing.changed(), Some(at(1)), "the oldest change counts");
        timing.looked(at(2));
        timing.begin(Step::Status);
        assert_eq!(timing.allowed(Step::Metadata, Some(at(3))), None);
        timing.failed(Step::Status, Some(Duration::from_secs(8)), at(3));
        let again = timing.allowed(Step::Status, Some(at(3))).unwrap();
        assert!(again >= at(11) && again <= at(13), "{again}");
        assert_eq!(timing.changed(), Some(at(3)), "what was to be shown is not shown");
        assert_eq!(timing.allowed(Step::Metadata, Some(at(3))), Some(at(3)), "only the status waits");
        timing.done(Step::Status, at(20));
        assert_eq!(
            (timing.allowed(Step::Status, Some(at(0))), timing.written()),
            (Some(at(20)), Some(at(20)))
        );
        assert_eq!(timing.allowed(Step::Status, None), None);
    }
}
