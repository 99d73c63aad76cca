//! A schedule: each key has a time at most, and the earliest one is found without looking at the others.

use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;

use crate::kubeapi::Key;

/// Times of keys.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    in_order: BTreeSet<(Timestamp, Key)>,
    times: HashMap<Key, Timestamp>,
}

impl Schedule {
    /// Sets the time of a key, or takes the key out.
    pub(super) fn set(&mut self, key: &Key, time: Option<Timestamp>) {
        if self.times.get(key).copied() == time {
            return;
        }
        if let Some(old) = self.times.remove(key) {
            self.in_order.remove(&(old, key.clone()));
        }
        if let Some(time) = time {
            self.times.insert(key.clone(), time);
            self.in_order.insert((time, key.clone()));
        }
    }

    /// The earliest time.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.in_order.first().map(|(time, _)| *time)
    }

    /// Takes out the first key whose time has come.
    pub(super) fn pop_due(&mut self, now: Timestamp) -> Option<Key> {
        if self.next()? > now {
            return None;
        }
        let (_, key) = self.in_order.pop_first()?;
        self.times.remove(&key);
        Some(key)
    }

    /// The number of keys whose time has come.
    pub(super) fn due(&self, now: Timestamp) -> usize {
        self.in_order.iter().take_while(|(time, _)| *time <= now).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key { namespace: "shop".into(), name: name.into(), uid: name.into() }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn keys_come_in_the_order_of_their_last_times() {
        let mut schedule = Schedule::default();
        for (name, second) in [("a", 5), ("b", 3), ("c", 4), ("a", 1), ("c", 9)] {
            schedule.set(&key(name), Some(at(second)));
        }
        assert_eq!((schedule.next(), schedule.due(at(4))), (Some(at(1)), 2));
        assert_eq!(schedule.pop_due(at(0)), None);
        assert_eq!(schedule.pop_due(at(4)), Some(key("a")));
        assert_eq!(schedule.pop_due(at(4)), Some(key("b")));
        assert_eq!(schedule.pop_due(at(4)), None);
        schedule.set(&key("c"), None);
        assert_eq!(schedule.next(), None);
    }
}
