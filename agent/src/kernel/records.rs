//! Loading of the objects that hand over records (HTTP, TLS and stacks), their ring buffers, and the counts of records
//! that found no room.

use std::{
    collections::BTreeMap,
    os::fd::{AsFd as _, BorrowedFd},
};

use aya::{
    Btf, Ebpf, EbpfLoader, Pod,
    maps::{HashMap, Map, MapData, RingBuf},
};
use traffictrace_ebpf::{
    constants::WAKE_AT,
    layout::http::{Lost, Record},
};

use super::{KernelError, load, tier::Hook};

/// Divisor of a ring buffer's size: this process is woken each time that another sixteenth of it is filled.
const WAKE_AT_PART: u32 = 16;

/// Losses of one cgroup between the kernel and user space, since the programs were loaded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HttpLost {
    /// Records that found no room in the ring buffer.
    pub records: u64,
    /// Requests whose head was lost at least in part.
    pub requests: u64,
    /// Responses whose head was lost at least in part.
    pub responses: u64,
    /// Lost records that may have held any number of messages.
    pub unknown: u64,
}

impl HttpLost {
    /// Returns the losses since `before`, with 0 for a counter that fell.
    pub fn since(&self, before: &Self) -> Self {
        Self {
            records: self.records.saturating_sub(before.records),
            requests: self.requests.saturating_sub(before.requests),
            responses: self.responses.saturating_sub(before.responses),
            unknown: self.unknown.saturating_sub(before.unknown),
        }
    }
}

impl std::ops::AddAssign for HttpLost {
    fn add_assign(&mut self, Self { records, requests, responses, unknown }: Self) {
        self.records += records;
        self.requests += requests;
        self.responses += responses;
        self.unknown += unknown;
    }
}

/// A ring buffer with records, and the map that counts the lost ones.
pub(super) struct Records {
    ring: RingBuf<MapData>,
    lost: HashMap<MapData, u64, Lost>,
    /// Name of the map `lost`.
    lost_name: &'static str,
}

impl Records {
    /// Takes the two maps out of a loaded object by their names.
    pub(super) fn take(
        ebpf: &mut Ebpf,
        ring_name: &'static str,
        lost_name: &'static str,
    ) -> Result<Self, KernelError> {
        Ok(Self { ring: ring(ebpf, ring_name)?, lost: hash(ebpf, lost_name)?, lost_name })
    }

    /// Passes up to `most` waiting records to `sink`, and returns their number.
    pub(super) fn read(&mut self, most: usize, sink: &mut dyn FnMut(&Record<'_>)) -> usize {
        read(&mut self.ring, most, &mut |bytes| {
            if let Some(record) = Record::from_bytes(bytes) {
                sink(&record);
            }
        })
    }

    /// Descriptor that becomes readable when the ring buffer fills up.
    pub(super) fn readable(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }

    /// Losses so far, by cgroup.
    pub(super) fn lost(&self) -> Result<BTreeMap<u64, HttpLost>, KernelError> {
        let failed = |e| KernelError::map("read what was lost", self.lost_name, e);
        let entries = self.lost.iter().map(|entry| {
            let (cgroup, [records, requests, responses, unknown]) = entry.map_err(failed)?;
            Ok((cgroup, HttpLost { records, requests, responses, unknown }))
        });
        entries.collect()
    }
}

/// Passes up to `most` waiting records of a ring buffer to `sink`, and returns their number.
pub(super) fn read(ring: &mut RingBuf<MapData>, most: usize, sink: &mut dyn FnMut(&[u8])) -> usize {
    let mut taken = 0;
    while taken < most
        && let Some(item) = ring.next()
    {
        sink(&item);
        taken += 1;
    }
    taken
}

/// Creates the maps of an object and loads the programs of its hooks. `what` names the object in errors. `ring_bytes`
/// is the size of the ring buffer `ring_name`. `sizes` has numbers of entries by map name, and `constants` has values
/// by constant name.
///
/// # Errors
///
/// [`KernelError`] if the kernel refuses a map or a program.
pub(super) fn load(
    object: &[u8],
    what: &str,
    btf: &Btf,
    hooks: &[Hook],
    (ring_name, ring_bytes): (&'static str, u32),
    sizes: &[(&'static str, u32)],
    constants: &[(&'static str, u64)],
) -> Result<Ebpf, KernelError> {
    let wake_at = u64::from(ring_bytes / WAKE_AT_PART);
    let mut loader = EbpfLoader::new();
    loader
        .btf(Some(btf))
        .map_max_entries(ring_name, ring_bytes)
        .override_global(WAKE_AT, &wake_at, true)
        // The loader has no type for the storage of sockets and tasks, which only the programs use.
        .allow_unsupported_maps();
    for (map, entries) in sizes {
        loader.map_max_entries(map, *entries);
    }
    for (constant, value) in constants {
        loader.override_global(constant, value, true);
    }
    let mut ebpf =
        loader.load(object).map_err(|e| KernelError::load(format!("create the BPF maps for {what}"), e))?;
    let mut refused = load::verify(&mut ebpf, btf, hooks);
    for hook in hooks {
        if let Some(error) = refused.remove(hook.program) {
            return Err(load::loading(*hook, error));
        }
    }
    Ok(ebpf)
}

fn taken(ebpf: &mut Ebpf, name: &'static str) -> Result<Map, KernelError> {
    ebpf.take_map(name).ok_or(KernelError::Object(name))
}

/// Takes a ring buffer out of an object.
pub(super) fn ring(ebpf: &mut Ebpf, name: &'static str) -> Result<RingBuf<MapData>, KernelError> {
    RingBuf::try_from(taken(ebpf, name)?).map_err(|e| KernelError::map("map the ring", name, e))
}

/// Takes a hash table out of an object.
pub(super) fn hash<K: Pod, V: Pod>(
    ebpf: &mut Ebpf,
    name: &'static str,
) -> Result<HashMap<MapData, K, V>, KernelError> {
    HashMap::try_from(taken(ebpf, name)?).map_err(|e| KernelError::map("open the map", name, e))
}
