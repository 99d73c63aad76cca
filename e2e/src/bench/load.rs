//! Load on loopback: a process in a cgroup does network operations each time that the benchmark requests some.

use std::{
    fs,
    io::{self, BufRead as _, Read, Write},
    net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use clap::ValueEnum;

use super::machine;
use crate::support::{Result, TestError};

/// Kinds of load. Both ends of each are threads of one process, on one CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    /// One byte there and back over one TCP connection.
    PingPong,
    /// 64 KiB in one direction over one TCP connection.
    Bulk,
    /// A connection that is opened, moves one byte there and back, and is closed.
    Connect,
    /// One byte there and back between unconnected UDP sockets.
    UdpPingPong,
    /// One byte there and back through pipes, which no program on sockets sees.
    Pipe,
    /// A datagram from one UDP socket to each of many peers.
    Peers,
}

/// Timeout of a call that waits for the other end.
const STUCK: Duration = Duration::from_secs(5);

/// Number of bytes of one bulk write.
const BULK: usize = 64 << 10;

type Operation = Box<dyn FnMut() -> io::Result<()>>;

/// Serves requests from standard input until it is closed. Prints the line `ready` first; then each line of input is a
/// number of operations, which are done and answered with the nanoseconds that they took.
pub(super) fn serve(kind: Kind, cgroup: &Path, cpu: Option<usize>, peers: u32) -> Result<()> {
    let joined = fs::write(cgroup.join("cgroup.procs"), "0");
    joined.map_err(TestError::io(format!("join {}", cgroup.display())))?;
    if let Some(cpu) = cpu {
        machine::pin(cpu)?;
    }
    work(kind, peers).map_err(TestError::io("make load"))
}

fn work(kind: Kind, peers: u32) -> io::Result<()> {
    let mut operation = match kind {
        Kind::PingPong => ping_pong()?,
        Kind::Bulk => bulk()?,
        Kind::Connect => connect()?,
        Kind::UdpPingPong => udp_ping_pong()?,
        Kind::Pipe => pipe()?,
        Kind::Peers => send_to_peers(peers)?,
    };
    println!("ready");
    let mut line = String::new();
    while io::stdin().lock().read_line(&mut line)? > 0 {
        let operations: u64 = line.trim().parse().map_err(io::Error::other)?;
        let begin = Instant::now();
        for _ in 0..operations {
            operation()?;
        }
        println!("{}", begin.elapsed().as_nanos());
        line.clear();
    }
    Ok(())
}

fn echo(mut reader: impl Read, mut writer: impl Write) -> io::Result<()> {
    let mut byte = [0];
    while reader.read(&mut byte)? > 0 {
        writer.write_all(&byte)?;
    }
    Ok(())
}

fn echo_tcp(stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    echo(&stream, &stream)
}

fn ping_pong() -> io::Result<Operation> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let server = listener.accept()?.0;
    thread::spawn(move || echo_tcp(server));
    client.set_nodelay(true)?;
    client.set_read_timeout(Some(STUCK))?;
    let mut byte = [7];
    Ok(Box::new(move || {
        client.write_all(&byte)?;
        client.read_exact(&mut byte)
    }))
}

/// Prepares bulk writes; the other end reads with buffers of the same size.
fn bulk() -> io::Result<Operation> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let mut server = listener.accept()?.0;
    thread::spawn(move || -> io::Result<()> {
        let mut bytes = vec![0; BULK];
        while server.read(&mut bytes)? > 0 {}
        Ok(())
    });
    client.set_write_timeout(Some(STUCK))?;
    let bytes = vec![7; BULK];
    Ok(Box::new(move || client.write_all(&bytes)))
}

/// Prepares connections that are opened and closed. The server's address changes often: each connection leaves its port
/// in TIME_WAIT for a minute, and the search for a free port takes longer the fewer an address has left.
fn connect() -> io::Result<Operation> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let port = listener.local_addr()?.port();
    let net = fastrand::u8(1..255);
    thread::spawn(move || listener.incoming().try_for_each(|stream| echo_tcp(stream?)));
    let mut number = 0_u64;
    Ok(Box::new(move || {
        let host = (number / 1000) as u8;
        number += 1;
        let mut stream = TcpStream::connect(SocketAddrV4::new(Ipv4Addr::new(127, net, host, 1), port))?;
        let mut byte = [7];
        stream.write_all(&byte)?;
        stream.read_exact(&mut byte)
    }))
}

fn udp_ping_pong() -> io::Result<Operation> {
    let (client, server) =
        (UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?, UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?);
    client.set_read_timeout(Some(STUCK))?;
    let to = server.local_addr()?;
    thread::spawn(move || -> io::Result<()> {
        let mut byte = [0];
        loop {
            let (_, from) = server.recv_from(&mut byte)?;
            server.send_to(&byte, from)?;
        }
    });
    let mut byte = [7];
    Ok(Box::new(move || {
        client.send_to(&byte, to)?;
        client.recv_from(&mut byte).map(drop)
    }))
}

fn pipe() -> io::Result<Operation> {
    let ((there, mut client_writer), (mut client_reader, back)) = (io::pipe()?, io::pipe()?);
    thread::spawn(move || echo(there, back));
    let mut byte = [7];
    Ok(Box::new(move || {
        client_writer.write_all(&byte)?;
        client_reader.read_exact(&mut byte)
    }))
}

/// Prepares datagrams to many addresses. Each address is a flow, and this is the cheapest way to make many. The ports
/// are closed; an unconnected socket does not see the ICMP errors that come back.
fn send_to_peers(peers: u32) -> io::Result<Operation> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    Ok(Box::new(move || {
        for peer in 0..peers {
            let address = Ipv4Addr::from_bits(0x7f00_0001 + peer / 50_000 * 256);
            socket.send_to(b"x", SocketAddrV4::new(address, 10_000 + (peer % 50_000) as u16))?;
        }
        Ok(())
    }))
}
