//! The programs that see HTTP: an object of its own, loaded while a session asks for requests.

use std::{
    collections::BTreeMap,
    fmt,
    os::fd::BorrowedFd,
    path::{Path, PathBuf},
};

use aya::{
    Btf, Ebpf,
    maps::{HashMap, MapData},
    programs::ProgramType,
    sys::{BpfHelper, is_helper_supported},
};
use traffictrace_ebpf::{
    HTTP_OBJECT,
    layout::http::{Pause, Record},
    maps,
};

use super::{
    KernelError,
    cgroups::{CgroupPrograms, topmost},
    records::{self, HttpLost, Records, hash},
    tier::HTTP,
};

/// The loaded programs. Dropping them detaches them.
pub struct HttpCapture {
    ebpf: Ebpf,
    btf: Btf,
    records: Records,
    ignored: HashMap<MapData, u64, u8>,
    pauses: HashMap<MapData, u64, Pause>,
    programs: CgroupPrograms,
}

impl fmt::Debug for HttpCapture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpCapture").field("programs", &self.programs).finish_non_exhaustive()
    }
}

impl HttpCapture {
    /// Loads the programs. They are attached to nothing yet. `root` is the root of the cgroup2 tree; `ring_bytes` the size
    /// of the ring buffer, a power of two and a multiple of the page size.
    ///
    /// # Errors
    ///
    /// [`KernelError`] if the kernel has no BTF, is older than Linux 5.17, or refuses a map or a program.
    pub fn load(root: &Path, ring_bytes: u32) -> Result<Self, KernelError> {
        let btf = Btf::from_sys_fs().map_err(|source| KernelError::NoBtf { source })?;
        // Without it, the verifier would go through every turn of every loop, which takes it minutes on old kernels.
        if matches!(is_helper_supported(ProgramType::CgroupSkb, BpfHelper::BPF_FUNC_loop), Ok(false)) {
            return Err(KernelError::NoHelper { feature: "show HTTP", helper: "bpf_loop", since: "5.17" });
        }
        let mut ebpf =
            records::load(HTTP_OBJECT, "HTTP", &btf, &HTTP, (maps::HTTP_RING, ring_bytes), &[], &[])?;
        let records = Records::take(&mut ebpf, maps::HTTP_RING, maps::HTTP_LOST)?;
        let (ignored, pauses) = (hash(&mut ebpf, maps::HTTP_IGNORED)?, hash(&mut ebpf, maps::HTTP_PAUSES)?);
        Ok(Self { ebpf, btf, records, ignored, pauses, programs: CgroupPrograms::new(root) })
    }

    /// Attaches the programs to these cgroups, given by id with their folders relative to the root of the tree, and to no
    /// others.
    pub fn select(&mut self, cgroups: &BTreeMap<u64, PathBuf>) -> Result<(), KernelError> {
        self.programs.set(&mut self.ebpf, &self.btf, &HTTP, &topmost(cgroups))
    }

    /// Takes the records that wait, at most `most` of them, and returns how many there were.
    pub fn read(&mut self, most: usize, sink: &mut dyn FnMut(&Record<'_>)) -> usize {
        self.records.read(most, sink)
    }

    /// Has the programs hand over nothing more of a socket, which speaks no HTTP.
    pub fn ignore(&mut self, cookie: u64) {
        // Without an entry more records come than are needed, and they are ignored.
        let _ = self.ignored.insert(cookie, 1, 0);
    }

    /// Tells the programs where the messages of a socket begin next, after a record with `RAW`.
    pub fn resume(&mut self, cookie: u64, pause: Pause) {
        // Without an entry everything goes on being handed over.
        let _ = self.pauses.insert(cookie, pause, 0);
    }

    /// Descriptor that is readable when the ring buffer gets full.
    pub fn readable(&self) -> BorrowedFd<'_> {
        self.records.readable()
    }

    /// What was lost so far, by cgroup of the sockets.
    pub fn lost(&self) -> Result<BTreeMap<u64, HttpLost>, KernelError> {
        self.records.lost()
    }
}

#[cfg(test)]
mod tests;
