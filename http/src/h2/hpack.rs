//! HPACK (RFC 7541), as an observer decodes it.
//!
//! An observer may come late or miss bytes, so that entries are inserted into the dynamic table unseen. Indices are
//! still right, because they count from the newest entry: entries inserted since then are found at their indices, and
//! earlier ones are [`Name::Unknown`]. For the same reason, the exact size of the table does not matter: eviction
//! removes the oldest entries and shifts no index, and no encoder refers to an entry that it has evicted. A table that
//! keeps more than its encoder does gives the same answers; one that keeps less gives `Unknown`. Where a size cannot be
//! known, another one is therefore good enough: an entry with an unknown name counts without the length of its name,
//! and a table that may have missed a size update has [`UNSEEN_TABLE`]. No table keeps more than [`MAX_TABLE`].
//!
//! `SETTINGS_HEADER_TABLE_SIZE` is not needed: every change of a table's size is signalled in the header blocks
//! themselves (RFC 7541, section 4.2), and thus in order with them. SETTINGS frames and their acknowledgements are not
//! in order with the blocks.

mod table;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use octets::Octets;
pub(super) use table::STATIC;

use super::fields::Name;

/// Maximum size of a table in bytes, as RFC 7541 computes it; further old entries are evicted. Browsers ask for 64 KiB.
pub(super) const MAX_TABLE: usize = 64 << 10;
/// Maximum size of a table before its first size update (RFC 9113, section 6.5.2).
const INITIAL_TABLE: usize = 4096;
/// Maximum size of a table that may have missed size updates. It is larger than what encoders use without an update.
const UNSEEN_TABLE: usize = 16 << 10;
/// Overhead of an entry, which RFC 7541 adds to the lengths of its name and value.
const OVERHEAD: usize = 32;

/// The error for a header block that is not valid HPACK.
#[derive(Debug, thiserror::Error)]
#[error("The header block is not valid HPACK.")]
pub(super) struct Invalid;

/// An entry of the dynamic table.
#[derive(Debug)]
struct Entry {
    name: Name,
    /// Length of the name in bytes; 0 if it is unknown.
    name_length: u32,
    /// The part of the value that is kept: see [`Name::keep`].
    value: Option<Box<str>>,
    /// Length of the whole value in bytes.
    value_length: u32,
}

impl Entry {
    /// Returns the size as RFC 7541 computes it; without the length of the name if that is unknown.
    fn size(&self) -> usize {
        OVERHEAD + self.name_length as usize + self.value_length as usize
    }
}

/// The decoder of the header blocks of one direction. Its only state is the dynamic table.
#[derive(Debug)]
pub(super) struct Table {
    /// The entries, newest first.
    entries: VecDeque<Entry>,
    size: usize,
    capacity: usize,
    /// Number of bytes of all [`Entry::value`]s.
    kept: usize,
}

impl Table {
    /// Returns the table of a connection that is seen from its beginning.
    pub(super) fn new() -> Self {
        Self { entries: VecDeque::new(), size: 0, capacity: INITIAL_TABLE, kept: 0 }
    }

    /// Returns a table with unknown contents.
    pub(super) fn unknown() -> Self {
        Self { capacity: UNSEEN_TABLE, ..Self::new() }
    }

    /// Returns the number of bytes on the heap.
    pub(super) fn memory(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>() + self.kept
    }

    /// Decodes a whole header block and passes each field to `field`: its name, and the part of its value that is kept.
    /// After an error, the contents of the table are unknown.
    pub(super) fn decode(
        &mut self,
        block: &[u8],
        field: &mut dyn FnMut(Name, Option<&str>),
    ) -> Result<(), Invalid> {
        let mut input = Octets::with_slice(block);
        let mut begun = false;
        while input.cap() > 0 {
            let result = self.decode_field(&mut input, begun, field);
            begun |= matches!(result, Ok(true));
            if result.is_err() {
                *self = Self::unknown();
                return Err(Invalid);
            }
        }
        Ok(())
    }

