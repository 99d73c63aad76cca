//! One direction of a connection: bytes are parsed into frames, and frames into events.

use super::{
    block::Block,
    frame::{END_HEADERS, END_STREAM, Frame, HEADER, Kind},
    hpack::Table,
};
use crate::Reason;

/// The first bytes that a client sends (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// An event in a direction, such as a complete header block.
#[derive(Debug)]
pub(super) enum Event {
    /// Bytes of a DATA frame passed, header included. `end` is true if nothing follows from this sender on this stream.
    Data { stream: u32, bytes: u64, end: bool },
    /// A header block is complete.
    Block(Block),
    /// A stream was reset.
    Reset(u32),
    /// GOAWAY: the sender has not processed, and will not process, the peer's streams with higher numbers.
    GoAway(u32),
    /// The position is lost: the bytes at a place where a frame should begin are not a frame. The caller must then call
    /// [`Half::lose`].
    Lost(Reason),
}

/// The event for bytes that are not a frame at a place where a frame certainly begins.
const MALFORMED: Event = Event::Lost(Reason::Malformed);

/// The position in a direction.
#[derive(Debug)]
enum State {
    /// Before the first byte.
    Start,
    /// In the client's preface, after this number of its bytes.
    Preface(usize),
    /// In a frame header, of which `filled` bytes have come. `lost` is the reason why the position was lost before, if
    /// it was: the header must then be plausible.
    Header { bytes: [u8; HEADER], filled: usize, began: u64, lost: Option<Reason> },
    /// In the payload of a frame, with `left` bytes left.
    Payload { frame: Frame, left: u32 },
    /// Unknown, for this reason, until a piece starts a frame.
    Lost(Reason),
}

impl State {
    /// Returns the state before a frame header.
    fn header(lost: Option<Reason>) -> Self {
        Self::Header { bytes: [0; HEADER], filled: 0, began: 0, lost }
    }
}

/// One direction of a connection.
#[derive(Debug)]
pub(super) struct Half {
    state: State,
    /// The header block whose frames have not all come.
    block: Option<Block>,
    /// The first bytes of the payload of the last GOAWAY frame: the number of the last stream that its sender
    /// processes.
    last_stream: [u8; 4],
    /// The header table (HPACK).
    pub(super) table: Table,
}

impl Half {
    /// Creates the parser of a direction that is seen from its first byte.
    pub(super) fn new() -> Self {
        Self { state: State::Start, block: None, last_stream: [0; 4], table: Table::new() }
    }

    /// Creates the parser of a direction whose first bytes passed before the trace.
    pub(super) fn joined() -> Self {
        Self { state: State::Lost(Reason::MissingBytes), table: Table::unknown(), ..Self::new() }
    }

    /// Returns whether no byte has passed yet, so that [`Self::begin`] must be called.
    pub(super) fn is_new(&self) -> bool {
        matches!(self.state, State::Start)
    }

    /// Expects the preface if this direction is the client's, and a frame if it is the server's.
    pub(super) fn begin(&mut self, client: bool) {
        self.state = if client { State::Preface(0) } else { State::header(None) };
    }

    /// Returns the reason why the position is lost, if it is.
    pub(super) fn lost(&self) -> Option<Reason> {
        match self.state {
            State::Lost(reason) => Some(reason),
            _ => None,
        }
    }

    /// Gives up the position and the contents of the header table. Returns the incomplete header block, if there was
    /// one.
    pub(super) fn lose(&mut self, reason: Reason) -> Option<Block> {
        self.state = State::Lost(reason);
        self.table = Table::unknown();
        self.block.take()
    }

    /// Expects a frame header at the next byte if the position is lost. Called for a piece that starts a frame.
    pub(super) fn resume(&mut self) {
        if let State::Lost(reason) = self.state {
            self.state = State::header(Some(reason));
        }
    }

    /// Returns whether a frame certainly begins at the next byte.
    pub(super) fn pauses(&self) -> bool {
        matches!(self.state, State::Header { filled: 0, lost: None, .. })
    }

    /// Returns the number of next bytes that the parser does not need; `u64::MAX` while the position is lost.
    pub(super) fn skippable(&self) -> u64 {
        match &self.state {
            State::Payload { frame, left } if !self.needs(*frame) => u64::from(*left),
            State::Lost(_) => u64::MAX,
            _ => 0,
        }
    }

    /// Returns the number of bytes on the heap.
    pub(super) fn memory(&self) -> usize {
        self.table.memory() + self.block.as_ref().map_or(0, Block::memory)
    }

