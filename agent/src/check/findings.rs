//! The findings of `check` about this machine.

use std::{
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use procfs::process::{LimitValue, Process};
use serde::Serialize;

use crate::{
    cgroups::find_root,
    kernel::{
        HookTier, HttpCapture, KernelError, StackCapture, TierChoice, TlsProbes, Tracer, Unseen, Wanted,
        missing_capabilities, sees_all_processes,
    },
};

/// Size of the ring buffers in bytes: a multiple of every page size, as the kernel requires, and no more, since nothing
/// is read from them.
const RING_BYTES: u32 = 1 << 16;

/// The result of `check`. Its JSON is the document that scripts read.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Findings {
    /// Set if a trace on this machine will count.
    pub(super) works: bool,
    /// The result in one sentence.
    pub(super) conclusion: String,
    /// Name of the hook tier that will be used.
    pub(super) hook_tier: Option<&'static str>,
    pub(super) kernel_release: String,
    pub(super) architecture: &'static str,
    /// Set if the kernel has its type information (BTF).
    pub(super) btf: bool,
    /// All tiers, best first.
    pub(super) hook_tiers: Vec<Tier>,
    /// Path of the mounted cgroup2 tree.
    pub(super) cgroup_root: Option<PathBuf>,
    /// Names of capabilities that tracing needs and this process lacks.
    pub(super) missing_capabilities: Vec<&'static str>,
    /// Set if the kernel programs that find the peers of ICMP messages can be attached.
    pub(super) icmp_peers: bool,
    /// Result for HTTP requests.
    pub(super) http: Answer,
    /// Result for the plain text of TLS.
    pub(super) tls: Answer,
    /// Result for stacks of traffic.
    pub(super) stacks: Answer,
    /// Set if all processes of the machine are visible by their ids.
    pub(super) sees_all_processes: bool,
    /// Maximum memory that this process may lock, in bytes; null for no limit. Matters only before Linux 5.11.
    pub(super) locked_memory_limit_bytes: Option<u64>,
    /// Traffic that tracing will not see here.
    pub(super) not_seen: Vec<NotSeen>,
    /// Advice to the user about what is missing.
    pub(super) advice: Vec<String>,
}

/// Result for a hook tier.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Tier {
    pub(super) name: &'static str,
    pub(super) works: bool,
    /// The reason why the tier does not work.
    pub(super) reason: Option<String>,
}

/// Result for an optional feature: HTTP, TLS or stacks.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answer {
    pub(super) works: bool,
    /// The reason why the feature does not work.
    pub(super) reason: Option<String>,
}

/// Traffic that tracing will not see here: its name in reports, and an explanation.
#[derive(Debug, Serialize)]
pub(super) struct NotSeen {
    pub(super) name: &'static str,
    pub(super) meaning: &'static str,
}

impl From<&Unseen> for NotSeen {
    fn from(unseen: &Unseen) -> Self {
        Self { name: unseen.name, meaning: unseen.meaning }
    }
}

impl Findings {
    /// Tries every hook tier and feature by loading and attaching its kernel programs, which are removed at once.
    pub(super) fn gather(cgroup_root: Option<&Path>) -> Self {
        let uname = rustix::system::uname();
        let missing_capabilities = missing_capabilities();
        let mut advice = Vec::new();
        let root = find_root(cgroup_root).inspect_err(|error| advice.push(error.to_string())).ok();

        let (mut hook_tiers, mut used, mut icmp_peers) = (Vec::new(), None, false);
        let mut unseen = Vec::new();
        let mut stacks = Answer { works: false, reason: None };
        for tier in HookTier::ALL {
            let Some(root) = &root else { break };
            let tried = try_tier(root.path(), tier);
            let refused = tried.as_ref().err().map(reason);
            if let Ok(mut tracer) = tried
                && used.is_none()
            {
                used = Some(tier);
                unseen = tracer.not_seen();
                icmp_peers = tracer.see_icmp_peers(true).is_ok();
                let reason = StackCapture::load(&mut tracer, RING_BYTES).err().map(|error| reason(&error));
                stacks = Answer { works: reason.is_none(), reason };
            }
            hook_tiers.push(Tier { name: tier.name(), works: refused.is_none(), reason: refused });
        }
        let http = root.as_ref().map_or(Ok(()), |root| try_http(root.path()));
        let http_reason = http.as_ref().err().map(reason);
        let tls = TlsProbes::load(RING_BYTES).map(drop);
        let tls_reason = tls.as_ref().err().map(reason);
        let http_works = http_reason.is_none() && root.is_some();
        let mut findings = Self {
            works: used.is_some(),
            conclusion: String::new(),
            hook_tier: used.map(HookTier::name),
            kernel_release: uname.release().to_string_lossy().into_owned(),
            architecture: std::env::consts::ARCH,
            btf: Path::new("/sys/kernel/btf/vmlinux").exists(),
            hook_tiers,
            cgroup_root: root.as_ref().map(|root| root.path().to_owned()),
            missing_capabilities,
            icmp_peers,
            http: Answer { works: http_works, reason: http_reason },
            tls: Answer { works: http_works && tls_reason.is_none(), reason: tls_reason },
            stacks,
            sees_all_processes: sees_all_processes(),
            locked_memory_limit_bytes: locked_memory(),
            not_seen: unseen.into_iter().map(NotSeen::from).collect(),
            advice,
        };
        findings.conclude(used);
        findings
    }

