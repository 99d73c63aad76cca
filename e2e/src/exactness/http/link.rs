//! A link between two network namespaces that loses, repeats and reorders packets as a seed says.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    net::Ipv4Addr,
    os::fd::AsFd as _,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use fastrand::Rng;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::exactness::{
    error::{CaseError, Done},
    sys::{own_network, tun},
};

pub(super) const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 99, 7, 1);
pub(super) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 99, 7, 2);

/// How often a packet that is held back for others is looked at again.
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };

/// Faults of a link: each strikes one packet in so many, none if 0.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    pub(super) loses: u32,
    pub(super) repeats: u32,
    /// The packet comes after up to [`Faults::distance`] later ones.
    pub(super) delays: u32,
    pub(super) distance: u32,
}

/// Time after which a packet is delivered although no later one has overtaken it.
const HELD: Duration = Duration::from_millis(3);

/// What a link did to packets.
#[derive(Debug, Default)]
pub(super) struct Done_ {
    pub(super) passed: AtomicU64,
    pub(super) lost: AtomicU64,
    pub(super) repeated: AtomicU64,
    pub(super) delayed: AtomicU64,
}
