//! An encoder of frames and header blocks, which shares only the static table of RFC 7541 with the decoder.

use octets::OctetsMut;

use crate::h2::hpack::STATIC;

/// Encodes a frame with the numeric type `kind`.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A source of pseudo-random numbers (xorshift).
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Returns a number below `bound`.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % bound
    }
}

/// An encoder of the header blocks of one direction. It encodes each field in a random one of the forms that HPACK
/// allows.
pub(super) struct Encoder {
    /// Entries of the dynamic table, newest first.
    table: Vec<(String, String)>,
    capacity: usize,
    random: Random,
}

impl Encoder {
    pub(super) fn new(seed: u64) -> Self {
        Self { table: Vec::new(), capacity: 4096, random: Random::new(seed) }
    }

    /// Encodes a header block, sometimes with a size update before the fields.
    pub(super) fn block(&mut self, fields: &[(&str, &str)]) -> Vec<u8> {
        let mut out = Vec::new();
        if self.random.below(20) == 0 {
            self.capacity = [0, 100, 4096, 10_000][self.random.below(4)];
            self.evict();
            integer(&mut out, 0x20, 5, self.capacity);
        }
        for (name, value) in fields {
            self.field(&mut out, name, value);
        }
        out
    }

    fn field(&mut self, out: &mut Vec<u8>, name: &str, value: &str) {
        let all = || {
            let dynamic = self.table.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            STATIC.iter().copied().chain(dynamic)
        };
        let whole = all().position(|field| field == (name, value));
        let names: Vec<usize> =
            all().enumerate().filter(|(_, field)| field.0 == name).map(|(at, _)| at).collect();
        if let Some(index) = whole
            && self.random.below(8) > 0
        {
            integer(out, 0x80, 7, index + 1);
            return;
        }
        let (first, prefix) = [(0x40, 6), (0x40, 6), (0x00, 4), (0x10, 4)][self.random.below(4)];
        if names.is_empty() || self.random.below(4) == 0 {
            out.push(first);
            self.string(out, name);
        } else {
            integer(out, first, prefix, names[self.random.below(names.len())] + 1);
        }
        self.string(out, value);
        if first == 0x40 {
            self.table.insert(0, (name.to_owned(), value.to_owned()));
            self.evict();
        }
    }

    fn evict(&mut self) {
        let size = |table: &[(String, String)]| -> usize {
            table.iter().map(|(name, value)| name.len() + value.len() + 32).sum()
        };
        while size(&self.table) > self.capacity {
            self.table.pop();
        }
    }

    fn string(&mut self, out: &mut Vec<u8>, text: &str) {
        if self.random.below(2) == 0 {
            integer(out, 0, 7, text.len());
            out.extend(text.bytes());
            return;
        }
        let mut buffer = vec![0; text.len() * 4 + 8];
        let mut octets = OctetsMut::with_slice(&mut buffer);
        octets.put_huffman_encoded::<false>(text.as_bytes()).unwrap();
        let length = octets.off();
        integer(out, 0x80, 7, length);
        out.extend(&buffer[..length]);
    }
}

fn integer(out: &mut Vec<u8>, first: u8, prefix: u32, value: usize) {
    let mask = (1 << prefix) - 1;
    if value < mask {
        out.push(first | value as u8);
        return;
    }
    out.push(first | mask as u8);
    let mut rest = value - mask;
    while rest >= 128 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}
