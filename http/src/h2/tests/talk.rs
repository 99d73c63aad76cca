//! Random conversations, with the exchanges that a parser should report.

use super::{
    encoder::Random,
    kernel::{Kernel, Packet},
    *,
};

/// A step of a stream: the frame that the client or the server sends next. A `Way` is the direction, a `bool` is true
/// if the frame has END_STREAM.
#[derive(Debug, Clone)]
enum Step {
    Interim,
    Head(bool),
    Data(Way, bool),
    Trailers(Way),
    Promise,
    Reset(Way),
}

/// A stream and the true facts about it. The time of a byte is only known once the packets are made; until then, a byte
/// is given by its direction and its index in the bytes of that direction.
#[derive(Debug)]
struct Script {
    id: u32,
    steps: Vec<Step>,
    grpc: bool,
    truth: Exchange,
    request_open: bool,
    response_open: bool,
    began: (Way, usize),
    first_byte: Option<usize>,
    /// The last byte of each frame so far; the latest of these bytes ends the exchange.
    last: Vec<(Way, usize)>,
    /// The last byte of an RST_STREAM that cut the response off.
    cut: Option<(Way, usize)>,
}

/// A random conversation on one connection.
pub(super) struct Talk {
    pub(super) client: Way,
    pub(super) packets: Vec<Packet>,
    pub(super) truth: Vec<Exchange>,
    /// Time at which the connection closes.
    pub(super) close: u64,
    random: Random,
    encoders: [Encoder; 2],
    /// Number of bytes so far in each direction. `pending` has the last of them, which are in no packet yet.
    sent: [usize; 2],
    pending: [Vec<u8>; 2],
    /// Index after the last byte, and time, of each packet, by direction.
    ends: [Vec<(usize, u64)>; 2],
}

const METHODS: [&str; 4] = ["GET", "POST", "DELETE", "PROPFIND"];
const STATUSES: [(&str, u16); 5] = [("200", 200), ("204", 204), ("404", 404), ("302", 302), ("503", 503)];

impl Talk {
    /// Makes a conversation of `requests` requests, which is the same for the same seed.
    pub(super) fn new(seed: u64, requests: usize) -> Self {
        let mut random = Random::new(seed);
        let client = Way::BOTH[random.below(2)];
        let mut talk = Self {
            client,
            packets: Vec::new(),
            truth: Vec::new(),
            close: 0,
            random,
            encoders: [Encoder::new(seed + 1), Encoder::new(seed + 2)],
            sent: [0; 2],
            pending: Default::default(),
            ends: Default::default(),
        };
        talk.send(client, &preface());
        talk.send(client.other(), &frame(4, 0, 0, &[0, 3, 0, 0, 0, 100]));
        talk.run(requests);
        talk
    }

    fn run(&mut self, requests: usize) {
        let (mut opened, mut promised) = (0, 0);
        let mut active: Vec<Script> = Vec::new();
        let mut done = Vec::new();
        while opened < requests || !active.is_empty() {
            if opened < requests && (active.is_empty() || active.len() < 8 && self.random.below(3) == 0) {
                opened += 1;
                let script = self.open(opened as u32 * 2 - 1);
                active.push(script);
                continue;
            }
            let at = self.random.below(active.len());
            if active[at].steps.is_empty() {
                done.push(active.swap_remove(at));
                continue;
            }
            let step = active[at].steps.remove(0);
            if matches!(step, Step::Promise) {
                promised += 2;
                let script = self.promise(active[at].id, promised);
                active.push(script);
            } else {
                self.step(&mut active[at], step);
            }
            if self.random.below(10) == 0 {
                let way = Way::BOTH[self.random.below(2)];
                let noise = [
                    frame(6, 1, 0, &[9; 8]),
                    frame(8, 0, 0, &[0, 0, 1, 0]),
                    frame(4, 1, 0, b""),
                    frame(0x10, 0, 0, b"\0\0\0\x01u=1"),
                ];
                let which = self.random.below(noise.len());
                self.send(way, &noise[which]);
            }
        }
        Way::BOTH.into_iter().for_each(|way| self.flush(way));
        self.close = self.packets.len() as u64 + 1;
        self.truth = done.into_iter().map(|script| self.judge(script)).collect();
    }

    /// Appends bytes to a direction, and returns the index of the first of them. Pending bytes of the other direction
    /// are put into packets first.
    fn send(&mut self, way: Way, bytes: &[u8]) -> usize {
        self.flush(way.other());
        let place = self.sent[way.index()];
        self.sent[way.index()] += bytes.len();
        self.pending[way.index()].extend(bytes);
        if self.random.below(2) == 0 {
            self.flush(way);
        }
        place
    }

