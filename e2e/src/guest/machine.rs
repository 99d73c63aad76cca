//! The tasks of an init system: file systems, the loopback interface, powering off.

use std::{convert::Infallible, fs, io};

use rustix::{
    mount::{MountFlags, mount},
    net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with},
    system::{RebootCommand, finit_module, reboot},
};

use crate::support::{Result, TestError};

/// Type and mount point of each file system. cgroup2 has all controllers, because there is no other hierarchy.
const MOUNTS: [(&str, &str); 7] = [
    ("devtmpfs", "/dev"),
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("cgroup2", "/sys/fs/cgroup"),
    ("bpf", "/sys/fs/bpf"),
    ("tracefs", "/sys/kernel/tracing"),
    ("tmpfs", "/tmp"),
];

/// Mounts the file systems that programs expect on a machine.
///
/// # Errors
///
/// Fails when the kernel refuses a mount.
pub(super) fn mount_all() -> Result<()> {
    for (kind, place) in MOUNTS {
        fs::create_dir_all(place).map_err(TestError::io(format!("make the folder {place}")))?;
        mount(kind, place, kind, MountFlags::empty(), None)
            .map_err(|error| TestError::io(format!("mount {kind} on {place}"))(error.into()))?;
    }
    Ok(())
}

/// Loads the modules in `/mod`. Some depend on modules that come later, so all are tried again as long as one more can
/// be loaded; a module that never can is built in, or not usable on this kernel.
pub(super) fn load_modules() {
    let mut left: Vec<_> =
        fs::read_dir("/mod").into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    loop {
        let before = left.len();
        left.retain(|path| {
            let loaded = fs::File::open(path).map(|file| finit_module(file, c"", 0));
            !matches!(loaded, Ok(Ok(())))
        });
        if left.len() == before {
            break;
        }
    }
}

/// Brings `lo` up; the kernel gives it `127.0.0.1` and `::1`.
///
/// # Errors
///
/// Fails when the kernel refuses.
pub(super) fn raise_loopback() -> Result<()> {
    let answer =
        ask_routing(&raise_interface(LOOPBACK)).map_err(TestError::io("raise the loopback interface"))?;
    match answer {
        0 => Ok(()),
        errno => Err(TestError::io("raise the loopback interface")(io::Error::from_raw_os_error(errno))),
    }
}

/// Index of the loopback interface, which is the first one in every network namespace.
const LOOPBACK: i32 = 1;

/// Encodes a netlink message that brings an interface up, in the host's byte order; see rtnetlink(7): `nlmsghdr`
/// (length, type, flags, sequence, port), then `ifinfomsg` (family, type, index, flags, changed flags).
fn raise_interface(index: i32) -> Vec<u8> {
    const LENGTH: u32 = 32;
    const RTM_NEWLINK: u16 = 16;
    const NLM_F_REQUEST_AND_ACK: u16 = 1 | 4;
    const IFF_UP: u32 = 1;
    let mut message = LENGTH.to_ne_bytes().to_vec();
    message.extend(RTM_NEWLINK.to_ne_bytes());
    message.extend(NLM_F_REQUEST_AND_ACK.to_ne_bytes());
    message.extend([0; 8]);
    message.extend([0; 4]);
    message.extend(index.to_ne_bytes());
    message.extend(IFF_UP.to_ne_bytes());
    message.extend(IFF_UP.to_ne_bytes());
    message
}

/// Sends one rtnetlink request; returns the error number of the acknowledgement, which is 0 for success.
fn ask_routing(message: &[u8]) -> io::Result<i32> {
    // NETLINK_ROUTE has the number 0, which is the default.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    send(&socket, message, SendFlags::empty())?;
    let mut answer = [0; 128];
    recv(&socket, &mut answer, RecvFlags::empty())?;
    // `nlmsgerr` follows the header of 16 bytes and begins with the negative error number.
    let error = answer[16..20].try_into().map_err(io::Error::other)?;
    Ok(-i32::from_ne_bytes(error))
}

/// Powers the guest off.
///
/// # Errors
///
/// Fails when the kernel refuses.
pub(super) fn power_off() -> Result<Infallible> {
    reboot(RebootCommand::PowerOff).map_err(|error| TestError::io("power off")(error.into()))?;
    Err(TestError::unexpected("powering off", "the call came back"))
}
