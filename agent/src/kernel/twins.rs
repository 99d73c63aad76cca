//! Messages for which the kernel skipped a program, and the twins that count them instead. `twin.h` explains why.
//!
//! Only bytes that are known from the message's event alone can be missed: those of datagrams, MPTCP and kernel TLS.
//! The bytes of TCP connections are compared with their sockets (`reconcile.rs`), and the programs on a connection's
//! life make up for each other.

use std::{
    fs,
    os::fd::{AsFd as _, AsRawFd as _},
    time::{Duration, Instant},
};

use aya::{Btf, Ebpf, maps::Array, programs::tp_btf::BtfTracePointLink};
use traffictrace_ebpf::{layout::Loss, maps};

use super::{
    KernelError, load,
    tier::{Hook, Kind, hook},
};

/// A program, and the twin that counts events for which the kernel skipped it.
struct Pair {
    first: &'static str,
    twin: Hook,
    /// The pair's bit in [`maps::TWINS`].
    bit: u64,
    /// Counter of the events that only the twin counted.
    rescued: Loss,
}

const PAIRS: [Pair; 2] = [
    Pair {
        first: "tt_send",
        twin: hook("tt_send_twin", Kind::Tracepoint, "sock_send_length"),
        bit: 1,
        rescued: Loss::RescuedSends,
    },
    Pair {
        first: "tt_recv",
        twin: hook("tt_recv_twin", Kind::Tracepoint, "sock_recv_length"),
        bit: 2,
        rescued: Loss::RescuedReceives,
    },
];
/// Programs that count messages in the other tiers.
const OTHERS: [&str; 12] = [
    "tt_fx_send",
    "tt_fx_send6",
    "tt_fx_recv",
    "tt_fx_recv6",
    "tt_fx_recv_raw6",
    "tt_fx_page",
    "tt_kp_send",
    "tt_kp_page",
    "tt_kp_recv",
    "tt_kp_udp",
    "tt_kr_send",
    "tt_kr_recv",
];
/// Time for which a twin stays attached after the kernel last skipped the first program of its pair.
const STAYS: Duration = Duration::from_secs(600);
/// Interval between checks for skipped programs.
const LOOK: Duration = Duration::from_secs(1);
/// Names of two types that exist together only in kernels whose tracepoint programs can be preempted (Linux 7.0), since
/// the fast kind of SRCU guards tracepoints there. Linux 6.18 and 6.12 have only one of the two each.
const PREEMPTED: [&[u8]; 2] = [b"\0tracepoint_srcu_srcu_data\0", b"\0srcu_ctr\0"];
const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

/// Returns true if this kernel can preempt a program on a tracepoint, so that another task's event on the same CPU is
/// skipped.
fn tracepoints_are_preempted() -> bool {
    let Ok(types) = fs::read(KERNEL_BTF) else { return false };
    let has = |name: &&[u8]| types.windows(name.len()).any(|part| part == *name);
    PREEMPTED.iter().all(has)
}

/// Readings of a pair's counters.
#[derive(Debug, Clone, Copy, Default)]
struct Reading {
    /// Number of events for which the first program was skipped.
    first: u64,
    /// Number of events for which the twin was skipped.
    twin: u64,
    /// Number of events that only the twin counted.
    rescued: u64,
}

/// State of one twin.
#[derive(Debug, Default)]
struct Twin {
    link: Option<BtfTracePointLink>,
    /// Number of times that the twin was attached.
    attached: u64,
    /// Set once the kernel refused the twin, which is then not tried again.
    refused: bool,
    /// Upper bound of the events that were lost before the twin was last attached or detached.
    lost_before: u64,
    /// Counters when the twin was last attached or detached.
    before: Reading,
    /// Number of times that the first program had been skipped, at the last check.
    seen: u64,
    /// Time of the check at which `seen` last grew.
    grew: Option<Instant>,
}

