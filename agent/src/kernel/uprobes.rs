//! Uprobes at many addresses by one link (`BPF_TRACE_UPROBE_MULTI`, Linux 6.6), which the loader cannot attach.
//!
//! The alternative is a perf event for each address. Detaching takes about 100 ms for each, one after the other, under
//! a lock of the whole machine; a link waits only once for all its addresses. The programs are relocated by the
//! loader's own library, and share the maps of the object that it has loaded.

use std::{
    collections::{BTreeMap, HashSet},
    ffi::CStr,
    io, mem,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
};

use aya::{Btf, Ebpf, features, maps::Map, programs::ProgramError};
use aya_obj::{
    Function, Object, Program, ProgramSection, VerifierLog,
    generated::{bpf_attach_type, bpf_attr, bpf_cmd, bpf_prog_type},
};

use super::{KernelError, tier::Hook};

/// `BPF_F_UPROBE_MULTI_RETURN`: the program runs when the functions return.
const AT_RETURN: u32 = 1;
/// `BPF_F_SLEEPABLE`: the program can wait for memory.
const SLEEPABLE: u32 = 1 << 4;
/// Size of the buffer for the verifier's log of a refused program, in bytes.
const LOG: usize = 1 << 20;
/// The most detailed log level.
const LOG_LEVEL: u32 = 1 | 4;

/// The functions to which a program is attached.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'a> {
    /// Path of the file with the code.
    pub(super) path: &'a CStr,
    /// Offsets of the functions in the file.
    pub(super) offsets: &'a [u64],
    /// Value that the program reads at each of these functions by `bpf_get_attach_cookie()`.
    pub(super) cookie: u64,
    /// Set if the program runs when the functions return, instead of when they are entered.
    pub(super) at_return: bool,
    /// Process id, as this process sees it.
    pub(super) pid: u32,
}

