//! Random errors in bytes.

use proptest::{
    collection::vec,
    prelude::{Strategy, any},
    sample::Index,
};

/// One error: its index in the bytes, and a bit, a byte or a number of bytes.
#[derive(Debug, Clone)]
pub(crate) enum Error {
    Flip(Index, u8),
    Set(Index, u8),
    Insert(Index, u8),
    Remove(Index, usize),
    Repeat(Index, usize),
    Cut(Index),
}

/// Generates up to three errors. There is often none, so that valid bytes are compared as well.
pub(crate) fn errors() -> impl Strategy<Value = Vec<Error>> {
    let at = any::<Index>;
    // Bytes that have a meaning to parsers.
    let byte = proptest::sample::select(b"\r\n :;,\t\x00\x80GP/0f\xff\x7f1".to_vec());
    let error = proptest::prop_oneof![
        4 => (at(), 0..8_u8).prop_map(|(at, bit)| Error::Flip(at, bit)),
        4 => (at(), byte.clone()).prop_map(|(at, byte)| Error::Set(at, byte)),
        3 => (at(), byte).prop_map(|(at, byte)| Error::Insert(at, byte)),
        2 => (at(), 1..9_usize).prop_map(|(at, length)| Error::Remove(at, length)),
        1 => (at(), 1..40_usize).prop_map(|(at, length)| Error::Repeat(at, length)),
        1 => at().prop_map(Error::Cut),
    ];
    vec(error, 0..4)
}

/// Applies the errors one after the other.
pub(crate) fn mutate(bytes: &mut Vec<u8>, errors: &[Error]) {
    for error in errors {
        if bytes.is_empty() {
            return;
        }
        let length = bytes.len();
        match error {
            Error::Flip(at, bit) => bytes[at.index(length)] ^= 1 << bit,
            Error::Set(at, byte) => bytes[at.index(length)] = *byte,
            Error::Insert(at, byte) => bytes.insert(at.index(length), *byte),
            Error::Remove(at, count) => {
                let at = at.index(length);
                bytes.drain(at..length.min(at + count));
            }
            Error::Repeat(at, count) => {
                let at = at.index(length);
                let part = bytes[at..length.min(at + count)].to_vec();
                bytes.splice(at..at, part);
            }
            Error::Cut(at) => bytes.truncate(at.index(length)),
        }
    }
}
