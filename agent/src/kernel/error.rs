//! What can go wrong between this process and the kernel, said so that a person can act on it.

use std::{error::Error, fmt::Write as _, fs, io, path::PathBuf};

use aya::programs::ProgramError;

use super::HookTier;

/// A step towards tracing that the kernel refused.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// No BTF: the programs cannot be fitted to this kernel.
    #[error(
        "cannot read the kernel's type information (BTF) at /sys/kernel/btf/vmlinux: {source}; \
         use a kernel built with CONFIG_DEBUG_INFO_BTF=y, as the large distributions' are"
    )]
    NoBtf {
        /// Why it could not be read.
        source: aya::BtfError,
    },
    /// The kernel has no such hook.
    #[error("this kernel has no {kind} {hook}")]
    NoHook {
        /// Tracepoint, function or kprobe.
        kind: &'static str,
        /// Its name.
        hook: &'static str,
    },
    /// The kernel lacks a function for programs.
    #[error("this kernel cannot {feature}: it has no {helper}(); use Linux {since} or later")]
    NoHelper {
        /// What needs it.
        feature: &'static str,
        /// Its name.
        helper: &'static str,
        /// The first kernel that has it.
        since: &'static str,
    },
    /// What is to be read cannot be seen from here.
    #[error("{what}: {advice}")]
    OutOfSight {
        /// What is missing.
        what: &'static str,
        /// What to do about it.
        advice: &'static str,
    },
    /// Stacks are taken behind programs on tracepoints alone.
    #[error(
        "this kernel cannot take stacks of traffic: sends and receives are counted by {tier} here, and stacks need the \
         tracepoints sock_send_length and sock_recv_length (tp_btf); use Linux 6.3 or later"
    )]
    NoStacks {
        /// What counts here.
        tier: HookTier,
    },
    /// No hook tier that was tried works.
    #[error(
        "this kernel offers no way to count sends and receives; use Linux 6.3 or later, or 5.10 or later with BPF \
         trampolines (fexit) or kprobes; `traffictrace check` says more. It was tried: {}", reasons(.failures)
    )]
    NoTier {
        /// Why not, for each.
        failures: Vec<TierFailure>,
    },
    /// The cgroup tree cannot be used.
    #[error("cannot open the root of the cgroup2 tree at {path}: {source}")]
    CgroupRoot {
        /// Where it was looked for.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Not permitted.
    #[error("no permission to {step}: {advice}")]
    Permission {
        /// What was attempted.
        step: String,
        /// What to do about it.
        advice: String,
    },
    /// Anything else while loading the object or a program.
    #[error("cannot {step}: {source}")]
    Load {
        /// What was attempted.
        step: String,
        /// What the loader said.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The kernel's verifier refused a program.
    #[error("cannot {step}: {source}: {reason}")]
    Verifier {
        /// What was attempted.
        step: String,
        /// What the kernel said.
        source: io::Error,
        /// The last line of what the verifier said.
        reason: String,
    },
    /// A map operation failed.
    #[error("cannot {step} in the map {map}: {source}")]
    Map {
        /// What was attempted.
        step: &'static str,
        /// Which map.
        map: &'static str,
        /// What the kernel said.
        source: Box<aya::maps::MapError>,
    },
    /// A map could not be mapped into memory.
    #[error("cannot map the map {map} into memory: {source}")]
    Mmap {
        /// Which map.
        map: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The embedded object does not have what this program expects.
    #[error("the embedded kernel object has no {0}; this binary was built wrong, build it again")]
    Object(&'static str),
}

impl KernelError {
    /// Turns a loader's error into advice: most often a capability is missing.
    pub(super) fn load(step: String, source: impl Error + Send + Sync + 'static) -> Self {
        let source: Box<dyn Error + Send + Sync> = Box::new(source);
        let source = match source.downcast::<ProgramError>() {
            Ok(error) => match *error {
                ProgramError::LoadError { io_error, verifier_log } => {
                    let log = verifier_log.to_string();
                    // EACCES is also what the verifier says, and then it says why.
                    if let Some(reason) = verdict(&log) {
                        tracing::debug!(%step, "the kernel's verifier:\n{}", tail(&log));
                        return Self::Verifier { step, source: io_error, reason };
                    }
                    io_error.into()
                }
                error => error.into(),
            },
            Err(other) => other,
        };
        if permission_denied(&*source) {
            return Self::Permission { step, advice: permission_advice() };
        }
        Self::Load { step, source }
    }

    pub(super) fn map(step: &'static str, map: &'static str, source: aya::maps::MapError) -> Self {
        Self::Map { step, map, source: Box::new(source) }
    }
}

/// A hook tier that does not work here.
#[derive(Debug)]
pub struct TierFailure {
    /// Which one.
    pub tier: HookTier,
    /// Why not.
    pub error: KernelError,
}

fn reasons(failures: &[TierFailure]) -> String {
    let mut text = String::new();
    for TierFailure { tier, error } in failures {
        let separator = if text.is_empty() { "" } else { "; " };
        let _ = write!(text, "{separator}{tier}: {error}");
    }
    text
}

/// The last line of a verifier's log that is no statistics; none where it did not come that far.
fn verdict(log: &str) -> Option<String> {
    let statistics = ["processed ", "verification time", "stack depth", "insns processed"];
    let mut lines = log.lines().rev().map(str::trim).filter(|line| !line.is_empty());
    lines.find(|line| !statistics.iter().any(|start| line.starts_with(start))).map(str::to_owned)
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

fn permission_denied(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>()
            && matches!(io.raw_os_error(), Some(libc::EPERM | libc::EACCES))
        {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Capabilities that tracing needs, with their bit in `/proc/PID/status` (include/uapi/linux/capability.h).
const NEEDED: [(&str, u32); 3] = [("CAP_BPF", 39), ("CAP_PERFMON", 38), ("CAP_NET_ADMIN", 12)];
const CAP_SYS_ADMIN: u32 = 21;
const CAP_SYS_PTRACE: u32 = 19;

/// Names of the capabilities that this process lacks for tracing. Empty with CAP_SYS_ADMIN, which covers them all.
pub fn missing_capabilities() -> Vec<&'static str> {
    if has_capability(CAP_SYS_ADMIN) {
        return Vec::new();
    }
    NEEDED.iter().filter(|(_, bit)| !has_capability(*bit)).map(|(name, _)| *name).collect()
}

/// Whether this process may look into processes that have more rights than it has.
pub fn may_look_into_processes() -> bool {
    has_capability(CAP_SYS_PTRACE)
}

/// Whether a capability is in effect. Where the system does not say, it counts as there: what needs it fails then.
fn has_capability(bit: u32) -> bool {
    let effective = fs::read_to_string("/proc/self/status").ok().and_then(|status| {
        let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
        u64::from_str_radix(line.trim(), 16).ok()
    });
    effective.is_none_or(|effective| effective >> bit & 1 == 1)
}

fn permission_advice() -> String {
    let missing = missing_capabilities();
    if missing.is_empty() {
        return "the capabilities are there, but the kernel refuses this program: it has no hooks of this kind, if others \
                load, or forbids BPF by lockdown, a security policy or the seccomp profile of an older container runtime \
                (agent.seccompProfile of the chart), or, before Linux 5.11, by the limit of locked memory \
                (agent.extraCapabilities: SYS_RESOURCE); see dmesg and /sys/kernel/security/lockdown"
            .into();
    }
    format!(
        "this process lacks {}; run it as root, or grant it (setcap, or the pod's securityContext)",
        missing.join(" and ")
    )
}