    /// Divides the pending bytes of a direction into packets.
    fn flush(&mut self, way: Way) {
        let mut bytes = std::mem::take(&mut self.pending[way.index()]);
        while !bytes.is_empty() {
            let most = if self.random.below(2) == 0 { bytes.len() } else { bytes.len().min(20) };
            let rest = bytes.split_off(1 + self.random.below(most));
            let time = self.packets.len() as u64 + 1;
            let end = self.ends[way.index()].last().map_or(0, |(end, _)| *end) + bytes.len();
            self.ends[way.index()].push((end, time));
            self.packets.push(Packet { way, time, bytes });
            bytes = rest;
        }
    }

    /// Returns the time at which a byte passed, given by its direction and index.
    fn time(&self, (way, place): (Way, usize)) -> u64 {
        let ends = &self.ends[way.index()];
        ends[ends.partition_point(|(end, _)| *end <= place)].1
    }

    fn open(&mut self, id: u32) -> Script {
        let grpc = self.random.below(4) == 0;
        let method = METHODS[self.random.below(METHODS.len())];
        let host = format!("host{}.example", self.random.below(3));
        let path = format!("/path/{}", self.random.below(9));
        let target = format!("{path}?token={}", self.random.below(50));
        let kind = if grpc { "application/grpc" } else { "text/html" };
        let fields = [
            (":method", method),
            (":scheme", "https"),
            (":path", &target),
            (":authority", &host),
            ("user-agent", "talk/1"),
            ("content-type", kind),
        ];
        let end = self.random.below(3) > 0;
        let (place, bytes) = self.headers(self.client, id, end, &fields, None);
        let mut steps = Vec::new();
        if !end {
            steps.extend((0..self.random.below(3)).map(|_| Step::Data(self.client, false)));
            let trailers = self.random.below(4) == 0;
            steps.push(if trailers { Step::Trailers(self.client) } else { Step::Data(self.client, true) });
        }
        let mut from = 0;
        for step in self.response(grpc) {
            from += self.random.below(steps.len() - from + 1);
            steps.insert(from, step);
            from += 1;
        }
        match self.random.below(12) {
            0 => {
                steps.truncate(self.random.below(steps.len() + 1));
                steps.push(Step::Reset(Way::BOTH[self.random.below(2)]));
            }
            1 => steps.truncate(self.random.below(steps.len() + 1)),
            _ => {}
        }
        self.script(id, steps, grpc, [method, &host, &path], (self.client, place), bytes, !end)
    }

    fn promise(&mut self, parent: u32, id: u32) -> Script {
        let path = format!("/pushed/{id}");
        let fields =
            [(":method", "GET"), (":scheme", "https"), (":path", &path), (":authority", "host0.example")];
        let (place, bytes) = self.headers(self.client.other(), parent, false, &fields, Some(id));
        let steps = self.response(false).into_iter().filter(|step| !matches!(step, Step::Promise)).collect();
        let begin = (self.client.other(), place);
        self.script(id, steps, false, ["GET", "host0.example", &path], begin, bytes, false)
    }

    #[allow(clippy::too_many_arguments, reason = "One place makes scripts of what two found out.")]
    fn script(
        &self,
        id: u32,
        steps: Vec<Step>,
        grpc: bool,
        [method, host, path]: [&str; 3],
        (way, place): (Way, usize),
        request_bytes: usize,
        request_open: bool,
    ) -> Script {
        let truth = Exchange {
            side: if self.client == Way::Received { Side::Server } else { Side::Client },
            protocol: if grpc { Protocol::Grpc } else { Protocol::Http2 },
            method: method.into(),
            host: host.into(),
            path: path.into(),
            status: Status::NoResponse,
            grpc_status: None,
            request_bytes: request_bytes as u64,
            response_bytes: 0,
            began: 0,
            first_byte: None,
            ended: 0,
        };
        let (began, last) = ((way, place), vec![(way, place + request_bytes - 1)]);
        let (first_byte, cut, response_open) = (None, None, true);
        Script { id, steps, grpc, truth, request_open, response_open, began, first_byte, last, cut }
    }

    /// Returns the steps of a random response.
    fn response(&mut self, grpc: bool) -> Vec<Step> {
        let server = self.client.other();
        let mut steps = vec![Step::Interim; self.random.below(5) / 4];
        let end = self.random.below(4) == 0;
        steps.push(Step::Head(end));
        if !end {
            steps.extend((0..self.random.below(4)).map(|_| Step::Data(server, false)));
            let trailers = grpc || self.random.below(4) == 0;
            steps.push(if trailers { Step::Trailers(server) } else { Step::Data(server, true) });
            if self.random.below(8) == 0 {
                let at = self.random.below(steps.len());
                steps.insert(at, Step::Promise);
            }
        }
        steps
    }