/// The twins of the programs that count by tracepoints.
#[derive(Debug)]
pub(super) struct Twins {
    twins: [Twin; PAIRS.len()],
    /// Set if one task's event can be skipped because of another task's.
    preempted: bool,
    looked: Option<Instant>,
}

impl Twins {
    /// Creates the twins with none attached.
    pub(super) fn new() -> Self {
        Self { twins: Default::default(), preempted: tracepoints_are_preempted(), looked: None }
    }

    /// Returns true if any twin is attached.
    pub(super) fn any(&self) -> bool {
        self.twins.iter().any(|twin| twin.link.is_some())
    }

    /// Returns how often twins were attached.
    pub(super) fn attached(&self) -> u64 {
        self.twins.iter().map(|twin| twin.attached).sum()
    }

    /// Attaches a twin behind each program that was skipped. Checks at most once a second. If tracepoint programs can
    /// be preempted and `datagrams` are wanted, twins are attached from the start. A twin that was of no use for
    /// [`STAYS`] is detached.
    pub(super) fn update(
        &mut self,
        ebpf: &mut Ebpf,
        btf: &Btf,
        datagrams: bool,
        loss: &dyn Fn(Loss) -> u64,
    ) -> Result<(), KernelError> {
        let from_start = self.preempted && datagrams;
        let now = Instant::now();
        let looked = self.looked.replace(now);
        let early = looked.is_some_and(|looked| now.duration_since(looked) < LOOK);
        if early && !(from_start && self.twins.iter().any(|twin| twin.link.is_none() && !twin.refused)) {
            self.looked = looked;
            return Ok(());
        }
        for (pair, twin) in PAIRS.iter().zip(&mut self.twins) {
            let skipped = misses(ebpf, pair.first);
            if skipped > std::mem::replace(&mut twin.seen, skipped) {
                twin.grew = Some(now);
            }
            let useful = from_start || twin.grew.is_some_and(|grew| now.duration_since(grew) < STAYS);
            if useful && twin.link.is_none() && !twin.refused && is_loaded(ebpf, pair.first) {
                twin.attach(pair, ebpf, btf, loss)?;
            } else if !useful && twin.link.is_some() {
                twin.detach(pair, ebpf, loss)?;
            }
        }
        Ok(())
    }

    /// Upper bound of the messages whose bytes are missing since the programs were loaded.
    pub(super) fn missed(&self, ebpf: &Ebpf, loss: &dyn Fn(Loss) -> u64) -> u64 {
        let pairs = PAIRS.iter().zip(&self.twins);
        let pairs = pairs.map(|(pair, twin)| twin.lost_before + twin.lost_since(read(ebpf, pair, loss)));
        OTHERS.iter().map(|name| misses(ebpf, name)).chain(pairs).sum()
    }
}

/// Returns true if the kernel skipped any program that counts calls.
pub(super) fn skipped_calls(ebpf: &Ebpf) -> bool {
    let counting = PAIRS.iter().map(|pair| pair.first).chain(OTHERS);
    counting.into_iter().any(|name| misses(ebpf, name) > 0)
}

impl Twin {
    /// Attaches the twin, which begins to count the events for which the first program is skipped.
    fn attach(
        &mut self,
        pair: &Pair,
        ebpf: &mut Ebpf,
        btf: &Btf,
        loss: &dyn Fn(Loss) -> u64,
    ) -> Result<(), KernelError> {
        // Stays set if anything below fails, so that the twin is not tried again.
        self.refused = true;
        // The bit makes the first program mark the events that it counts. It is set before the twin is attached, so
        // that no event is counted by both.
        set_bit(ebpf, pair.bit, true)?;
        let link = load::attach_tracepoint(ebpf, btf, pair.twin)?;
        self.mark(read(ebpf, pair, loss));
        self.link = Some(link);
        self.attached += 1;
        self.refused = false;
        Ok(())
    }

