//! A network interface whose packets this process carries.

use std::{
    fs::{File, OpenOptions},
    io, mem,
    net::Ipv4Addr,
};

use super::{check, sockets::socket};

/// Name of the interface, in its own namespace.
const NAME: &[u8] = b"tt0";
/// Maximum size of a packet: that of Ethernet, so that a message takes many packets.
pub const MTU: i32 = 1500;

/// Creates an interface in this thread's network namespace, with an address in a /24 network. Each packet that is
/// written to the file arrives at the interface, and packets sent through the interface can be read from the file. The
/// interface is removed when the file is closed.
///
/// # Errors
///
/// Fails when the kernel refuses, or has no TUN devices.
pub fn open(address: Ipv4Addr) -> io::Result<File> {
    let tun = OpenOptions::new().read(true).write(true).open("/dev/net/tun")?;
    ask(&tun, libc::TUNSETIFF, |request| {
        request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    })?;
    let control = socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    ask(&control, libc::SIOCSIFADDR, |request| request.ifr_ifru.ifru_addr = ipv4(address))?;
    ask(&control, libc::SIOCSIFNETMASK, |request| {
        request.ifr_ifru.ifru_netmask = ipv4(Ipv4Addr::new(255, 255, 255, 0));
    })?;
    ask(&control, libc::SIOCSIFMTU, |request| request.ifr_ifru.ifru_mtu = MTU)?;
    ask(&control, libc::SIOCSIFFLAGS, |request| {
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    })?;
    Ok(tun)
}

/// Sends one ioctl request about the interface.
fn ask(
    to: &impl std::os::fd::AsRawFd,
    what: libc::Ioctl,
    fill: impl FnOnce(&mut libc::ifreq),
) -> io::Result<()> {
    #[expect(unsafe_code, reason = "see SAFETY")]
    // SAFETY: zeroes are valid for a struct of integers and a union of integers.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(NAME) {
        *to = *from as libc::c_char;
    }
    fill(&mut request);
    #[expect(unsafe_code, reason = "rustix has no call for it")]
    // SAFETY: the kernel reads and writes `request`, which is the argument that these requests take.
    check(unsafe { libc::ioctl(to.as_raw_fd(), what, &mut request) }).map(drop)
}

/// Converts an address to the form that the requests take.
fn ipv4(address: Ipv4Addr) -> libc::sockaddr {
    let mut data = [0; 14];
    // The address follows the port.
    for (to, from) in data[2..6].iter_mut().zip(address.octets()) {
        *to = from as libc::c_char;
    }
    libc::sockaddr { sa_family: libc::AF_INET as libc::sa_family_t, sa_data: data }
}
