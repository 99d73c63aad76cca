//! Loading the programs of a hook tier, and attaching them.

use std::{
    collections::{HashMap, VecDeque},
    path::Path,
    sync::{Mutex, PoisonError},
    thread,
};

use aya::{
    Btf, Ebpf, EbpfLoader,
    programs::{BtfTracePoint, FEntry, FExit, KProbe, Program, ProgramError},
    sys::SyscallError,
};
use traffictrace_ebpf::{Variant, maps};

use super::{
    KernelError, datagrams,
    error::{TierFailure, missing_capabilities},
    tier::{EVERYWHERE, Hook, HookTier, Kind, Needed, Plan, TierChoice},
};

/// Threads that load programs; more of them than large programs would only wait.
const MOST_THREADS: usize = 4;

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
    let hooks: Vec<_> = plan.hooks.iter().chain(&EVERYWHERE).copied().collect();
    let mut refused = verify(&mut ebpf, btf, &hooks);
    let mut all_possible = true;
    for hook in hooks {
        let attached = match refused.remove(hook.program) {
            Some(error) => Err(loading(hook, error)),
            None => attach_loaded(program(&mut ebpf, hook)?, hook),
        };
        match attached {
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

/// Loads programs on all processors. The kernel's verifier takes most of the time until a first trace is armed; it
/// runs in the thread that loads the program, and keeps privileged ones from nothing (bpf_check()). Returns why some
/// were refused. What comes after one without which tracing cannot go on is not loaded.
fn verify(ebpf: &mut Ebpf, btf: &Btf, hooks: &[Hook]) -> HashMap<&'static str, ProgramError> {
    let position = |name: &str| hooks.iter().position(|hook| hook.program == name);
    let mut waiting: Vec<_> = ebpf
        .programs_mut()
        .filter_map(|(name, program)| position(name).map(|at| (at, hooks[at], program)))
        .collect();
    waiting.sort_by_key(|(at, ..)| *at);
    let state = Mutex::new((VecDeque::from(waiting), HashMap::new()));
    let lock = || state.lock().unwrap_or_else(PoisonError::into_inner);
    let work = || {
        loop {
            let Some((_, hook, program)) = lock().0.pop_front() else { return };
            if let Err(error) = load_program(program, btf, hook) {
                let (waiting, refused) = &mut *lock();
                refused.insert(hook.program, error);
                if hook.needed.here() {
                    waiting.clear();
                }
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS);
    thread::scope(|scope| {
        for _ in 1..threads {
            // Where no thread can be made, this one does it alone.
            let _ = thread::Builder::new().spawn_scoped(scope, work);
        }
        work();
    });
    state.into_inner().unwrap_or_else(PoisonError::into_inner).1
}

/// Loads a program and attaches it.
pub(super) fn attach(ebpf: &mut Ebpf, btf: &Btf, hook: Hook) -> Result<(), KernelError> {
    let program = program(ebpf, hook)?;
    load_program(program, btf, hook).map_err(|error| loading(hook, error))?;
    attach_loaded(program, hook)
}

fn program(ebpf: &mut Ebpf, hook: Hook) -> Result<&mut Program, KernelError> {
    ebpf.program_mut(hook.program).ok_or(KernelError::Object(hook.program))
}

fn load_program(program: &mut Program, btf: &Btf, hook: Hook) -> Result<(), ProgramError> {
    match hook.kind {
        Kind::Tracepoint => <&mut BtfTracePoint>::try_from(program)?.load(hook.target, btf),
        Kind::Fentry => <&mut FEntry>::try_from(program)?.load(hook.target, btf),
        Kind::Fexit => <&mut FExit>::try_from(program)?.load(hook.target, btf),
        Kind::Kprobe => <&mut KProbe>::try_from(program)?.load(),
    }
}

/// Where one program serves several functions, once for each.
fn attach_loaded(program: &mut Program, hook: Hook) -> Result<(), KernelError> {
    let attached = match hook.kind {
        Kind::Tracepoint => {
            <&mut BtfTracePoint>::try_from(program).and_then(|program| program.attach().map(drop))
        }
        Kind::Fentry => <&mut FEntry>::try_from(program).and_then(|program| program.attach().map(drop)),
        Kind::Fexit => <&mut FExit>::try_from(program).and_then(|program| program.attach().map(drop)),
        Kind::Kprobe => {
            <&mut KProbe>::try_from(program).and_then(|program| program.attach(hook.target, 0).map(drop))
        }
    };
    attached.map_err(|error| attaching(hook, error))
}

fn loading(hook: Hook, error: ProgramError) -> KernelError {
    let Hook { program, target, kind, .. } = hook;
    match error {
        ProgramError::Btf(_) => KernelError::NoHook { kind: kind.name(), hook: target },
        error => {
            KernelError::load(format!("load the BPF program {program} for {} {target}", kind.name()), error)
        }
    }
}

fn attaching(hook: Hook, error: ProgramError) -> KernelError {
    let Hook { program, target, kind, .. } = hook;
    match &error {
        ProgramError::SyscallError(SyscallError { call: "perf_event_open", io_error })
            if io_error.raw_os_error() == Some(libc::ENOENT) =>
        {
            KernelError::NoHook { kind: kind.name(), hook: target }
        }
        ProgramError::KProbeError(_) => KernelError::NoHook { kind: "kprobes, so none at", hook: target },
        _ => {
            KernelError::load(format!("attach the BPF program {program} to {} {target}", kind.name()), error)
        }
    }
}
