//! What was found out about this machine.

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

/// A ring buffer as small as one can be: nothing is read from it.
const RING_BYTES: u32 = 1 << 16;

/// The answer of `check`; its JSON is the document that scripts read.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Findings {
    /// Whether a trace on this machine will count.
    pub(super) works: bool,
    /// In one sentence.
    pub(super) conclusion: String,
    /// The hook tier that will be used.
    pub(super) hook_tier: Option<&'static str>,
    pub(super) kernel_release: String,
    pub(super) architecture: &'static str,
    /// Whether the kernel has its type information.
    pub(super) btf: bool,
    /// All tiers, best first.
    pub(super) hook_tiers: Vec<Tier>,
    /// Where the cgroup2 tree is mounted.
    pub(super) cgroup_root: Option<PathBuf>,
    /// Names of capabilities that tracing needs and this process lacks.
    pub(super) missing_capabilities: Vec<&'static str>,
    /// Whether the peers of ICMP messages can be told.
    pub(super) icmp_peers: bool,
    /// The answer about requests of HTTP.
    pub(super) http: Answer,
    /// The answer about the plain text of TLS.
    pub(super) tls: Answer,
    /// The answer about stacks of traffic.
    pub(super) stacks: Answer,
    /// Whether all processes of the machine can be seen by their ids.
    pub(super) sees_all_processes: bool,
    /// Most memory that this process may lock, in bytes; null: no limit. Counts before Linux 5.11 alone.
    pub(super) locked_memory_limit_bytes: Option<u64>,
    /// What tracing will not see here.
    pub(super) not_seen: Vec<NotSeen>,
    /// What a person can do about what is missing.
    pub(super) advice: Vec<String>,
}

/// Whether a tier works.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Tier {
    pub(super) name: &'static str,
    pub(super) works: bool,
    /// Why not.
    pub(super) reason: Option<String>,
}

/// The answer to whether something can be seen beside flows.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answer {
    pub(super) works: bool,
    /// Why not.
    pub(super) reason: Option<String>,
}

/// What tracing will not see here, as reports name it and in plain words.
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
    /// Tries everything; leaves nothing behind.
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

/// Loads a tier and attaches all that it may need.
fn try_tier(root: &Path, tier: HookTier) -> Result<Tracer, KernelError> {
    let mut tracer = Tracer::load(1, root, TierChoice::Only(tier))?;
    tracer.attach(Wanted { tcp: true, udp: true, icmp: true, by_process: true, ..Wanted::default() })?;
    Ok(tracer)
}

/// Loads the programs that see HTTP and attaches them, for a moment, to all cgroups.
fn try_http(root: &Path) -> Result<(), KernelError> {
    let source = |source| KernelError::CgroupRoot { path: root.to_owned(), source };
    let id = root.metadata().map_err(source)?.ino();
    HttpCapture::load(root, RING_BYTES)?.select(&[(id, PathBuf::new())].into())
}

/// The reason of the only tier that was tried.
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
