//! The times at which traces have to be looked at, so that no event needs to visit all of them.

use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;

/// The UIDs of scheduled traces, each with the time at which it has to be looked at, ordered by that time.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    order: BTreeSet<(Timestamp, String)>,
    moments: HashMap<String, Timestamp>,
}

impl Schedule {
    /// Sets the time of a trace, or removes it.
    pub(super) fn set(&mut self, uid: &str, moment: Option<Timestamp>) {
        if self.moments.get(uid).copied() == moment {
            return;
        }
        if let Some(old) = self.moments.remove(uid) {
            self.order.remove(&(old, uid.to_owned()));
        }
        if let Some(moment) = moment {
            self.moments.insert(uid.to_owned(), moment);
            self.order.insert((moment, uid.to_owned()));
        }
    }

    /// Removes and returns the traces whose time has come.
    pub(super) fn take(&mut self, now: Timestamp) -> Vec<String> {
        let mut due = Vec::new();
        while let Some((moment, _)) = self.order.first() {
            if *moment > now {
                break;
            }
            if let Some((_, uid)) = self.order.pop_first() {
                self.moments.remove(&uid);
                due.push(uid);
            }
        }
        due
    }

    /// Returns the earliest time of all traces.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.order.first().map(|(moment, _)| *moment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn each_trace_has_one_moment_the_last_that_was_set() {
        let mut schedule = Schedule::default();
        schedule.set("a", Some(at(5)));
        schedule.set("b", Some(at(3)));
        schedule.set("a", Some(at(2)));
        schedule.set("c", Some(at(9)));
        schedule.set("c", None);
        assert_eq!(schedule.next(), Some(at(2)));
        assert!(schedule.take(at(1)).is_empty());
        assert_eq!(schedule.take(at(3)), ["a", "b"]);
        assert_eq!((schedule.next(), schedule.moments.len()), (None, 0));
    }
}
