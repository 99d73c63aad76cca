//! Events that the kernel did not run a program for, and the twins that step in. `twin.bpf.h` says why.

use std::{
    fs,
    os::fd::{AsFd as _, AsRawFd as _},
};

use aya::{Btf, Ebpf, maps::Array, programs::BtfTracePoint};
use traffictrace_ebpf::{layout::Loss, maps};

use super::KernelError;

/// A program, the tracepoint it is on, and the program that counts where it was skipped.
struct Twin {
    first: &'static str,
    hook: &'static str,
    twin: &'static str,
    /// Counter of the events that the twin alone has counted; none where doing it twice is as good as once.
    rescued: Option<Loss>,
}

const TWINS: [Twin; 4] = [
    Twin {
        first: "tt_send",
        hook: "sock_send_length",
        twin: "tt_send_twin",
        rescued: Some(Loss::RescuedSends),
    },
    Twin {
        first: "tt_recv",
        hook: "sock_recv_length",
        twin: "tt_recv_twin",
        rescued: Some(Loss::RescuedReceives),
    },
    Twin { first: "tt_state", hook: "inet_sock_set_state", twin: "tt_state_twin", rescued: None },
    Twin { first: "tt_destroy", hook: "tcp_destroy_sock", twin: "tt_destroy_twin", rescued: None },
];
/// Programs whose next run makes up for one that was skipped.
const HEALS: [&str; 2] = ["tt_space", "tt_retransmit"];
/// Types that a kernel has whose tracepoints can be preempted (Linux 7.0): they are guarded by the fast kind of SRCU.
/// 6.18 has the one without the other, 6.12 the other without the one.
const PREEMPTED: [&[u8]; 2] = [b"\0tracepoint_srcu_srcu_data\0", b"\0srcu_ctr\0"];
const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

/// Whether this kernel can preempt a program on a tracepoint, so that another task's event on the same CPU is skipped.
pub(super) fn tracepoints_are_preempted() -> bool {
    let Ok(types) = fs::read(KERNEL_BTF) else { return false };
    let has = |name: &&[u8]| types.windows(name.len()).any(|part| part == *name);
    PREEMPTED.iter().all(has)
}

/// The count of missed events, and whether twins keep it low.
#[derive(Debug, Default)]
pub(super) struct Missed {
    /// Events that each of the first programs missed before its twin stepped in.
    before: [u64; TWINS.len()],
    twins: bool,
    refused: bool,
}

impl Missed {
    /// Whether twins are attached.
    pub(super) fn has_twins(&self) -> bool {
        self.twins
    }

    /// Whether [`Self::attach_twins`] has something to do: the programs that count have missed events.
    pub(super) fn wants_twins(&self, ebpf: &Ebpf) -> bool {
        !self.twins && !self.refused && TWINS.iter().any(|twin| misses(ebpf, twin.first) > 0)
    }

    /// Puts a twin behind each program that counts by a tracepoint.
    pub(super) fn attach_twins(&mut self, ebpf: &mut Ebpf, btf: &Btf) -> Result<(), KernelError> {
        // Not asked again, whatever comes of it.
        self.refused = true;
        let failed = |e| KernelError::map("say that there are twins", maps::TWINS, e);
        // First, so that no event is counted by both. Where sends and receives are no tracepoints, there is no need.
        if let Some(map) = ebpf.map_mut(maps::TWINS) {
            Array::<_, u64>::try_from(map).and_then(|mut twins| twins.set(0, 1, 0)).map_err(failed)?;
        }
        for Twin { first, hook, twin, .. } in TWINS {
            if ebpf.program(first).is_none_or(|program| program.fd().is_err()) {
                continue;
            }
            let program = ebpf.program_mut(twin).ok_or(KernelError::Object(twin))?;
            let program: &mut BtfTracePoint = program.try_into().map_err(|_| KernelError::Object(twin))?;
            let step = |what: &str| format!("{what} the BPF program {twin} for the tracepoint {hook}");
            program.load(hook, btf).map_err(|e| KernelError::load(step("load"), e))?;
            program.attach().map_err(|e| KernelError::load(step("attach"), e))?;
        }
        self.before = TWINS.map(|twin| misses(ebpf, twin.first));
        self.twins = true;
        Ok(())
    }

    /// How many events were missed, at most, since the programs were loaded. `rescued` reads a counter.
    pub(super) fn events(&self, ebpf: &Ebpf, rescued: impl Fn(Loss) -> u64) -> u64 {
        let alone = ebpf.programs().map(|(name, _)| name).filter(|name| {
            let twin = |pair: &Twin| pair.first == *name || pair.twin == *name;
            !HEALS.contains(name) && !TWINS.iter().any(twin)
        });
        let pairs = TWINS.iter().zip(self.before).map(|(pair, before)| {
            if !self.twins {
                return misses(ebpf, pair.first);
            }
            // An event is lost where both were skipped. Of those that the first one missed, some are of sockets that
            // nobody selected, and for these nothing is counted.
            let first = misses(ebpf, pair.first).saturating_sub(before);
            before + first.saturating_sub(pair.rescued.map_or(0, &rescued)).min(misses(ebpf, pair.twin))
        });
        alone.map(|name| misses(ebpf, name)).chain(pairs).sum()
    }
}

/// How often the kernel skipped a program; 0 where it is not loaded.
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
impl Missed {
    /// As if the kernel skipped every event of the programs that have twins.
    pub(super) fn skip_all(ebpf: &mut Ebpf) {
        for Twin { first, .. } in TWINS {
            let program: &mut BtfTracePoint = ebpf.program_mut(first).unwrap().try_into().unwrap();
            program.unload().unwrap();
        }
    }
}
