//! The connections whose bytes come, and to whom their exchanges belong.

use std::{
    collections::VecDeque,
    net::IpAddr,
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use hashbrown::HashMap;
use traffictrace_ebpf::layout::{
    Slot,
    http::{
        self as layout, BEGIN, EARLY, FIN, JOINED, LOST_BEFORE, Pause, RAW, RECEIVES, RESET, SENDS, SENT,
        STARTS,
    },
};
use traffictrace_http::{Beginning, Connection, Exchange, Language, Piece, Reason, Side, Sink, Way};

use super::{HttpExchange, HttpLedger, HttpOwner};
use crate::{
    engine::session::Session,
    kernel::{Folders, Tracer},
};

/// Connections that are followed at once.
const MOST_CONNECTIONS: usize = 131_072;
/// Memory of all parsers beside their own size.
const MOST_MEMORY: usize = 64 << 20;
/// Packets of connections that are not accepted yet, kept for their acceptance.
const MOST_EARLY: usize = 1024;
/// Time between two looks for connections that ended unseen.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);
/// A connection without packets for so long is looked up in the flow table: its end may have been lost.
const IDLE_NANOSECONDS: u64 = 30_000_000_000;
/// Time that packets out of order have after both ways of a connection have ended.
const LINGER_NANOSECONDS: u64 = 1_000_000_000;

/// The ends of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ends {
    local: (IpAddr, u16),
    remote: (IpAddr, u16),
}

#[derive(Debug)]
struct Followed {
    connection: Connection,
    ends: Ends,
    cgroup: u64,
    /// Ways that have ended.
    ended: [bool; 2],
    /// The kernel hands everything over of a way, since it has lost its place.
    is_raw: bool,
    /// As of the last record.
    memory: usize,
}

/// A packet that came before its connection was accepted.
#[derive(Debug)]
struct Early {
    ends: Ends,
    time: u64,
    sequence: u32,
    bytes: Vec<u8>,
}

/// All connections whose bytes come.
#[derive(Debug)]
pub(super) struct Connections {
    followed: HashMap<u64, Followed>,
    early: VecDeque<Early>,
    memory: usize,
    swept: Instant,
    /// Time of the newest record.
    now: u64,
    /// Cookies of sockets that turned out to speak no HTTP.
    ignored: Vec<u64>,
    /// Where connections pause whose place the kernel has lost, by cookie.
    pauses: HashMap<u64, Pause>,
}

impl Default for Connections {
    fn default() -> Self {
        Self {
            followed: HashMap::new(),
            early: VecDeque::new(),
            memory: 0,
            swept: Instant::now(),
            now: 0,
            ignored: Vec::new(),
            pauses: HashMap::new(),
        }
    }
}

impl Connections {
    /// Takes a record of the kernel.
    pub(super) fn take(
        &mut self,
        record: &layout::Record<'_>,
        tracer: &Tracer,
        folders: &Folders<'_>,
        sessions: &mut [&mut Session],
    ) {
        self.now = self.now.max(record.time);
        if let Some(connection) = &record.connection {
            let ends = Ends { local: connection.local, remote: connection.remote };
            if record.flags & EARLY != 0 {
                self.keep_early(ends, record);
            } else if record.flags & BEGIN != 0 {
                self.begin(record, connection, ends, tracer, folders, sessions);
            }
            return;
        }
        // A connection that is not followed was refused, is not HTTP, or has ended.
        let Some(followed) = self.followed.get_mut(&record.cookie) else { return };
        let way = if record.flags & SENT != 0 { Way::Sent } else { Way::Received };
        let mut sink = Booking::new(record.cookie, followed.cgroup, followed.ends, tracer, folders, sessions);
        if record.flags & RESET != 0 {
            followed.connection.close(record.time, record.flags & LOST_BEFORE != 0, &mut sink);
            return self.remove(record.cookie);
        }
        if record.flags & FIN != 0 {
            followed.connection.fin(way, record.sequence, record.time, &mut sink);
            followed.ended[way.index()] = true;
        } else if record.length > 0 || !record.bytes.is_empty() {
            followed.connection.piece(&piece(way, record), &mut sink);
        }
        followed.is_raw |= record.flags & RAW != 0;
        if followed.is_raw
            && let Some(pause) = followed.connection.pause()
        {
            // Once, unless it does not help: then the next record says so.
            followed.is_raw = false;
            self.pauses.insert(record.cookie, pause);
        }
        let memory = followed.connection.memory();
        self.memory = self.memory + memory - std::mem::replace(&mut followed.memory, memory);
        let ended = followed.ended == [true; 2] && memory == 0;
        // Nothing of the connection is of interest any more.
        let is_over = matches!(followed.connection.language(), Language::Other | Language::Left);
        if ended || is_over || self.memory > MOST_MEMORY {
            followed.connection.close(record.time, !ended, &mut sink);
            self.remove(record.cookie);
            if !ended {
                self.ignored.push(record.cookie);
            }
        }
    }

