//! Loading and attaching the programs of a hook tier.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
    thread,
};

use aya::{
    Btf, Ebpf, EbpfLoader,
    programs::{
        BtfTracePoint, FEntry, FExit, KProbe, Program, ProgramError, RawTracePoint, tp_btf::BtfTracePointLink,
    },
    sys::SyscallError,
    util::nr_cpus,
};
use traffictrace_ebpf::{Variant, constants, maps};

use super::{
    KernelError,
    error::{TierFailure, missing_capabilities},
    sizes::{self, Geometry},
    tier::{CONNECTIONS, EVERYWHERE, Hook, HookTier, Kind, Needed, Plan, RECONCILE, TierChoice},
};

/// Maximum number of threads that load programs. Only a few programs take long to verify, so further threads would only
/// wait.
const MOST_THREADS: usize = 4;
/// Minimum number of cgroup folders whose names are kept.
const FOLDERS: u32 = 4096;

/// The programs that count, loaded and attached.
pub(super) struct Loaded {
    pub(super) ebpf: Ebpf,
    pub(super) tier: HookTier,
    pub(super) plan: &'static Plan,
    /// Set if every optional hook is attached: the programs then see sockets that a running process receives from
    /// another one.
    pub(super) sees_given: bool,
}

/// Loads the first tier of `choice` that works on this kernel.
///
/// # Errors
///
/// [`KernelError::NoTier`] with the reason for each tier, or the first error that does not depend on the tier.
pub(super) fn load(btf: &Btf, geometry: Geometry, choice: TierChoice) -> Result<Loaded, KernelError> {
    let mut failures = Vec::new();
    for tier in choice.tiers().iter().copied() {
        match load_tier(btf, geometry, tier) {
            Ok(loaded) => return Ok(loaded),
            // The other tiers would fail in the same way, and this error has the better message.
            Err(error @ KernelError::Permission { .. }) if !missing_capabilities().is_empty() => {
                return Err(error);
            }
            Err(error @ KernelError::Object(_)) => return Err(error),
            Err(error) => {
                tracing::debug!(%tier, %error, "this hook tier does not work here");
                failures.push(TierFailure { tier, error });
            }
        }
    }
    Err(KernelError::NoTier { failures })
}

/// Loads one tier by its first plan that works.
fn load_tier(btf: &Btf, geometry: Geometry, tier: HookTier) -> Result<Loaded, KernelError> {
    let mut last = KernelError::Object("hook tier");
    for plan in tier.plans() {
        match load_plan(btf, geometry, plan) {
            Ok((ebpf, sees_given)) => return Ok(Loaded { ebpf, tier, plan, sees_given }),
            // The tier's other plans use the same hooks, so they would fail in the same way.
            Err(error @ KernelError::NoHook { .. }) => return Err(error),
            Err(error) => {
                tracing::debug!(%tier, ?plan.variant, plan.notes_by_thread, %error, "a plan does not work here");
                // The last plan requires the least of the kernel, so its error is the most useful one.
                last = error;
            }
        }
    }
    Err(last)
}

