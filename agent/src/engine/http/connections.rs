//! The connections whose packets the kernel hands over.

mod beside_tls;

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use hashbrown::HashMap;
use rustix::time::{ClockId, clock_gettime};
use traffictrace_ebpf::layout::http::{
    self as layout, BEGIN, EARLY, FIN, JOINED, LOST_BEFORE, Pause, RAW, RECEIVES, RESET, SENDS, SENT, STARTS,
    TLS,
};
use traffictrace_http::{Beginning, Connection, Language, Piece, Start, Way, begins_message};

use super::{
    booking::{Booking, Books, Ends},
    plain::{self, Skip, Waiting},
};

/// Maximum number of connections that are followed at once.
const MOST_CONNECTIONS: usize = 131_072;
/// Maximum memory of all parsers beyond their own size, in bytes.
const MOST_MEMORY: usize = 64 << 20;
/// Memory in bytes that a parser may always keep. If all parsers hold more than [`MOST_MEMORY`], a connection whose
/// parser holds more than this is given up.
const SHARE: usize = 1 << 10;
/// Maximum number of packets that are kept for connections that are not accepted yet.
const MOST_EARLY: usize = 1024;
/// Maximum number of cgroups for which [`Connections::early_given_up`] counts.
const MOST_CGROUPS: usize = 4096;
/// Interval between searches for connections whose end was not seen.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);
/// A connection without packets for this time is ended if it has no slot in the flow table: the record of its end was
/// lost.
const IDLE_NANOSECONDS: u64 = 30_000_000_000;
/// Time for which packets may still arrive out of order after both directions of a connection have ended.
const LINGER_NANOSECONDS: u64 = 1_000_000_000;

/// A connection whose exchanges are parsed.
#[derive(Debug)]
pub(super) struct Followed {
    connection: Connection,
    ends: Ends,
    cgroup: u64,
    /// Time when the connection began, if its first bytes were seen.
    began: Option<u64>,
    /// Time of the newest record of the connection's packets.
    last: u64,
    /// Set for each direction that has ended.
    ended: [bool; 2],
    /// Set while the kernel hands over every byte of a direction, because it lost its position there.
    is_raw: bool,
    /// Memory of the parser at the last record, in bytes.
    memory: usize,
    /// State of TLS, if the connection uses it. The parser then reads the plain text.
    tls: Option<Box<plain::Tls>>,
}

/// A packet that arrived before its connection was accepted.
#[derive(Debug)]
struct Early {
    ends: Ends,
    cgroup: u64,
    time: u64,
    sequence: u32,
    bytes: Vec<u8>,
}

/// All connections that are followed.
#[derive(Debug)]
pub(super) struct Connections {
    followed: HashMap<u64, Followed>,
    early: VecDeque<Early>,
    /// Number of early packets for which there was no room, by cgroup.
    early_given_up: HashMap<u64, u64>,
    memory: usize,
    swept: Instant,
    /// Cookies of sockets whose connections are not HTTP or are given up, until [`Connections::take_ignored`].
    ignored: Vec<u64>,
    /// Plain text whose connection is not known yet.
    waiting: Waiting,
    /// Cookies of sockets that use TLS and whose process is not known yet.
    strangers: Vec<u64>,
    /// Cookies of TLS sockets with a direction that ended: after the last call of [`Connections::end_tls`], and before
    /// that call.
    ending: [Vec<u64>; 2],
    /// Parts of plain text that the kernel need not copy, by cookie.
    skips: Vec<(u64, Skip)>,
    /// Numbers of plain-text records lost by the last sweep but one, and by the last sweep. A connection whose first
    /// record is read now may have begun before the last sweep, so its losses count from the first number on.
    texts_lost: [u64; 2],
    /// Positions at which messages begin again, for connections where the kernel lost its position, by cookie.
    pauses: HashMap<u64, Pause>,
}

impl Default for Connections {
    fn default() -> Self {
        Self {
            followed: HashMap::new(),
            early: VecDeque::new(),
            early_given_up: HashMap::new(),
            memory: 0,
            swept: Instant::now(),
            ignored: Vec::new(),
            pauses: HashMap::new(),
            waiting: Waiting::default(),
            strangers: Vec::new(),
            ending: Default::default(),
            skips: Vec::new(),
            texts_lost: [0; 2],
        }
    }
}

