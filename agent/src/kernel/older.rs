//! Search for sockets that are older than their session: the kernel runs a program for every open file of every process
//! that is visible here.

use std::{fs, io::Read as _};

use aya::{Btf, Ebpf, programs::Iter};

use super::KernelError;

const PROGRAM: &str = "tt_files";
const KIND: &str = "task_file";
/// Inode number of the first pid namespace (include/linux/proc_ns.h: PROC_PID_INIT_INO).
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";

/// Returns true if this process sees all processes of the machine. A pod needs `hostPID` for that. If this process does
/// not see all, sockets of the others that are older than their session become known only at their next call.
pub fn sees_all_processes() -> bool {
    fs::read_link("/proc/self/ns/pid").is_ok_and(|name| name.as_os_str() == FIRST_PID_NAMESPACE)
}

/// Runs the program for all open files once.
pub(super) fn find(ebpf: &mut Ebpf, btf: &Btf) -> Result<(), KernelError> {
    let failed = |what: &str, e| KernelError::load(format!("{what} the BPF program {PROGRAM}"), e);
    let program = ebpf.program_mut(PROGRAM).ok_or(KernelError::Object(PROGRAM))?;
    let program: &mut Iter = program.try_into().map_err(|_| KernelError::Object(PROGRAM))?;
    if program.fd().is_err() {
        program.load(KIND, btf).map_err(|e| failed("load", e))?;
    }
    let link = program.attach().and_then(|id| program.take_link(id)).map_err(|e| failed("attach", e))?;
    let mut file = link.into_file().map_err(|e| KernelError::load(format!("run {PROGRAM}"), e))?;
    // The program writes nothing. Reading to the end makes the kernel run it for each file.
    file.read_to_end(&mut Vec::new()).map_err(|e| KernelError::load(format!("run {PROGRAM}"), e))?;
    Ok(())
}
