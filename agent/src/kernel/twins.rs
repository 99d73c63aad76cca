//! Messages that the kernel did not run a program for, and the twins that step in. `twin.h` says why.
//!
//! Only what a message's event alone tells can be missed: the bytes of datagrams, of MPTCP and of kernel TLS. What a TCP
//! connection moved is compared with its socket (`reconcile.rs`), and the programs on a connection's life make up for each
//! other.

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

/// A program and the program that counts where it was skipped.
struct Pair {
    first: &'static str,
    twin: Hook,
    /// The pair's bit in [`maps::TWINS`].
    bit: u64,
    /// Counter of the events that the twin alone has counted.
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
/// How long a twin stays after its first program was skipped the last time.
const STAYS: Duration = Duration::from_secs(600);
/// How often is looked whether programs were skipped.
const LOOK: Duration = Duration::from_secs(1);
/// Types that a kernel has whose tracepoints can be preempted (Linux 7.0): they are guarded by the fast kind of SRCU.
/// 6.18 has the one without the other, 6.12 the other without the one.
const PREEMPTED: [&[u8]; 2] = [b"\0tracepoint_srcu_srcu_data\0", b"\0srcu_ctr\0"];
const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

/// Whether this kernel can preempt a program on a tracepoint, so that another task's event on the same CPU is skipped.
fn tracepoints_are_preempted() -> bool {
    let Ok(types) = fs::read(KERNEL_BTF) else { return false };
    let has = |name: &&[u8]| types.windows(name.len()).any(|part| part == *name);
    PREEMPTED.iter().all(has)
}

/// Readings of a pair's counters.
#[derive(Debug, Clone, Copy, Default)]
struct Reading {
    /// Events for which the first program was skipped.
    first: u64,
    /// Events for which the twin was skipped.
    twin: u64,
    /// Events that the twin alone has counted.
    rescued: u64,
}

/// One twin.
#[derive(Debug, Default)]
struct Twin {
    link: Option<BtfTracePointLink>,
    /// How often the twin was attached.
    attached: u64,
    /// The kernel refused the twin; it is not asked again.
    refused: bool,
    /// Events lost, at most, until the twin was attached or detached the last time, and the counters at that moment.
    lost_before: u64,
    before: Reading,
    /// How often the first program had been skipped at the last look, and when that last grew.
    seen: u64,
    grew: Option<Instant>,
}

/// The twins of the programs that count by tracepoints.
#[derive(Debug)]
pub(super) struct Twins {
    twins: [Twin; PAIRS.len()],
    /// Whether any task's event can be skipped because of another task's.
    preempted: bool,
    looked: Option<Instant>,
}

impl Twins {
    /// No twin is attached yet.
    pub(super) fn new() -> Self {
        Self { twins: Default::default(), preempted: tracepoints_are_preempted(), looked: None }
    }

    /// Whether any twin is attached.
    pub(super) fn any(&self) -> bool {
        self.twins.iter().any(|twin| twin.link.is_some())
    }

    /// How often twins were attached.
    pub(super) fn attached(&self) -> u64 {
        self.twins.iter().map(|twin| twin.attached).sum()
    }

    /// Attaches a twin behind each program that was skipped, at most once a second; from the start where tracepoints can
    /// be preempted and `datagrams` are wanted. Detaches it when it was of no use for a while.
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

/// Whether the kernel has skipped a program that counts the calls of tracepoints or trampolines.
pub(super) fn skipped_calls(ebpf: &Ebpf) -> bool {
    let counting = PAIRS.iter().map(|pair| pair.first).chain(OTHERS);
    counting.into_iter().any(|name| misses(ebpf, name) > 0)
}

impl Twin {
    /// Begins to count what the first program of the pair is skipped for.
    fn attach(
        &mut self,
        pair: &Pair,
        ebpf: &mut Ebpf,
        btf: &Btf,
        loss: &dyn Fn(Loss) -> u64,
    ) -> Result<(), KernelError> {
        // Not asked again if anything fails.
        self.refused = true;
        // First, so that no event is counted by both.
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

    /// Begins a time with the twin, or without it.
    fn mark(&mut self, now: Reading) {
        self.lost_before += self.lost_since(now);
        self.before = now;
    }

    /// Upper bound of the events lost since the last mark. With a twin, an event is lost if both programs were skipped.
    /// Of those that the first one missed, some are of sockets that nobody selected: for these nothing is counted.
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

/// Tells the programs whether a pair has its twin.
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

/// How often the kernel skipped a program; 0 if it is not loaded.
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
    /// Attaches all twins; with `alone`, as if the kernel skipped every event of the first programs.
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
