//! Plain text beside TLS: what is known of a connection that speaks TLS, and the pieces whose connection is not known yet.
//!
//! The records of packets and those of plain text come through two ring buffers, so either can be ahead of the other: plain
//! text waits until its socket has been seen to speak TLS, and the end of a socket is taken when what was read before it
//! has come.

use std::collections::{HashMap, HashSet};

use traffictrace_ebpf::layout::{
    http::{LOST_BEFORE, Record, SENT},
    tls::{ENDLESS, Origin},
};
use traffictrace_http::{Connection, Language, Piece, Sink, Way, begins_message};

/// Bytes that wait for their connection, of all channels.
const MOST_BYTES: usize = 4 << 20;
/// Pieces that wait for their connection, of all channels.
const MOST_PIECES: usize = 16_384;
/// Processes of which it is counted what was given up.
const MOST_PROCESSES: usize = 16_384;
/// Channels that are remembered as given up.
const MOST_GIVEN_UP: usize = 4096;
/// Part of the room that is made when there is none: one in so many.
const FREED_PART: usize = 4;
/// Time for which they wait, in nanoseconds.
const LONGEST_WAIT: u64 = 10_000_000_000;
/// Length of the rest of a body from which the kernel is told to skip it.
const LONG_BODY: u64 = 8 << 10;
/// Difference of two counts from which one is taken to lie behind the other.
const NEAR: u32 = 1 << 31;
/// Size of a waiting piece beside its bytes, about.
const PIECE_SIZE: usize = size_of::<Text>();

/// A piece of plain text.
#[derive(Debug, Clone)]
pub(super) struct Text {
    pub(super) way: Way,
    time: u64,
    sequence: u32,
    length: u32,
    bytes: Vec<u8>,
    lost_before: bool,
}

impl Text {
    pub(super) fn of(record: &Record<'_>) -> Self {
        Self {
            way: if record.flags & SENT != 0 { Way::Sent } else { Way::Received },
            time: record.time,
            sequence: record.sequence,
            length: record.length,
            bytes: record.bytes.to_vec(),
            lost_before: record.flags & LOST_BEFORE != 0,
        }
    }
}

/// What is known of a connection that speaks TLS.
#[derive(Debug, Default)]
pub(super) struct Tls {
    /// Its process; 0 while it is not known.
    pub(super) pid: u32,
    /// The library's connection.
    channel: Option<Origin>,
    /// Two of the library's connections claimed the socket.
    disputed: bool,
    /// Bytes that have passed, by way.
    passed: [u64; 2],
    /// Up to where the kernel was told to skip.
    skipped: [u64; 2],
    /// Number of records of plain text that had been lost, of all connections, when it began.
    lost_before: u64,
    /// The probes are younger than the connection.
    joined: bool,
    /// While no message is known to begin.
    joining: Option<Joining>,
}

/// What has been seen of a connection that is older than the probes.
#[derive(Debug, Default)]
struct Joining {
    has_received: bool,
}

/// Bytes that the kernel need not copy: the way, and the count of bytes up to which.
pub(super) type Skip = (Way, u64);

impl Tls {
    /// Nothing has come yet. `lost`: number of records of plain text that had been lost by then.
    pub(super) fn begin(lost: u64) -> Self {
        Self { lost_before: lost, ..Self::default() }
    }

    /// Whether plain text has come.
    pub(super) fn is_read(&self) -> bool {
        self.channel.is_some() && !self.disputed
    }

    /// Whether this is the channel's connection. The first one has it; a second one means that a socket was taken for
    /// another's, and then neither is believed.
    pub(super) fn belongs_to(&mut self, channel: Origin) -> bool {
        self.disputed |= *self.channel.get_or_insert(channel) != channel;
        !self.disputed
    }

    /// Text of before may not have been seen: the probes are younger than the connection.
    pub(super) fn join(&mut self) {
        self.joined = true;
        self.joining = Some(Joining::default());
    }

