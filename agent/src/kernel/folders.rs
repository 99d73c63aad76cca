//! Names and parents of the cgroups of counted sockets, kept by the kernel programs, so that a removed container can
//! still be named.

use aya::{
    Ebpf,
    maps::{HashMap, MapData},
};
use traffictrace_ebpf::{
    layout::{FOLDER_SIZE, Folder},
    maps,
};

use super::KernelError;

/// The kernel programs' record of cgroup folders. A value borrows only the maps, not the whole [`super::Tracer`], so
/// that the flow table can be changed meanwhile.
#[derive(Debug)]
pub struct Folders<'a>(HashMap<&'a MapData, u64, [u8; FOLDER_SIZE]>);

impl<'a> Folders<'a> {
    pub(super) fn of(ebpf: &'a Ebpf) -> Result<Self, KernelError> {
        let map = ebpf.map(maps::FOLDERS).ok_or(KernelError::Object(maps::FOLDERS))?;
        HashMap::try_from(map).map(Self).map_err(|e| KernelError::map("find keys", maps::FOLDERS, e))
    }

    /// Returns the name and the parent of a cgroup that has a counted socket or lies above one that has, even after its
    /// removal.
    pub fn get(&self, cgroup: u64) -> Option<Folder> {
        self.0.get(&cgroup, 0).ok().map(|bytes| Folder::from_bytes(&bytes))
    }

    /// Returns the id of a cgroup's parent, for the same cgroups as [`Self::get`]; 0 for the root.
    pub fn parent(&self, cgroup: u64) -> Option<u64> {
        self.get(cgroup).map(|folder| folder.parent)
    }
}
