//! Requests to the kernel by netlink(7): addresses of an interface, and their use by MPTCP.

use std::{io, net::IpAddr, os::fd::OwnedFd};

use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};

/// Index of the loopback interface in every network namespace.
const LOOPBACK: u32 = 1;
const HEADER: usize = 16;

/// Adds an address to `lo`.
///
/// # Errors
///
/// Fails when the kernel refuses.
pub fn add_address(address: IpAddr) -> io::Result<()> {
    const RTM_NEWADDR: u16 = 20;
    const IFA_LOCAL: u16 = 2;
    const IFA_ADDRESS: u16 = 1;
    const IFA_F_NODAD: u8 = 2;
    let (family, bits) = family_of(address);
    let mut body = vec![family as u8, bits, IFA_F_NODAD, 0];
    body.extend(LOOPBACK.to_ne_bytes());
    for kind in [IFA_LOCAL, IFA_ADDRESS] {
        body.extend(attribute(kind, &octets(address)));
    }
    request(&open(None)?, RTM_NEWADDR, CREATE, &body).map(drop)
}

/// Lets MPTCP connections of this network namespace open a second subflow, from `address`.
///
/// # Errors
///
/// Fails when the kernel refuses, or has no path manager.
pub fn add_mptcp_subflow(address: IpAddr) -> io::Result<()> {
    // linux/mptcp_pm.h
    const ADD_ADDR: u8 = 1;
    const SET_LIMITS: u8 = 5;
    const ATTR_ADDR: u16 = 1 | NESTED;
    const ATTR_RCV_ADD_ADDRS: u16 = 2;
    const ATTR_SUBFLOWS: u16 = 3;
    const ADDR_FAMILY: u16 = 1;
    const ADDR_ADDR4: u16 = 3;
    const ADDR_ADDR6: u16 = 4;
    const ADDR_FLAGS: u16 = 6;
    const FLAG_SUBFLOW: u32 = 1 << 1;
    let socket = open(Some(netlink::GENERIC))?;
    let family = generic_family(&socket, "mptcp_pm")?;
    let limits =
        [attribute(ATTR_RCV_ADD_ADDRS, &0u32.to_ne_bytes()), attribute(ATTR_SUBFLOWS, &2u32.to_ne_bytes())];
    request(&socket, family, 0, &generic(SET_LIMITS, &limits.concat()))?;
    let (number, _) = family_of(address);
    let kind = if address.is_ipv4() { ADDR_ADDR4 } else { ADDR_ADDR6 };
    let endpoint = [
        attribute(ADDR_FAMILY, &number.to_ne_bytes()),
        attribute(kind, &octets(address)),
        attribute(ADDR_FLAGS, &FLAG_SUBFLOW.to_ne_bytes()),
    ];
    request(&socket, family, 0, &generic(ADD_ADDR, &attribute(ATTR_ADDR, &endpoint.concat()))).map(drop)
}

const NESTED: u16 = 1 << 15;
/// NLM_F_CREATE and NLM_F_EXCL.
const CREATE: u16 = 0x600;

fn family_of(address: IpAddr) -> (u16, u8) {
    match address {
        IpAddr::V4(_) => (libc::AF_INET as u16, 32),
        IpAddr::V6(_) => (libc::AF_INET6 as u16, 128),
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// Encodes an attribute: length, kind and value, padded to a multiple of four bytes.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = ((value.len() + 4) as u16).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// Encodes a command of a generic netlink family, version 1.
fn generic(command: u8, attributes: &[u8]) -> Vec<u8> {
    [&[command, 1, 0, 0], attributes].concat()
}

/// Returns the number of a generic netlink family.
fn generic_family(socket: &OwnedFd, name: &str) -> io::Result<u16> {
    // linux/genetlink.h
    const CONTROL: u16 = 16;
    const GETFAMILY: u8 = 3;
    const ATTR_FAMILY_ID: u16 = 1;
    const ATTR_FAMILY_NAME: u16 = 2;
    let name = [name.as_bytes(), &[0]].concat();
    let answer = request(socket, CONTROL, 0, &generic(GETFAMILY, &attribute(ATTR_FAMILY_NAME, &name)))?;
    let mut rest = answer.get(HEADER + 4..).unwrap_or_default();
    while let [a, b, c, d, ..] = *rest {
        let (length, kind) = (usize::from(u16::from_ne_bytes([a, b])), u16::from_ne_bytes([c, d]));
        if let (ATTR_FAMILY_ID, Some([low, high])) = (kind, rest.get(4..6)) {
            return Ok(u16::from_ne_bytes([*low, *high]));
        }
        rest = rest.get(length.max(4).next_multiple_of(4)..).unwrap_or_default();
    }
    Err(io::ErrorKind::NotFound.into())
}

/// Opens a netlink socket; without a protocol, it is NETLINK_ROUTE (rtnetlink(7)).
fn open(protocol: Option<Protocol>) -> io::Result<OwnedFd> {
    Ok(socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?)
}

/// Sends a request and waits for its acknowledgement; returns the answer that came before it, or nothing.
fn request(socket: &OwnedFd, kind: u16, flags: u16, body: &[u8]) -> io::Result<Vec<u8>> {
    const REQUEST_AND_ACK: u16 = 1 | 4;
    const ERROR: u16 = 2;
    let mut message = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend((REQUEST_AND_ACK | flags).to_ne_bytes());
    // Sequence number and port, both 0.
    message.extend([0; 8]);
    message.extend(body);
    send(socket, &message, SendFlags::empty())?;
    let mut answer = Vec::new();
    loop {
        let mut buffer = [0; 8192];
        let (length, _) = recv(socket, &mut buffer, RecvFlags::empty())?;
        let received = buffer.get(..length).unwrap_or_default();
        // The error number follows the header; 0 means success.
        match received {
            [_, _, _, _, low, high, ..] if u16::from_ne_bytes([*low, *high]) == ERROR => {
                let number = received.get(HEADER..HEADER + 4).and_then(|bytes| bytes.try_into().ok());
                return match i32::from_ne_bytes(number.unwrap_or_default()) {
                    0 => Ok(answer),
                    number => Err(io::Error::from_raw_os_error(-number)),
                };
            }
            _ => answer = received.to_vec(),
        }
    }
}