    /// Whether text is to be left out, because no message is known to begin there.
    ///
    /// A read that was under way when the probes came is not seen. If it is a client's, the response to the first request
    /// that is seen is lost with it, without a trace: a request that is sent counts only when a read has been seen before.
    pub(super) fn passes_over(&mut self, text: &Text) -> bool {
        let Some(joining) = &mut self.joining else { return false };
        let is_answer = text.bytes.starts_with(b"HTTP/1.");
        // Nothing was sent before it, so no read can have been under way that matters.
        let is_preface = text.bytes.starts_with(b"PRI * HTTP/2.0");
        let is_sure = text.way == Way::Received || is_answer || is_preface || joining.has_received;
        joining.has_received |= text.way == Way::Received;
        // A body can have words that would do for the beginning of a line.
        let line = text.bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let is_frame = line.first().is_some_and(|byte| !byte.is_ascii_graphic());
        let is_head =
            is_answer || is_preface || line.windows(b" HTTP/1.".len()).any(|part| part == b" HTTP/1.");
        if is_sure && (is_frame || is_head) && begins_message(&text.bytes) {
            self.joining = None;
        }
        self.joining.is_some()
    }

    /// Whether plain text has come of which nothing could be made.
    pub(super) fn is_unread(&self, connection: &Connection) -> bool {
        !self.is_read() || self.joining.is_some() || (self.joined && connection.language() == Language::Other)
    }

    /// Feeds plain text; returns what need not come of what follows.
    pub(super) fn feed(
        &mut self,
        connection: &mut Connection,
        text: &Text,
        sink: &mut dyn Sink,
    ) -> Option<Skip> {
        let Text { way, time, sequence, length, ref bytes, lost_before } = *text;
        let starts = begins_message(bytes);
        connection.piece(&Piece { way, time, sequence, length, bytes, starts, lost_before }, sink);
        let (passed, skipped) = (&mut self.passed[way.index()], &mut self.skipped[way.index()]);
        *passed = end_of(sequence.wrapping_add(length), *passed, *skipped);
        let rest = connection.skippable(way);
        let until = match connection.language() {
            Language::Other | Language::Left => u64::MAX,
            // Up to the end of the connection, whose bytes are counted.
            _ => passed.saturating_add(rest).min(ENDLESS),
        };
        (until - *passed >= LONG_BODY && *skipped != until).then(|| {
            *skipped = until;
            (way, until)
        })
    }

    /// Whether its last pieces may be missing: a refused record is told by the next one of its way alone, and after the last
    /// one there is none. `lost`: number of records of plain text that have been lost by now.
    fn may_lack_its_end(&self, lost: u64) -> bool {
        lost != self.lost_before
    }

    /// Ends a way where it is. `lost`: number of records of plain text that have been lost by now.
    pub(super) fn end_way(&self, way: Way, connection: &mut Connection, lost: u64, sink: &mut dyn Sink) {
        if self.is_read() && !self.may_lack_its_end(lost) {
            connection.fin(way, low(self.passed[way.index()]), connection.idle_since(), sink);
        }
    }

    /// Ends both ways where they are; `lost` as of [`Tls::end_way`].
    pub(super) fn end(&self, connection: &mut Connection, lost: u64, sink: &mut dyn Sink) {
        for way in Way::BOTH {
            self.end_way(way, connection, lost, sink);
        }
        connection.close(connection.idle_since(), self.disputed || self.may_lack_its_end(lost), sink);
    }
}

/// Pieces of one channel.
#[derive(Debug)]
struct Channel {
    cookie: u64,
    since: u64,
    pieces: Vec<Text>,
    bytes: usize,
}

/// Pieces whose connection is not known yet, by channel.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    channels: HashMap<Origin, Channel>,
    /// Channel by the cookie of its socket, which has not been seen to speak TLS.
    sockets: HashMap<u64, Origin>,
    bytes: usize,
    pieces: usize,
    /// Number of channels that were given up, by process.
    given_up: HashMap<u32, u64>,
    /// Those of them whose further pieces do not wait.
    dropped: HashSet<Origin>,
}

