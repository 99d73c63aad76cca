//! The programs that read HTTP from packets. They are an object of their own, loaded while a session asks for requests.

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
    /// Loads the programs without attaching them. `root` is the root of the cgroup2 tree. `ring_bytes` is the size of
    /// the ring buffer, a power of two and a multiple of the page size.
    ///
    /// # Errors
    ///
    /// [`KernelError`] if the kernel has no BTF, is older than Linux 5.17, or refuses a map or a program.
    pub fn load(root: &Path, ring_bytes: u32) -> Result<Self, KernelError> {
        let btf = Btf::from_sys_fs().map_err(|source| KernelError::NoBtf { source })?;
        // The programs' loops use this helper: otherwise the verifier would walk through every turn of every loop,
        // which takes minutes on old kernels.
        if matches!(is_helper_supported(ProgramType::CgroupSkb, BpfHelper::BPF_FUNC_loop), Ok(false)) {
            return Err(KernelError::NoHelper { feature: "show HTTP", helper: "bpf_loop", since: "5.17" });
        }
        let mut ebpf =
            records::load(HTTP_OBJECT, "HTTP", &btf, &HTTP, (maps::HTTP_RING, ring_bytes), &[], &[])?;
        let records = Records::take(&mut ebpf, maps::HTTP_RING, maps::HTTP_LOST)?;
        let (ignored, pauses) = (hash(&mut ebpf, maps::HTTP_IGNORED)?, hash(&mut ebpf, maps::HTTP_PAUSES)?);
        Ok(Self { ebpf, btf, records, ignored, pauses, programs: CgroupPrograms::new(root) })
    }

    /// Attaches the programs to these cgroups and to no others. The cgroups are given by id, with their folders
    /// relative to the root of the tree.
    pub fn select(&mut self, cgroups: &BTreeMap<u64, PathBuf>) -> Result<(), KernelError> {
        self.programs.set(&mut self.ebpf, &self.btf, &HTTP, &topmost(cgroups))
    }

    /// Passes up to `most` waiting records to `sink`, and returns their number.
    pub fn read(&mut self, most: usize, sink: &mut dyn FnMut(&Record<'_>)) -> usize {
        self.records.read(most, sink)
    }

    /// Makes the programs hand over nothing more of a socket, because its connection is not HTTP.
    pub fn ignore(&mut self, cookie: u64) {
        // If the entry cannot be added, more records arrive than needed, and user space ignores them.
        let _ = self.ignored.insert(cookie, 1, 0);
    }

    /// Tells the programs where the next messages of a socket begin, after a record with `RAW`. They then hand over
    /// only what a parser needs.
    pub fn resume(&mut self, cookie: u64, pause: Pause) {
        // If the entry cannot be added, the programs go on handing over everything.
        let _ = self.pauses.insert(cookie, pause, 0);
    }

    /// Descriptor that becomes readable when the ring buffer fills up.
    pub fn readable(&self) -> BorrowedFd<'_> {
        self.records.readable()
    }

    /// Losses so far, by cgroup of the sockets.
    pub fn lost(&self) -> Result<BTreeMap<u64, HttpLost>, KernelError> {
        self.records.lost()
    }
}

#[cfg(test)]
mod tests;
