//! Programs at the root of the cgroup2 tree, for what the tracepoints do not tell of datagrams.

use std::{fs::File, path::Path};

use aya::{
    Ebpf,
    programs::{CgroupAttachMode, CgroupSock, CgroupSockAddr},
};

use super::KernelError;

/// The peers of messages whose address the application gives or asks for.
const PEERS: [&str; 4] = ["tt_sendmsg4", "tt_sendmsg6", "tt_recvmsg4", "tt_recvmsg6"];
/// The end of sockets that are not TCP.
const RELEASE: &str = "tt_release";

/// No flags: a link to a cgroup always allows others, and the kernel refuses the flag that says so
/// (cgroup_bpf_link_attach).
const MODE: CgroupAttachMode = CgroupAttachMode::Single;

/// Loads and attaches them. Others may attach theirs to the same cgroup before and after; none of these can refuse a
/// message.
pub(super) fn attach(ebpf: &mut Ebpf, root: &Path) -> Result<(), KernelError> {
    let folder =
        File::open(root).map_err(|source| KernelError::CgroupRoot { path: root.to_owned(), source })?;
    let loading = |name| format!("load the BPF program {name}");
    let attaching = |name| format!("attach the BPF program {name} to the cgroup {}", root.display());
    for name in PEERS {
        let program = ebpf.program_mut(name).ok_or(KernelError::Object(name))?;
        let program: &mut CgroupSockAddr = program.try_into().map_err(|_| KernelError::Object(name))?;
        program.load().map_err(|e| KernelError::load(loading(name), e))?;
        program.attach(&folder, MODE).map_err(|e| KernelError::load(attaching(name), e))?;
    }
    let program = ebpf.program_mut(RELEASE).ok_or(KernelError::Object(RELEASE))?;
    let program: &mut CgroupSock = program.try_into().map_err(|_| KernelError::Object(RELEASE))?;
    program.load().map_err(|e| KernelError::load(loading(RELEASE), e))?;
    program.attach(&folder, MODE).map_err(|e| KernelError::load(attaching(RELEASE), e))?;
    Ok(())
}
