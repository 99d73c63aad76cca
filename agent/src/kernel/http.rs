//! The programs that see HTTP: an object of its own, loaded while a session asks for requests.

use std::{
    collections::BTreeMap,
    fmt,
    os::fd::{AsFd as _, BorrowedFd},
    path::{Path, PathBuf},
};

use aya::{
    Btf, Ebpf, EbpfLoader,
    maps::{HashMap, Map, MapData, RingBuf},
    programs::ProgramType,
    sys::{BpfHelper, is_helper_supported},
};
use traffictrace_ebpf::{
    HTTP_OBJECT, constants,
    layout::http::{Lost, Pause, Record},
    maps,
};

use super::{
    KernelError,
    cgroups::{CgroupPrograms, topmost},
    load,
    tier::HTTP,
};

/// Fill of the ring buffer, as a part of it, at which this process is woken.
const WAKE_AT_PART: u32 = 16;

/// Losses between the kernel and user space of one cgroup, since the programs were loaded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HttpLost {
    /// Records that found no room in the ring buffer.
    pub records: u64,
    /// Requests of whose heads at least a part was lost.
    pub requests: u64,
    /// Responses likewise.
    pub responses: u64,
    /// Lost records that may have held any number of messages.
    pub unknown: u64,
}

/// The loaded programs. Dropping them detaches them.
pub struct HttpCapture {
    ebpf: Ebpf,
    btf: Btf,
    ring: RingBuf<MapData>,
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
        let mut ebpf = EbpfLoader::new()
            .btf(Some(&btf))
            .map_max_entries(maps::HTTP_RING, ring_bytes)
            .override_global(constants::HTTP_WAKE_AT, &u64::from(ring_bytes / WAKE_AT_PART), true)
            // The programs alone use storage of sockets; the loader has no type for it.
            .allow_unsupported_maps()
            .load(HTTP_OBJECT)
            .map_err(|e| KernelError::load("create the BPF maps for HTTP".into(), e))?;
        let mut refused = load::verify(&mut ebpf, &btf, &HTTP);
        for hook in HTTP {
            if let Some(error) = refused.remove(hook.program) {
                return Err(load::loading(hook, error));
            }
        }
        let map = ebpf.take_map(maps::HTTP_RING).ok_or(KernelError::Object(maps::HTTP_RING))?;
        let ring =
            RingBuf::try_from(map).map_err(|e| KernelError::map("map the ring", maps::HTTP_RING, e))?;
        Ok(Self { ebpf, btf, ring, programs: CgroupPrograms::new(root) })
    }

    /// Attaches the programs to these cgroups, given by id with their folders relative to the root of the tree, and to no
    /// others.
    pub fn select(&mut self, cgroups: &BTreeMap<u64, PathBuf>) -> Result<(), KernelError> {
        self.programs.set(&mut self.ebpf, &self.btf, &HTTP, &topmost(cgroups))
    }

    /// Takes the records that wait, at most `most` of them, and returns how many there were.
    pub fn read(&mut self, most: usize, sink: &mut dyn FnMut(&Record<'_>)) -> usize {
        let mut taken = 0;
        while taken < most
            && let Some(item) = self.ring.next()
        {
            if let Some(record) = Record::from_bytes(&item) {
                sink(&record);
            }
            taken += 1;
        }
        taken
    }

    /// Has the programs hand over nothing more of a socket, which speaks no HTTP.
    pub fn ignore(&mut self, cookie: u64) {
        let map = self.ebpf.map_mut(maps::HTTP_IGNORED);
        if let Some(Ok(mut ignored)) = map.map(HashMap::<_, u64, u8>::try_from) {
            // Without an entry more records come than are needed, and they are ignored.
            let _ = ignored.insert(cookie, 1, 0);
        }
    }

    /// Tells the programs where the messages of a socket begin next, after a record with `RAW`.
    pub fn resume(&mut self, cookie: u64, pause: Pause) {
        let map = self.ebpf.map_mut(maps::HTTP_PAUSES);
        if let Some(Ok(mut pauses)) = map.map(HashMap::<_, u64, Pause>::try_from) {
            // Without an entry everything goes on being handed over.
            let _ = pauses.insert(cookie, pause, 0);
        }
    }

    /// Descriptor that is readable when the ring buffer gets full.
    pub fn readable(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }

    /// What was lost so far, by cgroup of the sockets.
    pub fn lost(&self) -> Result<BTreeMap<u64, HttpLost>, KernelError> {
        let failed = |e| KernelError::map("read what was lost", maps::HTTP_LOST, e);
        let map: &Map = self.ebpf.map(maps::HTTP_LOST).ok_or(KernelError::Object(maps::HTTP_LOST))?;
        let map = HashMap::<_, u64, Lost>::try_from(map).map_err(failed)?;
        let entries = map.iter().map(|entry| {
            let (cgroup, [records, requests, responses, unknown]) = entry.map_err(failed)?;
            Ok((cgroup, HttpLost { records, requests, responses, unknown }))
        });
        entries.collect()
    }
}

#[cfg(test)]
mod tests;
