//! Plain text of TLS: the state of a connection that uses TLS, and pieces whose connection is not known yet.
//!
//! The records of packets and those of plain text arrive by two ring buffers, so either can be ahead of the other.
//! Plain text waits until its socket was seen to use TLS. A socket is closed only when all plain text until its end has
//! been read.

use std::collections::{HashMap, HashSet};

use traffictrace_ebpf::layout::{
    http::{LOST_BEFORE, Record, SENT},
    tls::{ENDLESS, Origin},
};
use traffictrace_http::{Connection, Language, Piece, Sink, Way, begins_message};

/// Maximum number of bytes that wait for their connection, of all channels.
const MOST_BYTES: usize = 4 << 20;
/// Maximum number of pieces that wait for their connection, of all channels.
const MOST_PIECES: usize = 16_384;
/// Maximum number of processes whose given-up channels (connections of a TLS library) are counted.
const MOST_PROCESSES: usize = 16_384;
/// Maximum number of channels that are remembered as given up.
const MOST_GIVEN_UP: usize = 4096;
/// Divisor of a limit: once the limit is reached, a quarter of it is freed.
const FREED_PART: usize = 4;
/// Maximum time for which pieces wait, in nanoseconds.
const LONGEST_WAIT: u64 = 10_000_000_000;
/// Minimum rest of a body, in bytes, that the kernel is asked to skip.
const LONG_BODY: u64 = 8 << 10;
/// A 32-bit count that exceeds another one by less than this, modulo 2³², is taken to be ahead of it; otherwise behind
/// it.
const NEAR: u32 = 1 << 31;
/// Approximate size of a waiting piece without its bytes.
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

/// State of a connection that uses TLS.
#[derive(Debug, Default)]
pub(super) struct Tls {
    /// The connection's process id; 0 while it is not known.
    pub(super) pid: u32,
    /// The TLS library's own connection.
    channel: Option<Origin>,
    /// Set if plain text of two library connections named this socket: then neither is believed.
    disputed: bool,
    /// Number of bytes that have passed, by direction.
    passed: [u64; 2],
    /// Position up to which the kernel was last asked to skip, counted as in `passed`, by direction; 0 if never.
    skipped: [u64; 2],
    /// Number of plain-text records that had been lost when the connection began, of all connections.
    lost_before: u64,
    /// Set if the connection is older than the probes.
    joined: bool,
    /// Present on a connection that is older than the probes, until the beginning of a message is found.
    joining: Option<Joining>,
}

/// Observations of a connection that is older than the probes.
#[derive(Debug, Default)]
struct Joining {
    has_received: bool,
}

/// Bytes that the kernel need not copy: the direction, and the count of bytes up to which it skips.
pub(super) type Skip = (Way, u64);

impl Tls {
    /// Creates the state of a new connection. `lost` is the number of plain-text records lost by then.
    pub(super) fn begin(lost: u64) -> Self {
        Self { lost_before: lost, ..Self::default() }
    }

    /// Returns true if plain text has arrived that is known to belong to this connection.
    pub(super) fn is_read(&self) -> bool {
        self.channel.is_some() && !self.disputed
    }

    /// Returns true if this is the connection of the channel. The first channel gets the connection. A second one means
    /// that one of the two was assigned to a wrong socket, and then neither is believed.
    pub(super) fn belongs_to(&mut self, channel: Origin) -> bool {
        self.disputed |= *self.channel.get_or_insert(channel) != channel;
        !self.disputed
    }

    /// Marks the connection as older than the probes, so that earlier text may not have been seen.
    pub(super) fn join(&mut self) {
        self.joined = true;
        self.joining = Some(Joining::default());
    }

    /// Returns true if text is to be left out because no message is known to begin there.
    ///
    /// A read that was under way when the probes were attached is not seen. A client's read may return the response to
    /// the first request that is seen, which would then be matched with the next response. A sent request therefore
    /// counts only after a read was seen.
    pub(super) fn passes_over(&mut self, text: &Text) -> bool {
        let Some(joining) = &mut self.joining else { return false };
        let is_answer = text.bytes.starts_with(b"HTTP/1.");
        // The preface is the first thing that a client sends, so no read can have been missed before it.
        let is_preface = text.bytes.starts_with(b"PRI * HTTP/2.0");
        let is_sure = text.way == Way::Received || is_answer || is_preface || joining.has_received;
        joining.has_received |= text.way == Way::Received;
        // Only the first line is examined, and strictly: the text may be a body whose words look like the beginning of
        // a message.
        let line = text.bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let is_frame = line.first().is_some_and(|byte| !byte.is_ascii_graphic());
        let is_head =
            is_answer || is_preface || line.windows(b" HTTP/1.".len()).any(|part| part == b" HTTP/1.");
        if is_sure && (is_frame || is_head) && begins_message(&text.bytes) {
            self.joining = None;
        }
        self.joining.is_some()
    }

