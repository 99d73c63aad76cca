//! Load on loopback: bounded in time, alone in a process of its own, so that it can be put into a cgroup.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use clap::ValueEnum;
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::support::{Result, TestError, process::Process};

/// Kinds of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    /// One byte there and back over one TCP connection; both ends on one CPU.
    PingPong,
    /// Connect, one byte there and back, close; both ends on one CPU.
    Connect,
    /// One byte there and back by unconnected UDP sockets; both ends on one CPU.
    UdpPingPong,
    /// 64 KiB writes over one TCP connection.
    Bulk,
    /// One UDP socket that sends a datagram to each of many peers and then waits for a line to do it again.
    Peers,
}

/// How many operations happen between two looks at the clock.
const BATCH: u64 = 64;
const CHUNK: usize = 64 << 10;

/// Runs a load in a process of its own and says how many operations a second it did.
pub(super) fn rate(kind: Kind, millis: u64, cgroup: &Path) -> Result<f64> {
    let mut command = command(kind, cgroup)?;
    let ended = Process::start(command.args(["--millis", &millis.to_string()]))?
        .wait(Duration::from_millis(millis) + Duration::from_secs(20))?;
    ended.lines.first().and_then(|line| line.parse().ok()).ok_or_else(|| {
        TestError::unexpected("a load", format!("{}: {:?} {}", ended.status, ended.lines, ended.stderr))
    })
}

/// The command that runs a load in a cgroup.
pub(super) fn command(kind: Kind, cgroup: &Path) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe().map_err(TestError::io("find this program"))?);
    let name = kind.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
    command.args(["load", &name]).arg("--cgroup").arg(cgroup);
    Ok(command)
}

/// Makes the load.
pub(super) fn run(kind: Kind, millis: u64, cgroup: Option<&Path>, peers: u32) -> Result<()> {
    if let Some(cgroup) = cgroup {
        let file: PathBuf = cgroup.join("cgroup.procs");
        fs::write(&file, "0").map_err(TestError::io(format!("join {}", cgroup.display())))?;
    }
    if kind == Kind::Peers {
        return send_to_peers(peers).map_err(TestError::io("send to many peers"));
    }
    if kind != Kind::Bulk {
        pin().map_err(TestError::io("stay on one CPU"))?;
    }
    let limit = Duration::from_millis(millis);
    let done = match kind {
        Kind::PingPong => ping_pong(limit),
        Kind::Connect => connect(limit),
        Kind::UdpPingPong => udp_ping_pong(limit),
        Kind::Bulk | Kind::Peers => bulk(limit),
    };
    let (operations, took) = done.map_err(TestError::io("make load"))?;
    println!("{}", operations as f64 / took.as_secs_f64());
    Ok(())
}

/// One CPU for both ends: what is measured is then work, not the scheduler's choice.
fn pin() -> std::io::Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(0);
    Ok(sched_setaffinity(None, &cpus)?)
}

type Done = std::io::Result<(u64, Duration)>;

/// Repeats `operation` until the time is over.
fn repeat(limit: Duration, mut operation: impl FnMut(u64) -> std::io::Result<()>) -> Done {
    let begin = Instant::now();
    let mut done = 0;
    while begin.elapsed() < limit {
        for _ in 0..BATCH {
            operation(done)?;
            done += 1;
        }
    }
    Ok((done, begin.elapsed()))
}

fn echo(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut byte = [0];
    while stream.read(&mut byte)? > 0 {
        stream.write_all(&byte)?;
    }
    Ok(())
}

fn ping_pong(limit: Duration) -> Done {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let server = listener.accept()?.0;
    thread::spawn(move || echo(server));
    client.set_nodelay(true)?;
    let mut byte = [7];
    repeat(limit, |_| {
        client.write_all(&byte)?;
        client.read_exact(&mut byte)
    })
}

/// Every connection leaves its port in TIME_WAIT for a minute, so the server's address changes from time to time.
fn connect(limit: Duration) -> Done {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let port = listener.local_addr()?.port();
    let net = fastrand::u8(1..255);
    thread::spawn(move || listener.incoming().try_for_each(|stream| echo(stream?)));
    repeat(limit, |number| {
        let host = (number / 10_000) as u8;
        let mut stream = TcpStream::connect(SocketAddrV4::new(Ipv4Addr::new(127, net, host, 1), port))?;
        let mut byte = [7];
        stream.write_all(&byte)?;
        stream.read_exact(&mut byte)
    })
}

fn udp_ping_pong(limit: Duration) -> Done {
    let (client, server) =
        (UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?, UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?);
    // A datagram that is lost would stop everything.
    client.set_read_timeout(Some(Duration::from_secs(5)))?;
    let to = server.local_addr()?;
    thread::spawn(move || -> std::io::Result<()> {
        let mut byte = [0];
        loop {
            let (_, from) = server.recv_from(&mut byte)?;
            server.send_to(&byte, from)?;
        }
    });
    let mut byte = [7];
    repeat(limit, |_| {
        client.send_to(&byte, to)?;
        client.recv_from(&mut byte).map(drop)
    })
}

/// Counts bytes.
fn bulk(limit: Duration) -> Done {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let mut server = listener.accept()?.0;
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let writer = thread::spawn(move || {
        let chunk = vec![7; CHUNK];
        while !stopped.load(Relaxed) && client.write_all(&chunk).is_ok() {}
    });
    let mut buffer = vec![0; CHUNK];
    let (begin, mut bytes) = (Instant::now(), 0);
    while begin.elapsed() < limit {
        bytes += server.read(&mut buffer)? as u64;
    }
    let took = begin.elapsed();
    stop.store(true, Relaxed);
    drop(server);
    let _ = writer.join();
    Ok((bytes, took))
}

/// Flows for nearly nothing: a datagram to each address is one. Ports that nobody listens on answer with an error that
/// an unconnected socket does not see.
fn send_to_peers(peers: u32) -> std::io::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    loop {
        for peer in 0..peers {
            let address = Ipv4Addr::from_bits(0x7f00_0001 + peer / 50_000 * 256);
            socket.send_to(b"x", SocketAddrV4::new(address, 10_000 + (peer % 50_000) as u16))?;
        }
        println!("{peers}");
        if std::io::stdin().read_line(&mut String::new())? == 0 {
            return Ok(());
        }
    }
}