    /// Sends a header block as HEADERS or PUSH_PROMISE, sometimes with padding, priority or CONTINUATION.
    fn headers(
        &mut self,
        way: Way,
        id: u32,
        end: bool,
        fields: &[(&str, &str)],
        promised: Option<u32>,
    ) -> (usize, usize) {
        let block = self.encoders[way.index()].block(fields);
        let split = if self.random.below(4) == 0 { self.random.below(block.len()) } else { block.len() };
        let padding = if self.random.below(4) == 0 { self.random.below(9) } else { 0 };
        let priority = promised.is_none() && way == self.client && self.random.below(4) == 0;
        let mut flags = u8::from(end) | if priority { 0x20 } else { 0 };
        let mut payload = Vec::new();
        if padding > 0 {
            flags |= 8;
            payload.push(padding as u8);
        }
        payload.extend(promised.map(u32::to_be_bytes).into_iter().flatten());
        payload.extend(if priority { &[0u8, 0, 0, 0, 7][..] } else { &[] });
        payload.extend(&block[..split]);
        payload.extend(vec![0; padding]);
        let kind = if promised.is_some() { 5 } else { 1 };
        let mut wire = Vec::new();
        if split < block.len() {
            wire.extend(frame(kind, flags, id, &payload));
            wire.extend(frame(9, 4, id, &block[split..]));
        } else {
            wire.extend(frame(kind, flags | 4, id, &payload));
        }
        (self.send(way, &wire), wire.len())
    }

    fn step(&mut self, script: &mut Script, step: Step) {
        let server = self.client.other();
        let id = script.id;
        let (way, end, (place, bytes)) = match step {
            Step::Interim => (server, false, self.headers(server, id, false, &[(":status", "103")], None)),
            Step::Head(end) => {
                let (text, code) = STATUSES[self.random.below(STATUSES.len())];
                let kind = if script.grpc { "application/grpc" } else { "text/html" };
                let fields = [(":status", text), ("server", "talk"), ("content-type", kind)];
                let head = self.headers(server, id, end, &fields, None);
                script.truth.status = Status::Code(code);
                script.first_byte = Some(head.0);
                (server, end, head)
            }
            Step::Data(way, end) => {
                let payload = vec![0x01; [0, 1, 30, 500][self.random.below(4)]];
                let wire = frame(0, u8::from(end), id, &payload);
                (way, end, (self.send(way, &wire), wire.len()))
            }
            Step::Trailers(way) => {
                let trailers = if script.grpc && way == server {
                    script.truth.grpc_status = Some(5);
                    [("grpc-status", "5")]
                } else {
                    [("x-checksum", "abc")]
                };
                (way, true, self.headers(way, id, true, &trailers, None))
            }
            Step::Promise => return,
            Step::Reset(way) => {
                let place = self.send(way, &frame(3, 0, id, &[0; 4])) + 12;
                if script.response_open {
                    script.cut = Some((way, place));
                }
                (script.request_open, script.response_open) = (false, false);
                return;
            }
        };
        script.last.push((way, place + bytes - 1));
        if way == self.client {
            script.truth.request_bytes += bytes as u64;
            script.request_open &= !end;
        } else {
            script.truth.response_bytes += bytes as u64;
            script.response_open &= !end;
        }
    }

    /// Returns the exchange that a parser should report for a stream, once all packets are made.
    fn judge(&self, script: Script) -> Exchange {
        let last = script.last.iter().map(|last| self.time(*last)).max().unwrap_or_default();
        Exchange {
            began: self.time(script.began),
            first_byte: script.first_byte.map(|place| self.time((self.client.other(), place))),
            ended: match script.cut {
                Some(cut) => self.time(cut),
                None if script.response_open => self.close,
                None => last,
            },
            ..script.truth
        }
    }

    /// Sorts exchanges by the time of their first byte.
    pub(super) fn sorted(mut exchanges: Vec<Exchange>) -> Vec<Exchange> {
        exchanges.sort_by_cached_key(|exchange| (exchange.began, format!("{exchange:?}")));
        exchanges
    }

    /// Passes the conversation to a parser, from the packet at index `from` on, without the packets for whose index
    /// `lost` returns true. If `skips`, the kernel skips bodies.
    pub(super) fn replay(&self, skips: bool, from: usize, lost: impl Fn(usize) -> bool) -> Reports {
        let mut parser = Parser::new(from > 0);
        let mut kernel = Kernel::new(self.client, skips);
        let mut reports = Reports::default();
        for (at, packet) in self.packets.iter().enumerate() {
            if at < from || lost(at) {
                kernel.pass_unseen(packet, at >= from);
            } else {
                kernel.pass(packet, &mut parser, &mut reports);
            }
        }
        parser.close(self.close, kernel.has_lost(), &mut reports);
        reports
    }
}
