//! Packets that are handled on top of whatever another CPU is doing.

use std::{fs, io, path::Path, thread::available_parallelism};

use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount};

use super::{check, own_network};

/// Moves this process into a network namespace of its own, on whose loopback a packet is handled by a CPU that its
/// addresses choose (RPS), and not by the one that sends it. So packets interrupt programs of the kernel that are at
/// work there, and where two of them would be the same program, the kernel skips the second one.
///
/// # Errors
///
/// When the kernel refuses.
pub fn spread_packets() -> io::Result<()> {
    own_network()?;
    #[expect(unsafe_code, reason = "neither the standard library nor an enabled part of rustix has unshare")]
    // SAFETY: changes what this process sees of file systems, no memory.
    check(unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    // What is mounted at /sys shows the interfaces of another namespace.
    let folder = std::env::temp_dir().join(format!("tt-exact-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let written =
        mount("sysfs", &folder, "sysfs", MountFlags::empty(), None).map_err(io::Error::from).and_then(|()| {
            let written = choose_any_cpu(&folder);
            unmount(&folder, UnmountFlags::DETACH)?;
            written
        });
    fs::remove_dir(&folder)?;
    written
}

fn choose_any_cpu(sysfs: &Path) -> io::Result<()> {
    let cpus = available_parallelism()?.get().min(32);
    let mask = u32::MAX >> (32 - cpus);
    fs::write(sysfs.join("class/net/lo/queues/rx-0/rps_cpus"), format!("{mask:x}"))
}
