//! Events that the kernel did not run a program for, and the twins that step in. `twin.bpf.h` says why.

use std::{fs, os::fd::AsRawFd as _};

use aya::{Btf, Ebpf, maps::Array, programs::BtfTracePoint};
use traffictrace_ebpf::maps;

use super::KernelError;

/// Programs with the tracepoint they are on and the program that counts where they were skipped.
const TWINS: [(&str, &str, &str); 4] = [
    ("tt_send", "sock_send_length", "tt_send_twin"),
    ("tt_recv", "sock_recv_length", "tt_recv_twin"),
    ("tt_state", "inet_sock_set_state", "tt_state_twin"),
    ("tt_destroy", "tcp_destroy_sock", "tt_destroy_twin"),
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
    /// Events missed before the twins stepped in.
    before: u64,
    twins: bool,
    refused: bool,
}

impl Missed {
    /// Whether [`Self::attach_twins`] has something to do: the programs that count have missed events.
    pub(super) fn wants_twins(&self, ebpf: &Ebpf) -> bool {
        !self.twins && !self.refused && sum(ebpf, |name| TWINS.iter().any(|(first, ..)| *first == name)) > 0
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
        for (first, hook, twin) in TWINS {
            if ebpf.program(first).is_none_or(|program| program.fd().is_err()) {
                continue;
            }
            let program = ebpf.program_mut(twin).ok_or(KernelError::Object(twin))?;
            let program: &mut BtfTracePoint = program.try_into().map_err(|_| KernelError::Object(twin))?;
            let step = |what: &str| format!("{what} the BPF program {twin} for the tracepoint {hook}");
            program.load(hook, btf).map_err(|e| KernelError::load(step("load"), e))?;
            program.attach().map_err(|e| KernelError::load(step("attach"), e))?;
        }
        self.before = self.events(ebpf);
        self.twins = true;
        Ok(())
    }

    /// How many events were missed, at most, since the programs were loaded.
    pub(super) fn events(&self, ebpf: &Ebpf) -> u64 {
        let healed = |name: &str| {
            HEALS.contains(&name) || self.twins && TWINS.iter().any(|(first, ..)| *first == name)
        };
        self.before + sum(ebpf, |name| !healed(name))
    }
}

/// How often the kernel skipped programs of these names.
fn sum(ebpf: &Ebpf, wanted: impl Fn(&str) -> bool) -> u64 {
    let loaded =
        ebpf.programs().filter(|(name, _)| wanted(name)).filter_map(|(_, program)| program.fd().ok());
    loaded
        .filter_map(|fd| {
            let fd = std::os::fd::AsFd::as_fd(fd).as_raw_fd();
            let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()?;
            let misses = info.lines().find_map(|line| line.strip_prefix("recursion_misses:"))?;
            misses.trim().parse::<u64>().ok()
        })
        .sum()
}

#[cfg(test)]
impl Missed {
    /// As if the kernel skipped every event of the programs that have twins.
    pub(super) fn skip_all(ebpf: &mut Ebpf) {
        for (first, ..) in TWINS {
            let program: &mut BtfTracePoint = ebpf.program_mut(first).unwrap().try_into().unwrap();
            program.unload().unwrap();
        }
    }
}
