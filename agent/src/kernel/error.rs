//! Errors between this process and the kernel, worded so that the reader can act on them.

use std::{error::Error, fmt::Write as _, fs, io, path::PathBuf};

use aya::programs::ProgramError;

use super::HookTier;

/// A step towards tracing that the kernel refused.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The kernel has no BTF, so the programs cannot be fitted to its types.
    #[error(
        "cannot read the kernel's type information (BTF) at /sys/kernel/btf/vmlinux: {source}; \
         use a kernel built with CONFIG_DEBUG_INFO_BTF=y, as the large distributions' are"
    )]
    NoBtf {
        /// The reason why BTF could not be read.
        source: aya::BtfError,
    },
    /// The kernel has no such hook.
    #[error("this kernel has no {kind} {hook}")]
    NoHook {
        /// "tracepoint", "kernel function" or "kprobe", for example.
        kind: &'static str,
        /// Name of the hook.
        hook: &'static str,
    },
    /// The kernel lacks a BPF helper function.
    #[error("this kernel cannot {feature}: it has no {helper}(); use Linux {since} or later")]
    NoHelper {
        /// The feature that needs the helper.
        feature: &'static str,
        /// Name of the helper.
        helper: &'static str,
        /// The first Linux version that has the helper.
        since: &'static str,
    },
    /// Something that has to be read is not visible to this process.
    #[error("{what}: {advice}")]
    OutOfSight {
        /// The problem.
        what: &'static str,
        /// Advice to the user.
        advice: &'static str,
    },
    /// Stacks were asked for, but sends and receives are not counted by tracepoints here.
    #[error(
        "this kernel cannot take stacks of traffic: sends and receives are counted by {tier} here, and stacks need the \
         tracepoints sock_send_length and sock_recv_length (tp_btf); use Linux 6.3 or later"
    )]
    NoStacks {
        /// The hook tier that is used instead.
        tier: HookTier,
    },
    /// None of the hook tiers that were tried works.
    #[error(
        "this kernel offers no way to count sends and receives; use Linux 6.3 or later, or 5.10 or later with BPF \
         trampolines (fexit) or kprobes; `traffictrace check` says more. It was tried: {}", reasons(.failures)
    )]
    NoTier {
        /// The reason for each tier.
        failures: Vec<TierFailure>,
    },
    /// The cgroup tree cannot be used.
    #[error("cannot open the root of the cgroup2 tree at {path}: {source}")]
    CgroupRoot {
        /// Path of the expected root.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// This process lacks a permission.
    #[error("no permission to {step}: {advice}")]
    Permission {
        /// The step that was attempted.
        step: String,
        /// Advice to the user.
        advice: String,
    },
    /// Any other error while loading the object or a program.
    #[error("cannot {step}: {source}")]
    Load {
        /// The step that was attempted.
        step: String,
        /// The loader's error.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The kernel's verifier refused a program.
    #[error("cannot {step}: {source}: {reason}")]
    Verifier {
        /// The step that was attempted.
        step: String,
        /// The kernel's error.
        source: io::Error,
        /// The last meaningful line of the verifier's log.
        reason: String,
    },
    /// A map operation failed.
    #[error("cannot {step} in the map {map}: {source}")]
    Map {
        /// The step that was attempted.
        step: &'static str,
        /// Name of the map.
        map: &'static str,
        /// The kernel's error.
        source: Box<aya::maps::MapError>,
    },
    /// A map could not be mapped into memory.
    #[error("cannot map the map {map} into memory: {source}")]
    Mmap {
        /// Name of the map.
        map: &'static str,
        /// The kernel's error.
        source: io::Error,
    },
    /// The embedded object lacks something that this program expects.
    #[error("the embedded kernel object has no {0}; this binary was built wrong, build it again")]
    Object(&'static str),
}

impl KernelError {
    /// Turns a loader's error into advice. The most common cause is a missing capability.
    pub(super) fn load(step: String, source: impl Error + Send + Sync + 'static) -> Self {
        let source: Box<dyn Error + Send + Sync> = Box::new(source);
        let source = match source.downcast::<ProgramError>() {
            Ok(error) => match *error {
                ProgramError::LoadError { io_error, verifier_log } => {
                    let log = verifier_log.to_string();
                    // If the verifier refuses a program, the error may be EACCES as well, but no permission is missing:
                    // its log gives the reason.
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
    /// The tier.
    pub tier: HookTier,
    /// The reason.
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

/// Returns the last line of a verifier's log that is not statistics, or `None` if the verifier did not run.
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

/// Names of the capabilities that this process lacks for tracing. The list is empty with CAP_SYS_ADMIN, which covers
/// all of them.
pub fn missing_capabilities() -> Vec<&'static str> {
    if has_capability(CAP_SYS_ADMIN) {
        return Vec::new();
    }
    NEEDED.iter().filter(|(_, bit)| !has_capability(*bit)).map(|(name, _)| *name).collect()
}

/// Returns true if this process may look into processes that have more rights than it has (CAP_SYS_PTRACE).
pub fn may_look_into_processes() -> bool {
    has_capability(CAP_SYS_PTRACE)
}

/// Returns true if a capability is in effect. If `/proc` cannot be read, the capability counts as present, and the step
/// that needs it fails later.
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