impl Waiting {
    /// Keeps a piece.
    pub(super) fn keep(&mut self, origin: Origin, cookie: u64, now: u64, text: Text) {
        if self.dropped.contains(&origin) {
            return;
        }
        let size = text.bytes.len() + PIECE_SIZE;
        if self.bytes + size > MOST_BYTES {
            self.make_room(MOST_BYTES, |waiting| waiting.bytes, |channel| channel.bytes);
        }
        if self.pieces >= MOST_PIECES {
            self.make_room(MOST_PIECES, |waiting| waiting.pieces, |channel| channel.pieces.len());
        }
        // The room can have been made at its own cost.
        if self.dropped.contains(&origin) {
            return;
        }
        let fresh = || Channel { cookie: 0, since: now, pieces: Vec::new(), bytes: 0 };
        let of = self.channels.entry(origin).or_insert_with(fresh);
        if cookie != 0 {
            of.cookie = cookie;
            self.sockets.insert(cookie, origin);
        }
        of.bytes += size;
        of.pieces.push(text);
        self.bytes += size;
        self.pieces += 1;
    }

    /// The pieces of a channel, in their order.
    pub(super) fn take(&mut self, origin: Origin) -> Vec<Text> {
        let Some(of) = self.channels.remove(&origin) else { return Vec::new() };
        self.sockets.remove(&of.cookie);
        self.bytes -= of.bytes;
        self.pieces -= of.pieces.len();
        of.pieces
    }

    /// The channel that waits for a socket to speak TLS.
    pub(super) fn channel_of(&self, cookie: u64) -> Option<Origin> {
        self.sockets.get(&cookie).copied()
    }

    /// Gives up what has waited for too long. `now` is in nanoseconds of the monotonic clock.
    pub(super) fn sweep(&mut self, now: u64) {
        let is_over = |channel: &Channel| now.saturating_sub(channel.since) > LONGEST_WAIT;
        let over: Vec<Origin> =
            self.channels.iter().filter(|(_, channel)| is_over(channel)).map(|(id, _)| *id).collect();
        for origin in over {
            self.give_up(origin);
        }
    }

    /// Gives up the channels with the most of what there is too much of, until a part of the room is free: the others go on
    /// waiting.
    fn make_room(&mut self, most: usize, used: impl Fn(&Self) -> usize, size: impl Fn(&Channel) -> usize) {
        let mut largest: Vec<(usize, Origin)> =
            self.channels.iter().map(|(id, channel)| (size(channel), *id)).collect();
        largest.sort_unstable_by_key(|(size, _)| std::cmp::Reverse(*size));
        for (_, origin) in largest {
            if used(self) <= most - most / FREED_PART {
                break;
            }
            self.give_up(origin);
        }
    }

    /// Gives up a channel, once.
    fn give_up(&mut self, origin: Origin) {
        if self.given_up.len() >= MOST_PROCESSES {
            self.given_up.clear();
        }
        *self.given_up.entry(origin.pid).or_default() += 1;
        if self.dropped.len() >= MOST_GIVEN_UP {
            self.dropped.clear();
        }
        self.dropped.insert(origin);
        self.take(origin);
    }

    /// Number of connections of a process whose sockets were not found.
    pub(super) fn given_up(&self, pid: u32) -> u64 {
        self.given_up.get(&pid).copied().unwrap_or_default()
    }
}

/// The count of bytes up to the end of a piece, which comes without its upper half. `passed`: the largest count so far;
/// `skipped`: of the end of a body, whose last piece alone comes. What lies behind changes nothing.
fn end_of(end: u32, passed: u64, skipped: u64) -> u64 {
    if passed < skipped && skipped < ENDLESS && low(skipped) == end {
        return skipped;
    }
    let ahead = end.wrapping_sub(low(passed));
    if ahead < NEAR { passed + u64::from(ahead) } else { passed }
}

/// The lower half of a count.
#[expect(clippy::cast_possible_truncation, reason = "sequence numbers of plain text wrap")]
fn low(count: u64) -> u32 {
    count as u32
}

#[cfg(test)]
mod tests;
