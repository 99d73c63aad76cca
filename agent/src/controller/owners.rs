//! The current and the last pod of each address.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};

use crate::kubeapi::Key;

/// Time for which an address still names the pod that gave it up, unless another pod takes it. The last flows of a pod
/// reach a status only after the pod's end: up to a report interval later, which may be long.
const NAMED_FOR: SignedDuration = SignedDuration::from_mins(5);

/// The current or the last pod of each address.
#[derive(Debug, Default)]
pub(super) struct Owners {
    owners: HashMap<IpAddr, Owner>,
    /// Addresses that were given up, oldest first. An entry whose address has been taken since is skipped.
    given_up: VecDeque<(Timestamp, IpAddr)>,
}

#[derive(Debug)]
struct Owner {
    pod: Key,
    /// Time when the pod gave the address up.
    given_up: Option<Timestamp>,
}

impl Owner {
    fn is_named(&self, now: Timestamp) -> bool {
        self.given_up.is_none_or(|time| now.duration_since(time) < NAMED_FOR)
    }
}

impl Owners {
    /// Gives an address to a pod, even if another pod has it.
    pub(super) fn take(&mut self, address: IpAddr, pod: &Key) {
        self.owners.insert(address, Owner { pod: pod.clone(), given_up: None });
    }

    /// Records that a pod has ended or changed its address, unless another pod already has the address.
    pub(super) fn give_up(&mut self, address: IpAddr, pod: &Key, now: Timestamp) {
        self.forget_old(now);
        let used =
            self.owners.get(&address).is_some_and(|owner| owner.given_up.is_none() && owner.pod != *pod);
        if !used {
            self.owners.insert(address, Owner { pod: pod.clone(), given_up: Some(now) });
            self.given_up.push_back((now, address));
        }
    }

    /// Returns the pod that has an address, or had it last.
    pub(super) fn at(&self, address: IpAddr, now: Timestamp) -> Option<&Key> {
        self.owners.get(&address).filter(|owner| owner.is_named(now)).map(|owner| &owner.pod)
    }

    fn forget_old(&mut self, now: Timestamp) {
        while let Some((_, address)) =
            self.given_up.pop_front_if(|(time, _)| now.duration_since(*time) >= NAMED_FOR)
        {
            if self.owners.get(&address).is_some_and(|owner| !owner.is_named(now)) {
                self.owners.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key { namespace: "shop".into(), name: name.into(), uid: name.into() }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + seconds).unwrap()
    }

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    #[test]
    fn an_address_names_its_last_pod_for_five_minutes() {
        let mut owners = Owners::default();
        owners.take(ADDRESS, &key("a"));
        assert_eq!(owners.at(ADDRESS, at(10_000)), Some(&key("a")), "as long as it has it");
        owners.give_up(ADDRESS, &key("a"), at(0));
        assert_eq!(owners.at(ADDRESS, at(299)), Some(&key("a")));
        assert_eq!(owners.at(ADDRESS, at(300)), None);
        owners.give_up(OTHER, &key("b"), at(301));
        assert_eq!((owners.owners.len(), owners.given_up.len()), (1, 1), "{owners:?}");
    }

    #[test]
    fn the_next_pod_has_it_at_once() {
        let mut owners = Owners::default();
        owners.take(ADDRESS, &key("a"));
        owners.give_up(ADDRESS, &key("a"), at(0));
        owners.take(ADDRESS, &key("b"));
        owners.give_up(ADDRESS, &key("a"), at(1));
        assert_eq!(owners.at(ADDRESS, at(2)), Some(&key("b")));
        // The time for which the address would have named `a` is over; that must not end the claim of `b`.
        owners.give_up(OTHER, &key("c"), at(400));
        assert_eq!(owners.at(ADDRESS, at(400)), Some(&key("b")));
    }
}