    fn conclude(&mut self, used: Option<HookTier>) {
        if !self.missing_capabilities.is_empty() {
            self.advice.push(format!(
                "grant {}: run as root, or add it to the pod's securityContext or by setcap(8)",
                self.missing_capabilities.join(" and ")
            ));
        }
        if !self.btf {
            self.advice.push("use a kernel built with CONFIG_DEBUG_INFO_BTF=y".into());
        }
        if !self.sees_all_processes && used.is_some() {
            self.advice.push(
                "give the pod hostPID, where the owners of sockets older than a trace must be known at once"
                    .into(),
            );
        }
        self.conclusion = match used {
            Some(tier) => format!("Tracing works here, {}.", manner(tier)),
            None if self.cgroup_root.is_none() => "no cgroup2 tree was found".into(),
            None if !self.missing_capabilities.is_empty() => {
                format!("this process lacks {}", self.missing_capabilities.join(" and "))
            }
            None if !self.btf => "the kernel has no type information (BTF)".into(),
            None => {
                if self.locked_memory_limit_bytes.is_some() {
                    self.advice
                        .push("before Linux 5.11, raise the limit of locked memory (ulimit -l)".into());
                }
                self.advice
                    .push("use Linux 6.3 or later, or 5.10 or later with BPF trampolines or kprobes".into());
                "the kernel has none of the hooks that can count sends and receives".into()
            }
        };
    }
}

/// Loads a tier, and attaches every hook that it may need.
fn try_tier(root: &Path, tier: HookTier) -> Result<Tracer, KernelError> {
    let mut tracer = Tracer::load(1, root, TierChoice::Only(tier))?;
    tracer.attach(Wanted { tcp: true, udp: true, icmp: true, by_process: true, ..Wanted::default() })?;
    Ok(tracer)
}

/// Loads the HTTP programs, and briefly attaches them to all cgroups.
fn try_http(root: &Path) -> Result<(), KernelError> {
    let source = |source| KernelError::CgroupRoot { path: root.to_owned(), source };
    let id = root.metadata().map_err(source)?.ino();
    HttpCapture::load(root, RING_BYTES)?.select(&[(id, PathBuf::new())].into())
}

/// Returns the text of an error. If only one tier was tried, its own error is the text.
fn reason(error: &KernelError) -> String {
    match error {
        KernelError::NoTier { failures } if failures.len() == 1 => failures[0].error.to_string(),
        KernelError::Permission { .. } if !missing_capabilities().is_empty() => "no permission".into(),
        other => other.to_string(),
    }
}

fn manner(tier: HookTier) -> &'static str {
    match tier {
        HookTier::TpBtf => "by the kernel's own tracepoints for sends and receives (tp_btf)",
        HookTier::Fexit => "by the exits of kernel functions (fexit)",
        HookTier::Kretprobe => "by kprobes (kretprobe), which costs more than the other ways",
    }
}

fn locked_memory() -> Option<u64> {
    let limits = Process::myself().and_then(|process| process.limits()).ok()?;
    match limits.max_locked_memory.soft_limit {
        LimitValue::Value(bytes) => Some(bytes),
        LimitValue::Unlimited => None,
    }
}