    fn detach(
        &mut self,
        pair: &Pair,
        ebpf: &mut Ebpf,
        loss: &dyn Fn(Loss) -> u64,
    ) -> Result<(), KernelError> {
        self.mark(read(ebpf, pair, loss));
        self.link = None;
        set_bit(ebpf, pair.bit, false)
    }

    /// Adds the events lost since the last mark to `lost_before`. Called when the twin is attached or detached, since
    /// [`Self::lost_since`] differs before and after that.
    fn mark(&mut self, now: Reading) {
        self.lost_before += self.lost_since(now);
        self.before = now;
    }

    /// Upper bound of the events lost since the last mark. With a twin, an event is lost only if both programs were
    /// skipped. Some of the events that the first program missed belong to sockets that no session selects. The twin
    /// counts nothing for them, so the number of events that the twin missed is a bound as well.
    fn lost_since(&self, now: Reading) -> u64 {
        let first = now.first.saturating_sub(self.before.first);
        match self.link {
            None => first,
            Some(_) => {
                let rescued = now.rescued.saturating_sub(self.before.rescued);
                let twin = now.twin.saturating_sub(self.before.twin);
                first.saturating_sub(rescued).min(twin)
            }
        }
    }
}

/// Tells the programs whether a pair's twin is attached.
fn set_bit(ebpf: &mut Ebpf, bit: u64, set: bool) -> Result<(), KernelError> {
    let failed = |e| KernelError::map("say which programs have twins", maps::TWINS, e);
    let map = ebpf.map_mut(maps::TWINS).ok_or(KernelError::Object(maps::TWINS))?;
    let mut twins = Array::<_, u64>::try_from(map).map_err(failed)?;
    let bits = twins.get(&0, 0).map_err(failed)?;
    twins.set(0, if set { bits | bit } else { bits & !bit }, 0).map_err(failed)
}

fn read(ebpf: &Ebpf, pair: &Pair, loss: &dyn Fn(Loss) -> u64) -> Reading {
    let (first, twin) = (misses(ebpf, pair.first), misses(ebpf, pair.twin.program));
    Reading { first, twin, rescued: loss(pair.rescued) }
}

fn is_loaded(ebpf: &Ebpf, name: &str) -> bool {
    ebpf.program(name).is_some_and(|program| program.fd().is_ok())
}

/// Returns how often the kernel skipped a program; 0 if it is not loaded.
fn misses(ebpf: &Ebpf, name: &str) -> u64 {
    let read = || {
        let fd = ebpf.program(name)?.fd().ok()?.as_fd().as_raw_fd();
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()?;
        let misses = info.lines().find_map(|line| line.strip_prefix("recursion_misses:"))?;
        misses.trim().parse().ok()
    };
    read().unwrap_or(0)
}

#[cfg(test)]
impl Twins {
    /// Attaches all twins. With `alone`, the first programs are then unloaded, as if the kernel skipped all their
    /// events.
    pub(super) fn attach_all(&mut self, ebpf: &mut Ebpf, btf: &Btf, alone: bool) {
        for (pair, twin) in PAIRS.iter().zip(&mut self.twins) {
            twin.attach(pair, ebpf, btf, &|_| 0).unwrap();
            twin.grew = Some(Instant::now());
            if alone {
                let program: &mut aya::programs::BtfTracePoint =
                    ebpf.program_mut(pair.first).unwrap().try_into().unwrap();
                program.unload().unwrap();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_missed_without_a_twin_stays_missed() {
        let mut twin = Twin::default();
        let at = |first, twin, rescued| Reading { first, twin, rescued };
        assert_eq!(twin.lost_since(at(3, 0, 0)), 3);
        twin.mark(at(3, 0, 0));
        assert_eq!((twin.lost_before, twin.lost_since(at(10, 4, 5))), (3, 7), "no twin either");
        twin.mark(at(10, 4, 5));
        assert_eq!((twin.lost_before, twin.lost_since(at(10, 4, 5))), (10, 0));
    }
}
