//! Random conversations with known exchanges, and a simulation of the kernel program that divides them into pieces.

use proptest::prelude::*;

use super::{REQUESTS, RESPONSES};
use crate::Way;

/// A generator of random numbers, which are the same for the same seed.
#[derive(Debug, Clone)]
pub(super) struct Dice(pub(super) u64);

impl Dice {
    /// Returns a number below `bound` (splitmix64).
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).expect("it is below the bound")
    }

    /// Returns true once in `bound` times on average.
    pub(super) fn once_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }
}

/// A message body.
#[derive(Debug, Clone)]
pub(super) enum Content {
    Nothing,
    Length(usize),
    Chunks(Vec<usize>),
}

/// The plan of one request and its response.
#[derive(Debug, Clone)]
pub(super) struct Planned {
    head: bool,
    request: Content,
    response: Content,
    code: u16,
    interim: usize,
}

pub(super) fn planned() -> impl Strategy<Value = Planned> {
    let content = || {
        prop_oneof![
            Just(Content::Nothing),
            (0..4_000_usize).prop_map(Content::Length),
            prop::collection::vec(1..1_500_usize, 0..4).prop_map(Content::Chunks),
        ]
    };
    let code = prop_oneof![5 => 200..204_u16, 1 => Just(204), 1 => Just(304), 1 => 400..600_u16];
    let interim = prop_oneof![4 => Just(0_usize), 1 => 1..3_usize];
    (prop::bool::weighted(0.2), content(), content(), code, interim).prop_map(
        |(head, request, response, code, interim)| Planned { head, request, response, code, interim },
    )
}

/// The bytes of one direction.
#[derive(Debug, Default)]
struct Stream {
    bytes: Vec<u8>,
    /// True for each byte that the parser needs: not for bytes of bodies.
    needed: Vec<bool>,
    /// Indexes of the bytes at which a message begins.
    starts: Vec<usize>,
}

impl Stream {
    fn add(&mut self, bytes: &[u8], needed: bool) {
        self.bytes.extend_from_slice(bytes);
        self.needed.resize(self.bytes.len(), needed);
    }

    fn message(&mut self, first: &str, content: &Content, body: bool) {
        self.starts.push(self.bytes.len());
        let fields = match content {
            Content::Nothing => "Content-Length: 0\r\n".to_owned(),
            Content::Length(length) => format!("content-length:{length}\r\n"),
            Content::Chunks(_) => "Transfer-Encoding: Chunked\r\n".to_owned(),
        };
        self.add(format!("{first}\r\nHost: h\r\n{fields}\r\n").as_bytes(), true);
        match content {
            _ if !body => {}
            Content::Nothing => {}
            Content::Length(length) => self.add(&vec![b'\n'; *length], false),
            Content::Chunks(chunks) => {
                for &chunk in chunks {
                    self.add(format!("{chunk:x};x=y\r\n").as_bytes(), true);
                    self.add(&vec![b'G'; chunk], false);
                    self.add(b"\r\n", true);
                }
                self.add(b"0\r\nTrailer: x\r\n\r\n", true);
            }
        }
    }
}

/// A conversation: the bytes of each direction, the order in which they pass, and the exchanges.
#[derive(Debug)]
pub(super) struct Conversation {
    streams: [Stream; 2],
    /// The direction of each flight, and the index of its end. A flight is the bytes that pass in one direction before
    /// bytes pass in the other.
    flights: Vec<(Way, usize)>,
    /// Each exchange: its line (as `Record::lines`), and the indexes of the first byte of the request and of the final
    /// response.
    pub(super) exchanges: Vec<(String, usize, usize)>,
}

impl Conversation {
    /// Builds a conversation. The client sends `burst` requests (at least one) at once. If `rolling`, it sends another
    /// one after each response; otherwise it sends the next `burst` after all responses.
    pub(super) fn new(planned: &[Planned], burst: usize, rolling: bool) -> Self {
        let mut streams = [Stream::default(), Stream::default()];
        let (mut flights, mut exchanges) = (Vec::new(), Vec::new());
        let (mut asked, mut answered) = (0, 0);
        while answered < planned.len() {
            let window = if rolling || asked == answered { answered + burst } else { asked };
            while asked < planned.len().min(window) {
                let Planned { head, request, code, .. } = &planned[asked];
                let method = if *head { "HEAD" } else { "PUT" };
                let path = format!("/{asked}/{code}");
                let stream = &mut streams[REQUESTS.index()];
                let before = stream.bytes.len();
                stream.message(&format!("{method} {path}?secret HTTP/1.1"), request, true);
                let length = stream.bytes.len() - before;
                exchanges.push((format!("{method} h {path} {code} {length}"), before, 0));
                asked += 1;
            }
            flights.push((REQUESTS, streams[REQUESTS.index()].bytes.len()));
            let Planned { head, response, code, interim, .. } = &planned[answered];
            let stream = &mut streams[RESPONSES.index()];
            let before = stream.bytes.len();
            for _ in 0..*interim {
                stream.starts.push(stream.bytes.len());
                stream.add(b"HTTP/1.1 100 Continue\r\n\r\n", true);
            }
            exchanges[answered].2 = stream.bytes.len();
            stream.message(&format!("HTTP/1.1 {code} x"), response, !head && !matches!(code, 204 | 304));
            exchanges[answered].0 += &format!(" {}", stream.bytes.len() - before);
            answered += 1;
            // The next response follows in the same flight, so that responses share packets.
            if !rolling && answered < asked {
                continue;
            }
            flights.push((RESPONSES, stream.bytes.len()));
        }
        Self { streams, flights, exchanges }
    }