    /// Takes where connections pause whose place the kernel has lost.
    pub(super) fn take_pauses(&mut self) -> HashMap<u64, Pause> {
        std::mem::take(&mut self.pauses)
    }

    /// Takes the cookies of sockets of which nothing more is wanted.
    pub(super) fn take_ignored(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.ignored)
    }

    fn begin(
        &mut self,
        record: &layout::Record<'_>,
        of: &layout::Connection,
        ends: Ends,
        tracer: &Tracer,
        folders: &Folders<'_>,
        sessions: &mut [&mut Session],
    ) {
        let early = self.take_early(ends);
        let knows_sent = record.flags & SENDS != 0;
        let first_early = early.first().map(|early| early.sequence);
        let beginning = Beginning {
            joined: record.flags & JOINED != 0 && (first_early.is_none() || !knows_sent),
            first: [
                (record.flags & RECEIVES != 0).then_some(of.first_received).or(first_early),
                knows_sent.then_some(of.first_sent),
            ],
        };
        let mut sink = Booking::new(record.cookie, of.cgroup, ends, tracer, folders, sessions);
        if self.followed.len() >= MOST_CONNECTIONS {
            return sink.miss_connection();
        }
        let mut connection = Connection::begin(beginning);
        for Early { time, sequence, bytes, .. } in early {
            let length = bytes.len() as u32;
            let (way, lost_before) = (Way::Received, false);
            let piece = Piece { way, time, sequence, length, bytes: &bytes, starts: true, lost_before };
            connection.piece(&piece, &mut sink);
        }
        let memory = connection.memory();
        self.memory += memory;
        let followed =
            Followed { connection, ends, cgroup: of.cgroup, ended: [false; 2], is_raw: false, memory };
        if let Some(before) = self.followed.insert(record.cookie, followed) {
            self.memory -= before.memory;
        }
    }

    /// Ends connections whose end was seen or must have been missed. Call it now and then.
    pub(super) fn sweep(&mut self, tracer: &Tracer, folders: &Folders<'_>, sessions: &mut [&mut Session]) {
        if self.swept.elapsed() < SWEEP_INTERVAL {
            return;
        }
        self.swept = Instant::now();
        let Self { followed, memory, now, .. } = self;
        followed.retain(|cookie, followed| {
            let idle = now.saturating_sub(followed.connection.idle_since());
            let ended = followed.ended == [true; 2];
            let keep = if ended {
                idle < LINGER_NANOSECONDS
            } else {
                idle < IDLE_NANOSECONDS || tracer.main_slot(*cookie).is_some()
            };
            if !keep {
                let mut sink =
                    Booking::new(*cookie, followed.cgroup, followed.ends, tracer, folders, sessions);
                followed.connection.close(followed.connection.idle_since(), !ended, &mut sink);
                *memory -= followed.memory;
            }
            keep
        });
    }

    /// Number of exchanges that are under way on connections that a session counts.
    pub(super) fn under_way(&self, tracer: &Tracer, folders: &Folders<'_>, session: &mut Session) -> u64 {
        let mut sum = 0;
        for (cookie, followed) in &self.followed {
            let count = followed.connection.under_way() as u64;
            if count > 0 {
                let sessions = &mut [&mut *session];
                let mut booking =
                    Booking::new(*cookie, followed.cgroup, followed.ends, tracer, folders, sessions);
                booking.each_session(booking.slot(), |_, _| sum += count);
            }
        }
        sum
    }

    fn remove(&mut self, cookie: u64) {
        if let Some(followed) = self.followed.remove(&cookie) {
            self.memory -= followed.memory;
        }
    }

    fn keep_early(&mut self, ends: Ends, record: &layout::Record<'_>) {
        if self.early.len() >= MOST_EARLY {
            self.early.pop_front();
        }
        let bytes = record.bytes.to_vec();
        self.early.push_back(Early { ends, time: record.time, sequence: record.sequence, bytes });
    }

    fn take_early(&mut self, ends: Ends) -> Vec<Early> {
        if self.early.is_empty() {
            return Vec::new();
        }
        let (taken, kept) = std::mem::take(&mut self.early).into_iter().partition(|early| early.ends == ends);
        self.early = kept;
        taken.into()
    }
}

