//! Loading the programs of a hook tier, and attaching them.

use std::path::Path;

use aya::{
    Btf, Ebpf, EbpfLoader,
    programs::{BtfTracePoint, FEntry, FExit, KProbe, ProgramError},
    sys::SyscallError,
};
use traffictrace_ebpf::{Variant, maps};

use super::{
    KernelError, datagrams,
    error::{TierFailure, missing_capabilities},
    tier::{EVERYWHERE, Hook, HookTier, Kind, Needed, Plan, TierChoice},
};

/// Programs that count, attached.
pub(super) struct Loaded {
    pub(super) ebpf: Ebpf,
    pub(super) variant: Variant,
    pub(super) tier: HookTier,
    /// Whether sockets are seen that a running process is given by another one.
    pub(super) sees_given: bool,
}

/// Loads the first tier of `choice` that works on this kernel. `slots`: length of the flow table; `root`: of the cgroup2
/// tree.
///
/// # Errors
///
/// [`KernelError::NoTier`] with the reason of each, or the first error that has nothing to do with tiers.
pub(super) fn load(btf: &Btf, slots: usize, root: &Path, choice: TierChoice) -> Result<Loaded, KernelError> {
    let mut failures = Vec::new();
    for tier in choice.tiers().iter().copied() {
        match load_tier(btf, slots, root, tier) {
            Ok(loaded) => return Ok(loaded),
            // The same for each of them, and with a better message.
            Err(error @ KernelError::Permission { .. }) if !missing_capabilities().is_empty() => {
                return Err(error);
            }
            Err(error @ (KernelError::CgroupRoot { .. } | KernelError::Object(_))) => return Err(error),
            Err(error) => {
                tracing::debug!(%tier, %error, "this hook tier does not work here");
                failures.push(TierFailure { tier, error });
            }
        }
    }
    Err(KernelError::NoTier { failures })
}

/// Loads one tier, by the first of its plans that works.
pub(super) fn load_tier(btf: &Btf, slots: usize, root: &Path, tier: HookTier) -> Result<Loaded, KernelError> {
    let mut first = None;
    for plan in tier.plans() {
        match load_plan(btf, slots, root, plan) {
            Ok((ebpf, sees_given)) => return Ok(Loaded { ebpf, variant: plan.variant, tier, sees_given }),
            Err(error) => {
                tracing::debug!(%tier, variant = ?plan.variant, %error, "a set of programs does not work here");
                // The last one asks least of the kernel, so its reason says most.
                first = Some(error);
            }
        }
    }
    Err(first.unwrap_or(KernelError::Object("hook tier")))
}

/// The programs, and whether all of them are there that are attached where possible.
fn load_plan(btf: &Btf, slots: usize, root: &Path, plan: &Plan) -> Result<(Ebpf, bool), KernelError> {
    let free = match plan.variant {
        Variant::Storage => slots.next_power_of_two(),
        Variant::Plain => slots,
    };
    let mut loader = EbpfLoader::new();
    loader
        .btf(Some(btf))
        .map_max_entries(maps::SLOTS, slots as u32)
        .map_max_entries(maps::FREE, free as u32)
        .map_max_entries(maps::PEERS, slots as u32)
        .map_max_entries(maps::COOKIES, slots as u32)
        // Storage of tasks is used by the programs alone; the loader has no type for it.
        .allow_unsupported_maps();
    if plan.variant == Variant::Plain {
        loader.map_max_entries(maps::SOCKETS, slots as u32);
    }
    let mut ebpf =
        loader.load(plan.variant.object()).map_err(|e| KernelError::load("create the BPF maps".into(), e))?;
    let mut all_possible = true;
    for hook in plan.hooks.iter().chain(&EVERYWHERE) {
        match attach(&mut ebpf, btf, *hook) {
            Err(error) if hook.needed == Needed::IfPossible => {
                tracing::debug!(program = hook.program, target = hook.target, %error, "goes without");
                all_possible = false;
            }
            Err(KernelError::NoHook { .. }) if !hook.needed.here() => {
                tracing::debug!(program = hook.program, target = hook.target, "the kernel has no such hook");
            }
            other => other?,
        }
    }
    if plan.cgroup_programs {
        datagrams::attach(&mut ebpf, root)?;
    }
    Ok((ebpf, all_possible))
}

/// Loads a program and attaches it.
pub(super) fn attach(ebpf: &mut Ebpf, btf: &Btf, hook: Hook) -> Result<(), KernelError> {
    let Hook { program: name, target, kind, .. } = hook;
    let object = |_: ProgramError| KernelError::Object(name);
    let loading = |error| match error {
        ProgramError::Btf(_) => KernelError::NoHook { kind: kind.name(), hook: target },
        error => {
            KernelError::load(format!("load the BPF program {name} for {} {target}", kind.name()), error)
        }
    };
    let attaching = |error: ProgramError| match &error {
        ProgramError::SyscallError(SyscallError { call: "perf_event_open", io_error })
            if io_error.raw_os_error() == Some(libc::ENOENT) =>
        {
            KernelError::NoHook { kind: kind.name(), hook: target }
        }
        ProgramError::KProbeError(_) => KernelError::NoHook { kind: "kprobes, so none at", hook: target },
        _ => KernelError::load(format!("attach the BPF program {name} to {} {target}", kind.name()), error),
    };
    let program = ebpf.program_mut(name).ok_or(KernelError::Object(name))?;
    match kind {
        Kind::Tracepoint => {
            let program: &mut BtfTracePoint = program.try_into().map_err(object)?;
            program.load(target, btf).map_err(loading)?;
            program.attach().map(drop).map_err(attaching)
        }
        Kind::Fentry => {
            let program: &mut FEntry = program.try_into().map_err(object)?;
            program.load(target, btf).map_err(loading)?;
            program.attach().map(drop).map_err(attaching)
        }
        Kind::Fexit => {
            let program: &mut FExit = program.try_into().map_err(object)?;
            program.load(target, btf).map_err(loading)?;
            program.attach().map(drop).map_err(attaching)
        }
        Kind::Kprobe => {
            let program: &mut KProbe = program.try_into().map_err(object)?;
            match program.load() {
                // One program serves several functions.
                Ok(()) | Err(ProgramError::AlreadyLoaded) => {}
                Err(error) => return Err(loading(error)),
            }
            program.attach(target, 0).map(drop).map_err(attaching)
        }
    }
}