    /// Returns the number of bytes of a direction.
    pub(super) fn length(&self, way: Way) -> usize {
        self.streams[way.index()].bytes.len()
    }

    /// Returns the end of the first `count` flights of each direction.
    pub(super) fn first_flights(&self, count: usize) -> [usize; 2] {
        Way::BOTH.map(|way| {
            let flights = self.flights.iter().filter(|flight| flight.0 == way);
            flights.take(count).last().map_or(0, |flight| flight.1)
        })
    }

    /// Divides the conversation into packets, and returns the pieces of all packets in the order in which they pass. If
    /// `disorder`, packets are swapped, repeated and enlarged.
    pub(super) fn pieces(&self, dice: &mut Dice, disorder: bool) -> Vec<OwnedPiece> {
        let mut pieces = Vec::new();
        let mut begins = [0, 0];
        let mut time = 0;
        let largest = 1 + dice.below(1_448);
        for &(way, end) in &self.flights {
            let mut packets = Vec::new();
            let begin = &mut begins[way.index()];
            while *begin < end {
                let length = (1 + dice.below(largest)).min(end - *begin);
                packets.push((*begin, *begin + length, true));
                *begin += length;
            }
            if disorder {
                disarrange(&mut packets, dice);
            }
            for (begin, end, ordered) in packets {
                time += 1;
                self.packet(way, begin..end, ordered, time, dice, &mut pieces);
            }
        }
        pieces
    }

    /// Appends the pieces of one packet, as the kernel program hands them over. `ordered` is true if the packet came in
    /// order.
    fn packet(
        &self,
        way: Way,
        range: std::ops::Range<usize>,
        ordered: bool,
        time: u64,
        dice: &mut Dice,
        pieces: &mut Vec<OwnedPiece>,
    ) {
        let stream = &self.streams[way.index()];
        let needed: Vec<usize> = range.clone().filter(|&at| stream.needed[at]).collect();
        let whole = !ordered || dice.once_in(8);
        let (from, to) = match (needed.first(), needed.last()) {
            _ if whole => (range.start, range.end),
            (Some(&first), Some(_)) if dice.once_in(2) => (first, range.end),
            (Some(&first), Some(&last)) => (first, last + 1),
            _ => {
                // The packet has only bytes of a body. There is a piece, without bytes, only if the body ends with the
                // packet.
                if stream.needed.get(range.end).is_none_or(|&needed| needed) {
                    let piece = OwnedPiece { way, time, begin: range.end, ..OwnedPiece::default() };
                    pieces.push(piece);
                }
                return;
            }
        };
        let limit = 400 + dice.below(2_000);
        let mut at = from;
        while at < to {
            let end = (at + limit).min(to);
            let last = end == to;
            pieces.push(OwnedPiece {
                way,
                time,
                begin: at,
                length: if last { range.end - at } else { end - at },
                bytes: stream.bytes[at..end].to_vec(),
                starts: ordered && stream.starts.binary_search(&at).is_ok(),
                lost_before: false,
            });
            at = end;
        }
    }

    /// Returns for each byte of a direction the earliest time at which a parser can have it: the latest of the times at
    /// which the needed bytes up to this one first passed.
    pub(super) fn passed(&self, pieces: &[OwnedPiece], way: Way) -> Vec<u64> {
        let needed = &self.streams[way.index()].needed;
        let mut times = vec![0; needed.len()];
        for piece in pieces.iter().rev().filter(|piece| piece.way == way) {
            times[piece.begin..piece.begin + piece.bytes.len()].fill(piece.time);
        }
        let mut last = 0;
        for (time, needed) in times.iter_mut().zip(needed) {
            if *needed {
                last = last.max(*time);
            }
            *time = last;
        }
        times
    }

    /// Counts the requests whose head is complete in a piece that starts with it, so that the parser must see them.
    pub(super) fn surely_seen(&self, pieces: &[OwnedPiece]) -> usize {
        let heads = self.streams[REQUESTS.index()].starts.iter();
        let whole = |start: usize| {
            pieces.iter().any(|piece| {
                piece.way == REQUESTS
                    && piece.starts
                    && piece.begin == start
                    && piece.bytes.windows(4).any(|end| end == b"\r\n\r\n")
            })
        };
        heads.filter(|&&start| whole(start)).count()
    }
}

/// Swaps packets, and adds repeated and enlarged ones. All of these are marked as out of order.
fn disarrange(packets: &mut Vec<(usize, usize, bool)>, dice: &mut Dice) {
    for index in 1..packets.len() {
        if dice.once_in(4) {
            let other = index - 1 - dice.below(index.min(4));
            packets.swap(index, other);
            packets[index].2 = false;
            packets[other].2 = false;
        }
    }
    let first = packets.iter().map(|packet| packet.0).min().unwrap_or_default();
    for index in (0..packets.len()).rev() {
        let (begin, end, _) = packets[index];
        if dice.once_in(6) {
            let wide = begin - dice.below(begin - first + 1);
            packets.insert(index + 1 + dice.below(packets.len() - index), (wide, end, false));
        }
    }
}

/// A [`crate::Piece`] that owns its bytes, with an index in its direction's bytes (`begin`) instead of a sequence
/// number.
#[derive(Debug, Clone)]
pub(super) struct OwnedPiece {
    pub(super) way: Way,
    pub(super) time: u64,
    pub(super) begin: usize,
    pub(super) length: usize,
    pub(super) bytes: Vec<u8>,
    pub(super) starts: bool,
    pub(super) lost_before: bool,
}

impl Default for OwnedPiece {
    fn default() -> Self {
        Self {
            way: REQUESTS,
            time: 0,
            begin: 0,
            length: 0,
            bytes: Vec::new(),
            starts: false,
            lost_before: false,
        }
    }
}