/// Creates the maps, loads the programs of a plan, and attaches those that are always attached. The flag is true if
/// every optional hook could be attached as well.
fn load_plan(btf: &Btf, geometry: Geometry, plan: &Plan) -> Result<(Ebpf, bool), KernelError> {
    let mut ebpf = create(btf, geometry, plan)?;
    let attached: Vec<_> = plan.hooks.iter().chain(&EVERYWHERE).copied().collect();
    let on_demand = plan.cgroup_hooks.iter().chain(&CONNECTIONS).chain([&RECONCILE]).copied();
    let all: Vec<_> = attached.iter().copied().chain(on_demand).collect();
    let mut refused = verify(&mut ebpf, btf, &all);
    let mut all_possible = true;
    for hook in all {
        let result = match refused.remove(hook.program) {
            Some(error) => Err(loading(hook, error)),
            None if attached.iter().any(|other| other.program == hook.program) => {
                attach_loaded(program(&mut ebpf, hook)?, hook)
            }
            None => Ok(()),
        };
        match result {
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
    Ok((ebpf, all_possible))
}

/// Creates the maps, sized for this machine.
fn create(btf: &Btf, geometry: Geometry, plan: &Plan) -> Result<Ebpf, KernelError> {
    let (sets, slots) = (geometry.sets() as u32, geometry.slots() as u32);
    let (set_mask, stash_sets) = (geometry.main_sets as u32 - 1, geometry.stash_sets as u32);
    let notes_by_thread = u8::from(plan.notes_by_thread);
    // If the number of CPUs is unknown, the maps get the size for a large machine.
    let cpus = nr_cpus().unwrap_or(128);
    let mut loader = EbpfLoader::new();
    loader
        .btf(Some(btf))
        .override_global(constants::SET_MASK, &set_mask, true)
        .override_global(constants::STASH_SETS, &stash_sets, true)
        .map_max_entries(maps::TAGS, sets)
        .map_max_entries(maps::SLOTS, slots)
        .map_max_entries(maps::SPILL, geometry.stash_slots() as u32)
        .map_max_entries(maps::IDS, slots)
        .map_max_entries(maps::CELLS, sizes::cells(cpus))
        .map_max_entries(maps::FOLDERS, sizes::lru(FOLDERS, cpus))
        // The loader has no type for task storage, which only the programs use.
        .allow_unsupported_maps();
    for (map, entries) in maps::KERNELS_OWN {
        loader.map_max_entries(map, sizes::lru(entries, cpus));
    }
    if plan.variant == Variant::Typed {
        loader.override_global(constants::NOTES_BY_THREAD, &notes_by_thread, true);
    }
    let object = plan.variant.object();
    loader.load(object).map_err(|e| KernelError::load("create the BPF maps".into(), e))
}

/// Loads programs in parallel and returns the errors of the refused ones, by program. The kernel's verifier takes most
/// of the time until a first trace is armed. It runs in the loading thread and takes no lock in privileged processes
/// (`bpf_check()`). Loading stops at the first refused program that tracing needs.
pub(super) fn verify(ebpf: &mut Ebpf, btf: &Btf, hooks: &[Hook]) -> HashMap<&'static str, ProgramError> {
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
            // If no thread can be started, the current one does all the work.
            let _ = thread::Builder::new().spawn_scoped(scope, work);
        }
        work();
    });
    state.into_inner().unwrap_or_else(PoisonError::into_inner).1
}

pub(super) fn program(ebpf: &mut Ebpf, hook: Hook) -> Result<&mut Program, KernelError> {
    ebpf.program_mut(hook.program).ok_or(KernelError::Object(hook.program))
}

pub(super) fn load_program(program: &mut Program, btf: &Btf, hook: Hook) -> Result<(), ProgramError> {
    match hook.kind {
        Kind::Tracepoint => <&mut BtfTracePoint>::try_from(program)?.load(hook.target, btf),
        Kind::Fentry => <&mut FEntry>::try_from(program)?.load(hook.target, btf),
        Kind::Fexit => <&mut FExit>::try_from(program)?.load(hook.target, btf),
        Kind::Kprobe => <&mut KProbe>::try_from(program)?.load(),
        Kind::Called => <&mut RawTracePoint>::try_from(program)?.load(),
        // Uprobes are loaded by `Uprobes::load` (`uprobes.rs`).
        Kind::Uprobe => Err(ProgramError::UnexpectedProgramType),
        Kind::Cgroup => match program {
            Program::CgroupSockAddr(program) => program.load(),
            Program::CgroupSock(program) => program.load(),
            Program::CgroupSkb(program) => program.load(),
            _ => Err(ProgramError::UnexpectedProgramType),
        },
    }
}

/// Attaches a program for as long as the program is loaded. A program that serves several functions is attached once
/// for each.
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
        Kind::Cgroup | Kind::Uprobe | Kind::Called => Err(ProgramError::UnexpectedProgramType),
    };
    attached.map_err(|error| attaching(hook, error))
}

/// Attaches a program to a tracepoint until the link is dropped, and loads the program first if necessary.
pub(super) fn attach_tracepoint(
    ebpf: &mut Ebpf,
    btf: &Btf,
    hook: Hook,
) -> Result<BtfTracePointLink, KernelError> {
    let program = program(ebpf, hook)?;
    if program.fd().is_err() {
        load_program(program, btf, hook).map_err(|error| loading(hook, error))?;
    }
    let program: &mut BtfTracePoint = program.try_into().map_err(|_| KernelError::Object(hook.program))?;
    let link = program.attach().and_then(|id| program.take_link(id));
    link.map_err(|error| attaching(hook, error))
}

pub(super) fn loading(hook: Hook, error: ProgramError) -> KernelError {
    let Hook { program, target, kind, .. } = hook;
    match error {
        ProgramError::Btf(_) => KernelError::NoHook { kind: kind.name(), hook: target },
        error => {
            KernelError::load(format!("load the BPF program {program} for {} {target}", kind.name()), error)
        }
    }
}

pub(super) fn attaching(hook: Hook, error: ProgramError) -> KernelError {
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
