//! Handling of packets on another CPU than the sender's, where they interrupt whatever that CPU is doing.

use std::{fs, io, path::Path, thread::available_parallelism};

use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount};

use super::{check, own_network};

/// Moves this process into a new network namespace in which loopback packets are handled by a CPU that depends on their
/// addresses (RPS), not by the sender's CPU. Such a packet can interrupt a BPF program on that CPU; if handling it
/// would start the same program, the kernel skips that run.
///
/// # Errors
///
/// Fails when the kernel refuses.
pub fn spread_packets() -> io::Result<()> {
    own_network()?;
    #[expect(unsafe_code, reason = "neither the standard library nor an enabled part of rustix has unshare")]
    // SAFETY: the call changes the mounts that this process sees, not its memory.
    check(unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    // The mounted /sys shows the interfaces of another namespace, so a new one is mounted.
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