fn piece<'a>(way: Way, record: &layout::Record<'a>) -> Piece<'a> {
    Piece {
        way,
        time: record.time,
        sequence: record.sequence,
        length: record.length,
        bytes: record.bytes,
        starts: record.flags & STARTS != 0,
        lost_before: record.flags & LOST_BEFORE != 0,
    }
}

/// Books what a connection reports, to the sessions that count its flow.
struct Booking<'a, 'b> {
    cookie: u64,
    cgroup: u64,
    ends: Ends,
    tracer: &'a Tracer,
    folders: &'a Folders<'a>,
    sessions: &'a mut [&'b mut Session],
}

impl<'a, 'b> Booking<'a, 'b> {
    fn new(
        cookie: u64,
        cgroup: u64,
        ends: Ends,
        tracer: &'a Tracer,
        folders: &'a Folders<'a>,
        sessions: &'a mut [&'b mut Session],
    ) -> Self {
        Self { cookie, cgroup, ends, tracer, folders, sessions }
    }

    fn miss_connection(&mut self) {
        self.each_session(self.slot(), |http, _| http.miss_connection());
    }

    /// The connection's slot in the flow table.
    fn slot(&self) -> Option<&'a Slot> {
        self.tracer.main_slot(self.cookie)
    }

    /// Calls `book` with the requests of each session that counts the connection's flow, which has this slot, and the
    /// container that the session books it to. A session whose filter takes every TCP flow counts one without a slot by its
    /// cgroups.
    fn each_session(&mut self, slot: Option<&Slot>, mut book: impl FnMut(&mut HttpLedger, u64)) {
        let wanted = slot.map(|slot| slot.sessions.load(Relaxed));
        let parent_of = |id| self.folders.parent(id);
        for session in self.sessions.iter_mut() {
            let counts = match wanted {
                Some(sessions) => session.is_in(sessions),
                None => !session.spec.needs_slot() && session.spec.selects(self.cgroup, parent_of),
            };
            let Session { http: Some(http), containers, spec, .. } = &mut **session else { continue };
            if counts {
                book(http, containers.of(self.cgroup, spec, &parent_of));
            }
        }
    }

    /// Notes exchanges of a connection without a slot with the sessions that could tell by it whether they want them.
    fn miss_slot(&mut self, count: u64) {
        for session in self.sessions.iter_mut().filter(|session| session.spec.needs_slot()) {
            if let Some(http) = &mut session.http {
                http.miss_slot(self.cgroup, count);
            }
        }
    }
}

impl Sink for Booking<'_, '_> {
    fn exchange(&mut self, exchange: Exchange) {
        let slot = self.slot();
        if slot.is_none() {
            self.miss_slot(1);
        }
        let (pid, container_pid, command) =
            slot.map_or((0, 0, [0; 16]), |slot| (slot.pid(), slot.ns_tgid.load(Relaxed), slot.comm.load()));
        let Ends { local, remote } = self.ends;
        self.each_session(slot, |http, cgroup| {
            let owner = HttpOwner { cgroup, command };
            let exchange = exchange.clone();
            http.record(HttpExchange { owner, pid, container_pid, local, remote, exchange });
        });
    }

    fn unobserved(&mut self, _side: Side, reason: Reason, count: u64) {
        let slot = self.slot();
        if slot.is_none() {
            self.miss_slot(count);
        }
        self.each_session(slot, |http, _| http.unobserved(reason, count));
    }
}