    /// Returns true if the connection's plain text is missing or could not be understood.
    pub(super) fn is_unread(&self, connection: &Connection) -> bool {
        !self.is_read() || self.joining.is_some() || (self.joined && connection.language() == Language::Other)
    }

    /// Feeds plain text to the parser. Returns the following bytes that the kernel need not copy.
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
            // The minimum is for a body that lasts until the connection ends: with `ENDLESS`, its bytes are still
            // counted.
            _ => passed.saturating_add(rest).min(ENDLESS),
        };
        (until - *passed >= LONG_BODY && *skipped != until).then(|| {
            *skipped = until;
            (way, until)
        })
    }

    /// Returns true if the connection's last pieces may be missing. The loss of a record is reported by the next record
    /// of its direction only, and after the last record there is none. `lost` is the number of plain-text records lost
    /// by now.
    fn may_lack_its_end(&self, lost: u64) -> bool {
        lost != self.lost_before
    }

    /// Ends a direction after the bytes that have arrived, unless later ones may be missing. `lost` is the number of
    /// plain-text records lost by now.
    pub(super) fn end_way(&self, way: Way, connection: &mut Connection, lost: u64, sink: &mut dyn Sink) {
        if self.is_read() && !self.may_lack_its_end(lost) {
            connection.fin(way, low(self.passed[way.index()]), connection.idle_since(), sink);
        }
    }

    /// Ends both directions and closes the connection. `lost` is the same as for [`Tls::end_way`].
    pub(super) fn end(&self, connection: &mut Connection, lost: u64, sink: &mut dyn Sink) {
        for way in Way::BOTH {
            self.end_way(way, connection, lost, sink);
        }
        connection.close(connection.idle_since(), self.disputed || self.may_lack_its_end(lost), sink);
    }
}

/// The waiting pieces of one channel.
#[derive(Debug)]
struct Channel {
    cookie: u64,
    since: u64,
    pieces: Vec<Text>,
    bytes: usize,
}

/// The pieces whose connection is not known yet, by channel.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    channels: HashMap<Origin, Channel>,
    /// Channel by the cookie of its socket, which was not seen to use TLS yet.
    sockets: HashMap<u64, Origin>,
    bytes: usize,
    pieces: usize,
    /// Number of channels that were given up, by process.
    given_up: HashMap<u32, u64>,
    /// Channels that were given up and whose further pieces are dropped.
    dropped: HashSet<Origin>,
}

impl Waiting {
    /// Keeps a piece until its connection is known.
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
        // To make room, this text's own channel may just have been given up.
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

    /// Removes a channel, and returns its pieces in their order.
    pub(super) fn take(&mut self, origin: Origin) -> Vec<Text> {
        let Some(of) = self.channels.remove(&origin) else { return Vec::new() };
        self.sockets.remove(&of.cookie);
        self.bytes -= of.bytes;
        self.pieces -= of.pieces.len();
        of.pieces
    }

    /// Returns the channel that waits until this socket is seen to use TLS.
    pub(super) fn channel_of(&self, cookie: u64) -> Option<Origin> {
        self.sockets.get(&cookie).copied()
    }

    /// Gives up the channels that have waited too long. `now` is in nanoseconds of the monotonic clock.
    pub(super) fn sweep(&mut self, now: u64) {
        let is_over = |channel: &Channel| now.saturating_sub(channel.since) > LONGEST_WAIT;
        let over: Vec<Origin> =
            self.channels.iter().filter(|(_, channel)| is_over(channel)).map(|(id, _)| *id).collect();
        for origin in over {
            self.give_up(origin);
        }
    }

    /// Gives up the channels that use the most of a limited resource, until a part of it is free. The other channels
    /// keep waiting.
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

    /// Gives up a channel and counts it for its process.
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

/// Returns the 64-bit count of bytes at the end of a piece, of which only the lower half is known. `passed` is the
/// largest count so far. `skipped` is the end of a skipped body, of which only the last piece arrives. A piece that
/// lies before `passed` changes nothing.
fn end_of(end: u32, passed: u64, skipped: u64) -> u64 {
    if passed < skipped && skipped < ENDLESS && low(skipped) == end {
        return skipped;
    }
    let ahead = end.wrapping_sub(low(passed));
    if ahead < NEAR { passed + u64::from(ahead) } else { passed }
}

/// Returns the lower half of a count.
#[expect(clippy::cast_possible_truncation, reason = "sequence numbers of plain text wrap")]
fn low(count: u64) -> u32 {
    count as u32
}

#[cfg(test)]
mod tests;