    /// Parses bytes from `input`, and removes them, up to the next event. Returns `None` once all of them are parsed.
    pub(super) fn advance(&mut self, time: u64, input: &mut &[u8]) -> Option<Event> {
        while !input.is_empty() {
            match &mut self.state {
                State::Start => self.begin(false),
                State::Preface(passed) => {
                    let rest = &PREFACE[*passed..];
                    let taken = take(input, rest.len());
                    if !rest.starts_with(taken) {
                        return Some(MALFORMED);
                    }
                    *passed += taken.len();
                    if *passed == PREFACE.len() {
                        self.state = State::header(None);
                    }
                }
                State::Header { bytes, filled, began, lost } => {
                    if *filled == 0 {
                        *began = time;
                    }
                    let taken = take(input, HEADER - *filled);
                    bytes[*filled..*filled + taken.len()].copy_from_slice(taken);
                    *filled += taken.len();
                    if *filled == HEADER {
                        let (frame, began, lost) = (Frame::parse(*bytes), *began, *lost);
                        let event = self.frame(frame, began, lost);
                        if event.is_some() {
                            return event;
                        }
                    }
                }
                State::Payload { frame, left } => {
                    let (frame, before) = (*frame, *left);
                    let taken = take(input, before as usize);
                    if let Some(event) = self.payload(frame, before, taken.len() as u32, Some(taken)) {
                        return Some(event);
                    }
                }
                State::Lost(_) => *input = &[],
            }
        }
        None
    }

    /// Skips `length` bytes of a payload, at most [`Self::skippable`].
    pub(super) fn skip(&mut self, length: u64) -> Option<Event> {
        match self.state {
            State::Payload { frame, left } => {
                self.payload(frame, left, u32::try_from(length).unwrap_or(left).min(left), None)
            }
            _ => None,
        }
    }

    /// Returns whether the payload of a frame must be read.
    fn needs(&self, frame: Frame) -> bool {
        match frame.kind {
            Kind::Headers | Kind::PushPromise | Kind::GoAway => true,
            Kind::Continuation => self.block.is_some(),
            _ => false,
        }
    }

    /// Handles a frame header.
    fn frame(&mut self, frame: Frame, began: u64, lost: Option<Reason>) -> Option<Event> {
        match lost {
            Some(reason) if !frame.is_plausible() => return Some(Event::Lost(reason)),
            None if !frame.is_valid() => return Some(MALFORMED),
            _ => {}
        }
        match (&mut self.block, frame.kind) {
            (Some(block), Kind::Continuation) if block.frame.stream == frame.stream => {
                block.continue_with(frame);
            }
            // The frames of a header block follow each other without other frames between them (RFC 9113, section
            // 6.10), so this one is an error.
            (Some(_), _) => return Some(MALFORMED),
            (None, Kind::Continuation) if lost.is_none() => return Some(MALFORMED),
            (None, Kind::Headers | Kind::PushPromise) => self.block = Some(Block::new(frame, began)),
            (None, _) => {}
        }
        self.state = State::Payload { frame, left: frame.length };
        if frame.kind == Kind::Data {
            if frame.length == 0 {
                self.state = State::header(None);
            }
            let end = frame.length == 0 && frame.has(END_STREAM);
            return Some(Event::Data { stream: frame.stream, bytes: HEADER as u64, end });
        }
        if frame.length == 0 { self.end_frame(frame) } else { None }
    }

    /// Handles the next `amount` of the `left` bytes of a payload; `bytes` is `None` if they were skipped.
    fn payload(&mut self, frame: Frame, left: u32, amount: u32, bytes: Option<&[u8]>) -> Option<Event> {
        if let Some(bytes) = bytes {
            if frame.kind == Kind::GoAway {
                let slots = self.last_stream.iter_mut().skip((frame.length - left) as usize);
                slots.zip(bytes).for_each(|(slot, byte)| *slot = *byte);
            } else if self.needs(frame)
                && let Some(block) = &mut self.block
            {
                block.append(bytes);
            }
        }
        let left = left - amount;
        self.state = State::Payload { frame, left };
        if frame.kind == Kind::Data {
            if left == 0 {
                self.state = State::header(None);
            }
            let end = left == 0 && frame.has(END_STREAM);
            return Some(Event::Data { stream: frame.stream, bytes: amount.into(), end });
        }
        if left == 0 { self.end_frame(frame) } else { None }
    }

    /// Handles the end of a frame other than DATA.
    fn end_frame(&mut self, frame: Frame) -> Option<Event> {
        // This position is only a guess, because more CONTINUATION frames may follow of a block whose beginning was
        // lost.
        let orphan = frame.kind == Kind::Continuation && self.block.is_none() && !frame.has(END_HEADERS);
        self.state = State::header(orphan.then_some(Reason::MissingBytes));
        match frame.kind {
            Kind::RstStream => Some(Event::Reset(frame.stream)),
            Kind::GoAway => Some(Event::GoAway(u32::from_be_bytes(self.last_stream) & 0x7fff_ffff)),
            Kind::Headers | Kind::PushPromise if !self.block.as_mut().is_some_and(Block::strip) => {
                Some(MALFORMED)
            }
            Kind::Headers | Kind::PushPromise | Kind::Continuation if frame.has(END_HEADERS) => {
                self.block.take().map(Event::Block)
            }
            _ => None,
        }
    }
}

/// Removes at most `most` bytes from the front of `input` and returns them.
fn take<'a>(input: &mut &'a [u8], most: usize) -> &'a [u8] {
    let (taken, rest) = input.split_at(most.min(input.len()));
    *input = rest;
    taken
}