/// Loaded programs, by name.
#[derive(Debug)]
pub(super) struct Uprobes(BTreeMap<&'static str, OwnedFd>);

impl Uprobes {
    /// Loads programs of an object. They share the maps of `ebpf`, which was loaded from the same object.
    ///
    /// # Errors
    ///
    /// [`KernelError`] if the kernel refuses a program.
    pub(super) fn load(object: &[u8], ebpf: &Ebpf, btf: &Btf, hooks: &[Hook]) -> Result<Self, KernelError> {
        let failed = |step: &str| {
            let step = step.to_owned();
            move |error: Box<dyn std::error::Error + Send + Sync>| {
                KernelError::load(step, io::Error::other(error))
            }
        };
        let relocate = failed("relocate the BPF programs for TLS");
        let mut object =
            Object::parse(object).map_err(|e| failed("read the BPF object for TLS")(e.into()))?;
        let types = match features().btf() {
            Some(features) => object.fixup_and_sanitize_btf(features).map_err(|e| relocate(e.into()))?,
            None => None,
        };
        let types = types.map(Btf::to_bytes).map(|bytes| load_types(&bytes)).transpose();
        let types =
            types.map_err(|e| KernelError::load("load the types of the BPF programs for TLS".into(), e))?;
        let relocate = failed("relocate the BPF programs for TLS");
        object.relocate_btf(btf).map_err(|e| relocate(e.into()))?;
        let text: HashSet<usize> = object.functions.keys().map(|(section, _)| *section).collect();
        let maps = mem::take(&mut object.maps);
        let descriptors =
            maps.iter().filter_map(|(name, map)| Some((name.as_str(), descriptor(ebpf.map(name)?)?, map)));
        let relocate = failed("relocate the BPF programs for TLS");
        object.relocate_maps(descriptors, &text).map_err(|e| relocate(e.into()))?;
        let relocate = failed("relocate the BPF programs for TLS");
        object.relocate_calls(&text).map_err(|e| relocate(e.into()))?;
        object.sanitize_functions(features());
        let load = |hook: &Hook| {
            let name = hook.program;
            let program = object.programs.get(name).ok_or(KernelError::Object(name))?;
            let function = object.functions.get(&program.function_key()).ok_or(KernelError::Object(name))?;
            let loaded = load_program(name, program, function, types.as_ref().map(|types| types.as_fd()));
            Ok((name, loaded.map_err(|error| super::load::loading(*hook, error))?))
        };
        hooks.iter().map(load).collect::<Result<_, _>>().map(Self)
    }

    /// Attaches a program until the link is closed.
    ///
    /// # Errors
    ///
    /// The system's error.
    pub(super) fn attach(&self, program: &str, target: Target<'_>) -> io::Result<OwnedFd> {
        let program = self.0.get(program).ok_or(io::ErrorKind::NotFound)?;
        let cookies = vec![target.cookie; target.offsets.len()];
        let mut attr = no_attributes();
        attr.link_create.__bindgen_anon_1.prog_fd = number(program.as_fd());
        attr.link_create.attach_type = bpf_attach_type::BPF_TRACE_UPROBE_MULTI as u32;
        // SAFETY: the whole union was zeroed, and zeroes are a valid value of this member.
        #[expect(unsafe_code, reason = "see SAFETY")]
        let multi = unsafe { &mut attr.link_create.__bindgen_anon_3.uprobe_multi };
        multi.path = target.path.as_ptr() as u64;
        multi.offsets = target.offsets.as_ptr() as u64;
        multi.cookies = cookies.as_ptr() as u64;
        multi.cnt = target.offsets.len().try_into().map_err(io::Error::other)?;
        multi.flags = if target.at_return { AT_RETURN } else { 0 };
        multi.pid = target.pid;
        // The memory that the addresses point to lives until the call has returned.
        call(bpf_cmd::BPF_LINK_CREATE, &mut attr)
    }
}

fn load_types(bytes: &[u8]) -> io::Result<OwnedFd> {
    let mut attr = no_attributes();
    // SAFETY: the whole union was zeroed, and zeroes are a valid value of this member.
    #[expect(unsafe_code, reason = "see SAFETY")]
    let types = unsafe { &mut attr.__bindgen_anon_7 };
    types.btf = bytes.as_ptr() as u64;
    types.btf_size = bytes.len().try_into().map_err(io::Error::other)?;
    call(bpf_cmd::BPF_BTF_LOAD, &mut attr)
}

fn load_program(
    name: &str,
    program: &Program,
    function: &Function,
    types: Option<BorrowedFd<'_>>,
) -> Result<OwnedFd, ProgramError> {
    let (functions, lines) = (function.func_info.func_info_bytes(), function.line_info.line_info_bytes());
    let mut log = Vec::new();
    loop {
        let mut attr = no_attributes();
        // SAFETY: the whole union was zeroed, and zeroes are a valid value of this member.
        #[expect(unsafe_code, reason = "see SAFETY")]
        let load = unsafe { &mut attr.__bindgen_anon_3 };
        let room = load.prog_name.len() - 1;
        for (to, from) in load.prog_name[..room].iter_mut().zip(name.bytes()) {
            *to = from as std::ffi::c_char;
        }
        load.prog_type = bpf_prog_type::BPF_PROG_TYPE_KPROBE as u32;
        load.prog_flags = match program.section {
            ProgramSection::UProbe { sleepable: true } | ProgramSection::URetProbe { sleepable: true } => {
                SLEEPABLE
            }
            _ => 0,
        };
        load.expected_attach_type = bpf_attach_type::BPF_TRACE_UPROBE_MULTI as u32;
        load.insns = function.instructions.as_ptr() as u64;
        load.insn_cnt = count(function.instructions.len());
        load.license = program.license.as_ptr() as u64;
        if let Some(types) = types {
            load.prog_btf_fd = number(types);
            load.func_info = functions.as_ptr() as u64;
            load.func_info_cnt = count(function.func_info.len());
            load.func_info_rec_size = count(function.func_info_rec_size);
            load.line_info = lines.as_ptr() as u64;
            load.line_info_cnt = count(function.line_info.len());
            load.line_info_rec_size = count(function.line_info_rec_size);
        }
        if !log.is_empty() {
            load.log_level = LOG_LEVEL;
            load.log_buf = log.as_mut_ptr() as u64;
            load.log_size = count(log.len());
        }
        match call(bpf_cmd::BPF_PROG_LOAD, &mut attr) {
            Ok(descriptor) => return Ok(descriptor),
            // Loads the program again with a log, which gives the reason.
            Err(_) if log.is_empty() => log = vec![0; LOG],
            Err(io_error) => {
                let text =
                    CStr::from_bytes_until_nul(&log).unwrap_or_default().to_string_lossy().into_owned();
                return Err(ProgramError::LoadError { io_error, verifier_log: VerifierLog::new(text) });
            }
        }
    }
}

/// Returns the descriptor of a map, if it has one of the types that the object uses.
fn descriptor(map: &Map) -> Option<RawFd> {
    match map {
        Map::Array(data)
        | Map::HashMap(data)
        | Map::LruHashMap(data)
        | Map::RingBuf(data)
        | Map::Unsupported(data) => Some(data.fd().as_fd().as_raw_fd()),
        _ => None,
    }
}

fn no_attributes() -> bpf_attr {
    // SAFETY: every member is made of integers, for which zeroes are valid.
    #[expect(unsafe_code, reason = "see SAFETY")]
    unsafe {
        mem::zeroed()
    }
}

/// Makes a bpf(2) call that returns a descriptor. The addresses in its attributes must be valid.
fn call(command: bpf_cmd, attributes: &mut bpf_attr) -> io::Result<OwnedFd> {
    // SAFETY: the kernel reads and writes no more than the size says. The callers here fill in addresses and lengths of
    // buffers that outlive the call.
    #[expect(unsafe_code, reason = "see SAFETY")]
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command as libc::c_long, &raw mut *attributes, size_of::<bpf_attr>())
    };
    match RawFd::try_from(result) {
        // SAFETY: these calls return a new descriptor that nothing else owns; the kernel closes it on exec().
        #[expect(unsafe_code, reason = "see SAFETY")]
        Ok(descriptor) if descriptor >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(descriptor) }),
        _ => Err(io::Error::last_os_error()),
    }
}

fn number(descriptor: BorrowedFd<'_>) -> u32 {
    descriptor.as_raw_fd().unsigned_abs()
}

/// Converts a length within this binary's own object, which is small.
fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
