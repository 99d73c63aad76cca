//! Names and parents of the cgroups of counted sockets, which the kernel programs keep: a container that is gone can
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

/// The kernel's memory of cgroup folders. Reading it borrows the maps only, not the flow table.
#[derive(Debug)]
pub struct Folders<'a>(HashMap<&'a MapData, u64, [u8; FOLDER_SIZE]>);

impl<'a> Folders<'a> {
    pub(super) fn of(ebpf: &'a Ebpf) -> Result<Self, KernelError> {
        let map = ebpf.map(maps::FOLDERS).ok_or(KernelError::Object(maps::FOLDERS))?;
        HashMap::try_from(map).map(Self).map_err(|e| KernelError::map("find keys", maps::FOLDERS, e))
    }

    /// Name and parent of a cgroup that a counted socket belongs to, or of one above it; also when it is gone.
    pub fn get(&self, cgroup: u64) -> Option<Folder> {
        self.0.get(&cgroup, 0).ok().map(|bytes| Folder::from_bytes(&bytes))
    }

    /// Id of the parent of such a cgroup; 0 for the root.
    pub fn parent(&self, cgroup: u64) -> Option<u64> {
        self.get(cgroup).map(|folder| folder.parent)
    }
}