impl Followed {
    /// Returns the sink for the connection's exchanges. The sink borrows nothing of the connection, so that the parser
    /// can be used beside it.
    fn booking<'c, 'a, 'b>(&self, cookie: u64, books: &'c mut Books<'a, 'b>) -> Booking<'c, 'a, 'b> {
        Booking { cookie, cgroup: self.cgroup, ends: self.ends, tls: self.tls.is_some(), books }
    }

    /// Ends the connection with the bytes that have arrived. `lost` is set if bytes of it may be missing. `texts_lost`
    /// is the number of plain-text records lost so far, of all connections.
    fn close(&mut self, cookie: u64, lost: bool, texts_lost: u64, books: &mut Books<'_, '_>) {
        let mut sink = self.booking(cookie, books);
        let Some(tls) = &self.tls else {
            return self.connection.close(self.connection.idle_since(), lost, &mut sink);
        };
        let is_unread = tls.is_unread(&self.connection);
        tls.end(&mut self.connection, texts_lost, &mut sink);
        sink.tls = false;
        if is_unread && tls.pid != 0 {
            sink.is_unread(tls.pid);
        }
    }
}

impl Connections {
    /// Processes a record of packets.
    pub(super) fn take(&mut self, record: &layout::Record<'_>, books: &mut Books<'_, '_>) {
        if let Some(connection) = &record.connection {
            let ends = Ends { local: connection.local, remote: connection.remote };
            if record.flags & EARLY != 0 {
                self.keep_early(ends, connection.cgroup, record);
            } else if record.flags & BEGIN != 0 {
                self.begin(record, connection, ends, books);
            }
            return;
        }
        // A connection without an entry was refused for lack of room, is not HTTP, or has ended.
        let Some(followed) = self.followed.get_mut(&record.cookie) else { return };
        followed.last = record.time;
        if record.flags & TLS != 0 {
            return self.begin_tls(record.cookie);
        }
        let way = if record.flags & SENT != 0 { Way::Sent } else { Way::Received };
        if followed.tls.is_some() {
            return self.note_end(record, way);
        }
        let mut sink = followed.booking(record.cookie, books);
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
            // The position is sent once. If the programs could not use it, the next record has the flag RAW again.
            followed.is_raw = false;
            self.pauses.insert(record.cookie, pause);
        }
        let memory = followed.connection.memory();
        self.memory = self.memory + memory - std::mem::replace(&mut followed.memory, memory);
        let ended = followed.ended == [true; 2] && memory == 0;
        // The connection is not HTTP, or is HTTP no more.
        let has_left = followed.connection.language() == Language::Left;
        let is_over = has_left || followed.connection.language() == Language::Other;
        let is_too_much = self.memory > MOST_MEMORY && memory > SHARE;
        if ended || is_over || is_too_much {
            followed.connection.close(record.time, !ended, &mut sink);
            self.remove(record.cookie);
            // The kernel notices by itself when a connection leaves HTTP, so only other connections are ignored here.
            if !ended && !has_left {
                self.ignored.push(record.cookie);
            }
        }
    }

    /// Returns the positions at which messages begin again, for connections where the kernel lost its position. Each is
    /// returned once.
    pub(super) fn take_pauses(&mut self) -> HashMap<u64, Pause> {
        std::mem::take(&mut self.pauses)
    }

    /// Returns the cookies of sockets whose packets are no longer wanted. Each is returned once.
    pub(super) fn take_ignored(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.ignored)
    }

    /// Begins to follow a connection, with the packets that came before it was accepted.
    fn begin(
        &mut self,
        record: &layout::Record<'_>,
        of: &layout::Connection,
        ends: Ends,
        books: &mut Books<'_, '_>,
    ) {
        let knows = |flag| record.flags & flag != 0;
        let mut early = self.take_early(ends);
        early.sort_by_key(|early| early.sequence.wrapping_sub(of.first_received));
        let has_first = early.first().is_some_and(|early| early.sequence == of.first_received);
        // If its socket had sent nothing when a connection was joined, only received bytes are missing: those that came
        // before the connection was accepted. With the first of these packets, both directions are known from the
        // beginning.
        let start = match (knows(JOINED), knows(SENDS)) {
            (false, _) => Start::Whole,
            (true, true) if has_first => Start::Whole,
            (true, true) => Start::Unanswered,
            (true, false) => Start::Joined,
        };
        let knows_received = start == Start::Whole && knows(RECEIVES);
        let beginning = Beginning {
            start,
            first: [knows_received.then_some(of.first_received), knows(SENDS).then_some(of.first_sent)],
        };
        let mut sink = Booking { cookie: record.cookie, cgroup: of.cgroup, ends, tls: false, books };
        if self.followed.len() >= MOST_CONNECTIONS {
            return sink.miss_connection();
        }
        let mut connection = Connection::begin(beginning);
        for Early { time, sequence, bytes, .. } in early {
            let length = bytes.len() as u32;
            let (way, lost_before) = (Way::Received, false);
            let starts = sequence == of.first_received || !knows_received && begins_message(&bytes);
            let piece = Piece { way, time, sequence, length, bytes: &bytes, starts, lost_before };
            connection.piece(&piece, &mut sink);
        }
        let memory = connection.memory();
        self.memory += memory;
        let followed = Followed {
            connection,
            ends,
            cgroup: of.cgroup,
            began: (start == Start::Whole).then_some(record.time),
            last: record.time,
            ended: [false; 2],
            is_raw: false,
            memory,
            tls: None,
        };
        if let Some(before) = self.followed.insert(record.cookie, followed) {
            self.memory -= before.memory;
        }
    }

    /// Ends connections whose end was seen or must have been missed, and finds the processes that use TLS. Call this
    /// after all waiting records were read. `texts_lost` is the number of plain-text records lost by now. Returns the
    /// processes that were found to use TLS.
    pub(super) fn sweep(
        &mut self,
        books: &mut Books<'_, '_>,
        probed: &dyn Fn(u32) -> Option<u64>,
        texts_lost: u64,
    ) -> Vec<u32> {
        self.texts_lost = [self.texts_lost[1], texts_lost];
        self.feed_waiting(books, probed);
        let speakers = self.find_speakers(books);
        self.end_tls(books);
        if self.swept.elapsed() < SWEEP_INTERVAL {
            return speakers;
        }
        self.swept = Instant::now();
        let Self { followed, memory, .. } = self;
        let now = now();
        followed.retain(|cookie, followed| {
            let idle = now.saturating_sub(followed.last.max(followed.connection.idle_since()));
            let ended = followed.ended == [true; 2];
            let keep = if ended {
                idle < LINGER_NANOSECONDS
            } else {
                idle < IDLE_NANOSECONDS || books.tracer.main_slot(*cookie).is_some()
            };
            if !keep {
                followed.close(*cookie, !ended, texts_lost, books);
                *memory -= followed.memory;
            }
            keep
        });
        self.waiting.sweep(now);
        speakers
    }

    /// Number of exchanges under way on connections that any of the sessions in `books` counts.
    pub(super) fn under_way(&self, books: &mut Books<'_, '_>) -> u64 {
        let mut sum = 0;
        for (cookie, followed) in &self.followed {
            let count = followed.connection.under_way() as u64;
            if count > 0 && followed.booking(*cookie, books).is_counted() {
                sum += count;
            }
        }
        sum
    }

    fn remove(&mut self, cookie: u64) {
        if let Some(followed) = self.followed.remove(&cookie) {
            self.memory -= followed.memory;
        }
    }

    /// Number of packets that were given up before their connection was accepted, by cgroup of the listening socket.
    pub(super) fn early_given_up(&self) -> impl Iterator<Item = (u64, u64)> {
        self.early_given_up.iter().map(|(cgroup, packets)| (*cgroup, *packets))
    }

    fn keep_early(&mut self, ends: Ends, cgroup: u64, record: &layout::Record<'_>) {
        if self.early.len() >= MOST_EARLY
            && let Some(Early { cgroup, .. }) = self.early.pop_front()
            && (self.early_given_up.len() < MOST_CGROUPS || self.early_given_up.contains_key(&cgroup))
        {
            *self.early_given_up.entry(cgroup).or_default() += 1;
        }
        let bytes = record.bytes.to_vec();
        self.early.push_back(Early { ends, cgroup, time: record.time, sequence: record.sequence, bytes });
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

/// Returns the monotonic clock in nanoseconds.
pub(super) fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let nanoseconds = Duration::new(now.tv_sec.try_into().unwrap_or(0), now.tv_nsec.try_into().unwrap_or(0));
    nanoseconds.as_nanos().try_into().unwrap_or(u64::MAX)
}