    /// Decodes one representation (RFC 7541, section 6). Returns true if it was a field, and false if it was a size
    /// update. `begun` is true if a field came before in this block; a size update is invalid then.
    fn decode_field(
        &mut self,
        input: &mut Octets<'_>,
        begun: bool,
        field: &mut dyn FnMut(Name, Option<&str>),
    ) -> Result<bool, Invalid> {
        let first = input.peek_u8().map_err(|_| Invalid)?;
        if first & 0x80 != 0 {
            let index = integer(input, 7)?;
            self.indexed(index, field)?;
        } else if first & 0xc0 == 0x40 {
            let entry = self.literal(input, 6)?;
            field(entry.name, entry.value.as_deref());
            self.insert(entry);
        } else if first & 0xe0 == 0x20 {
            let capacity = integer(input, 5)?;
            if begun {
                return Err(Invalid);
            }
            self.capacity = usize::try_from(capacity).unwrap_or(MAX_TABLE).min(MAX_TABLE);
            self.evict(0);
            return Ok(false);
        } else {
            let entry = self.literal(input, 4)?;
            field(entry.name, entry.value.as_deref());
        }
        Ok(true)
    }

    /// Passes the field at an index of the static or dynamic table to `field`.
    fn indexed(&self, index: u32, field: &mut dyn FnMut(Name, Option<&str>)) -> Result<(), Invalid> {
        let index = (index as usize).checked_sub(1).ok_or(Invalid)?;
        if let Some((name, value)) = STATIC.get(index) {
            let name = Name::of(name.as_bytes());
            field(name, (!matches!(name, Name::Pseudo | Name::Other)).then_some(*value));
        } else if let Some(entry) = self.entries.get(index - STATIC.len()) {
            field(entry.name, entry.value.as_deref());
        } else {
            field(Name::Unknown, None);
        }
        Ok(())
    }

    /// Decodes a literal field as an entry, which the caller may insert.
    fn literal(&self, input: &mut Octets<'_>, prefix: u32) -> Result<Entry, Invalid> {
        let (name, name_length) = match integer(input, prefix)? as usize {
            0 => string(input, |name| (Name::of(name), name.len() as u32))?,
            index => match STATIC.get(index - 1) {
                Some((name, _)) => (Name::of(name.as_bytes()), name.len() as u32),
                None => match self.entries.get(index - 1 - STATIC.len()) {
                    Some(entry) => (entry.name, entry.name_length),
                    None => (Name::Unknown, 0),
                },
            },
        };
        let (value, value_length) = string(input, |value| (name.keep(value), value.len() as u32))?;
        Ok(Entry { name, name_length, value, value_length })
    }

    /// Inserts an entry. An entry that is larger than the table empties it (RFC 7541, section 4.4).
    fn insert(&mut self, entry: Entry) {
        self.evict(entry.size());
        if entry.size() <= self.capacity {
            self.size += entry.size();
            self.kept += entry.value.as_ref().map_or(0, |value| value.len());
            self.entries.push_front(entry);
        }
    }

    /// Evicts the oldest entries until there is room for `size` more.
    fn evict(&mut self, size: usize) {
        while self.size + size > self.capacity {
            let Some(entry) = self.entries.pop_back() else { return };
            self.size -= entry.size();
            self.kept -= entry.value.map_or(0, |value| value.len());
        }
    }
}

/// Decodes an integer with a prefix of `prefix` bits (RFC 7541, section 5.1).
fn integer(input: &mut Octets<'_>, prefix: u32) -> Result<u32, Invalid> {
    let mask = (1u8 << prefix) - 1;
    let first = input.get_u8().map_err(|_| Invalid)? & mask;
    let mut value = u64::from(first);
    if first < mask {
        return Ok(first.into());
    }
    // A valid integer fits into 32 bits, which five bytes of seven bits can hold.
    for shift in [0, 7, 14, 21, 28] {
        let byte = input.get_u8().map_err(|_| Invalid)?;
        value += u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return u32::try_from(value).map_err(|_| Invalid);
        }
    }
    Err(Invalid)
}

/// Decodes a string (RFC 7541, section 5.2) and passes it to `read`.
fn string<T>(input: &mut Octets<'_>, read: impl FnOnce(&[u8]) -> T) -> Result<T, Invalid> {
    let huffman = input.peek_u8().map_err(|_| Invalid)? & 0x80 != 0;
    let length = integer(input, 7)? as usize;
    let mut bytes = input.get_bytes(length).map_err(|_| Invalid)?;
    if huffman {
        // The shortest Huffman code has five bits, so a string decodes to less than twice its length.
        Ok(read(&bytes.get_huffman_decoded().map_err(|_| Invalid)?))
    } else {
        Ok(read(bytes.buf()))
    }
}
