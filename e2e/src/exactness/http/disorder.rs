//! Connections over a link that loses, repeats and reorders packets.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use fastrand::Rng;

use super::{
    Case,
    dialogue::{HOST, response},
    known::{Connection, Known, Played},
    link::{self, Faults},
};
use crate::exactness::error::{CaseError, Done};

/// Number of connections at a time, number of requests on each, and kind of their bodies.
#[derive(Clone, Copy)]
struct Plan {
    connections: usize,
    requests: usize,
    bodies: Bodies,
}

/// The distribution of body lengths.
#[derive(Clone, Copy)]
enum Bodies {
    /// Mostly few bytes, and sometimes many packets.
    Mixed,
    /// Many bytes, so that TCP's windows grow, and many packets pass before a lost one is sent again.
    Large,
}

const MIXED: Plan = Plan { connections: 12, requests: 30, bodies: Bodies::Mixed };
const LARGE: Plan = Plan { connections: 2, requests: 6, bodies: Bodies::Large };
/// Timeout of a call. It is long, since TCP doubles the pause before each retransmission of the same packet.
const LIMIT: Duration = Duration::from_secs(60);

pub(super) fn cases() -> Vec<Case> {
    let kinds = [
        ("nothing", MIXED, Faults::default()),
        ("repeated", MIXED, Faults { repeats: 4, ..Faults::default() }),
        ("reordered", MIXED, Faults { delays: 6, ..Faults::default() }),
        ("lost", MIXED, Faults { loses: 40, ..Faults::default() }),
        ("everything", MIXED, Faults { loses: 60, repeats: 8, delays: 8 }),
        ("large-bodies", LARGE, Faults { loses: 400, delays: 200, ..Faults::default() }),
    ];
    let case = |(name, plan, faults)| Case {
        name: format!("disorder/{name}"),
        run: Box::new(move |seed| disordered(plan, faults, seed)),
    };
    kinds.into_iter().map(case).collect()
}

fn disordered(plan: Plan, faults: Faults, seed: u64) -> Done<Played> {
    let client = |at| on_each(plan, |number| ask(at, plan, number, seed.wrapping_add(number as u64)));
    let server = |listener: TcpListener| on_each(plan, |_| serve(listener.accept()?.0)).map(drop);
    let (connections, (), passed) = link::between(faults, seed, client, server)?;
    let note = format!(
        "{} packets, {} lost, {} repeated, {} delayed",
        passed.packets, passed.lost, passed.repeated, passed.delayed
    );
    let disordered = faults.loses + faults.delays > 0;
    Ok(Played { connections, disordered, note: Some(note), ..Played::default() })
}

/// Runs a function for all connections at the same time.
fn on_each<T: Send>(plan: Plan, work: impl Fn(usize) -> Done<T> + Sync) -> Done<Vec<T>> {
    thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..plan.connections).map(|number| scope.spawn(move || work(number))).collect();
        let ended = threads.into_iter().map(|thread| {
            thread.join().map_err(|_| CaseError::unexpected("a connection's thread panicked"))?
        });
        ended.collect()
    })
}

impl Bodies {
    fn length(self, rng: &mut Rng) -> usize {
        match self {
            Self::Mixed if rng.u8(..4) == 0 => rng.usize(..40_000),
            Self::Mixed => rng.usize(..800),
            Self::Large => rng.usize(900_000..1_100_000),
        }
    }
}

/// Plays the client: every third connection with small bodies sends up to three requests before it reads an answer.
fn ask(at: SocketAddr, plan: Plan, number: usize, seed: u64) -> Done<Connection> {
    let mut rng = Rng::with_seed(seed);
    let stream = TcpStream::connect(at)?;
    set_up(&stream)?;
    // Large bodies fill the buffers of both directions: a client that writes several requests without reading can block
    // forever.
    let waits = matches!(plan.bodies, Bodies::Mixed) && number.is_multiple_of(3);
    let depth = if waits { 3 } else { 1 };
    let (mut writer, mut reader) = (&stream, BufReader::new(&stream));
    let mut exchanges = Vec::new();
    while exchanges.len() < plan.requests {
        for _ in 0..depth {
            let (up, down) = (plan.bodies.length(&mut rng), plan.bodies.length(&mut rng));
            let path = format!("/{number}/{}/{down}", exchanges.len());
            let request = format!(
                "PUT {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {up}\r\n\r\n{}",
                "u".repeat(up)
            );
            writer.write_all(request.as_bytes())?;
            let answer = response(200, down).len() as u64;
            let asked = Known::asked("PUT", HOST, &path, request.len() as u64);
            exchanges.push(Known { status: Some(200), response_bytes: Some(answer), ..asked });
        }
        for known in &exchanges[exchanges.len() - depth..] {
            let length =
                known.response_bytes.and_then(|length| usize::try_from(length).ok()).unwrap_or_default();
            reader.read_exact(&mut vec![0; length])?;
        }
    }
    let ends = (stream.local_addr()?, at);
    Ok(Connection { ends, exchanges, unobserved: std::collections::BTreeMap::new() })
}

/// Plays the server: answers until the client closes.
fn serve(stream: TcpStream) -> Done {
    set_up(&stream)?;
    let (mut writer, mut reader) = (&stream, BufReader::new(&stream));
    loop {
        let (mut up, mut down) = (0, 0);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let number = |text: Option<&str>| text.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
            if line.starts_with("PUT ") {
                down = number(line.split(' ').nth(1).and_then(|path| path.rsplit('/').next()));
            } else if let Some(length) = line.strip_prefix("Content-Length: ") {
                up = number(Some(length));
            } else if line == "\r\n" {
                break;
            }
        }
        reader.read_exact(&mut vec![0; up])?;
        writer.write_all(response(200, down).as_bytes())?;
    }
}

fn set_up(stream: &TcpStream) -> Done {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(LIMIT))?;
    Ok(stream.set_write_timeout(Some(LIMIT))?)
}
