//! HPACK (RFC 7541) as an observer reads it.
//!
//! An observer may come late or miss bytes, so that entries were inserted into the dynamic table unseen. Indices still
//! tell right: they count from the newest entry on, so what was inserted since is found where it should be, and what
//! lies behind is [`Name::Unknown`]. For the same reason the table's exact size decides nothing: eviction takes the
//! oldest entries and shifts no index, and no encoder refers to an entry that it evicted. A table that keeps more than
//! its encoder does gives the same answers; one that keeps less gives `Unknown`. So sizes that cannot be known are taken
//! for others: an entry with an unknown name for a smaller one, and a table whose size update may have been missed for
//! one of [`UNSEEN_TABLE`]. No table keeps more than [`MAX_TABLE`].
//!
//! `SETTINGS_HEADER_TABLE_SIZE` is not needed: every change that it leads to is signalled in the header blocks
//! themselves (section 4.2), and so in order with them, which settings and their acknowledgement are not.

mod table;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use octets::Octets;
pub(super) use table::STATIC;

use super::fields::Name;

/// Bound on a table's size as RFC 7541 counts it (browsers ask for 64 KiB): older entries are forgotten.
pub(super) const MAX_TABLE: usize = 64 << 10;
/// Size of a table before its first size update.
const INITIAL_TABLE: usize = 4096;
/// Size of a table whose size updates may have been missed: more than encoders use unless they say so.
const UNSEEN_TABLE: usize = 16 << 10;
/// Size that an entry counts beside its name and value.
const OVERHEAD: usize = 32;

/// A header block that is no HPACK.
#[derive(Debug, thiserror::Error)]
#[error("The header block is not valid HPACK.")]
pub(super) struct Invalid;

/// An entry of the dynamic table.
#[derive(Debug)]
struct Entry {
    name: Name,
    /// Length of the name, 0 if it is unknown.
    name_length: u32,
    /// What is kept of the value: see [`Name::keep`].
    value: Option<Box<str>>,
    /// Length of the value.
    value_length: u32,
}

impl Entry {
    /// Size as RFC 7541 counts it; less if the name is unknown.
    fn size(&self) -> usize {
        OVERHEAD + self.name_length as usize + self.value_length as usize
    }
}

/// The decoder of one way's header blocks: its dynamic table.
#[derive(Debug)]
pub(super) struct Table {
    /// The newest first.
    entries: VecDeque<Entry>,
    size: usize,
    capacity: usize,
    /// Bytes of the values that are kept.
    kept: usize,
}

impl Table {
    /// The table of a connection that is seen from its beginning.
    pub(super) fn new() -> Self {
        Self { entries: VecDeque::new(), size: 0, capacity: INITIAL_TABLE, kept: 0 }
    }

    /// A table that was filled unseen.
    pub(super) fn unknown() -> Self {
        Self { capacity: UNSEEN_TABLE, ..Self::new() }
    }

    /// Bytes of memory in use.
    pub(super) fn memory(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>() + self.kept
    }

    /// Decodes a whole header block and hands over each field: its name, and what is kept of its value. After an error
    /// the table is unknown.
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

    /// Decodes one representation and returns whether it was a field's. `begun` says that a field came before.
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

    /// Hands over the field at an index.
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

    /// Reads a literal, as the entry that it may become.
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

    /// Inserts an entry. One that is larger than the table empties it (section 4.4).
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

/// Reads an integer with a prefix of so many bits (section 5.1).
fn integer(input: &mut Octets<'_>, prefix: u32) -> Result<u32, Invalid> {
    let mask = (1u8 << prefix) - 1;
    let first = input.get_u8().map_err(|_| Invalid)? & mask;
    let mut value = u64::from(first);
    if first < mask {
        return Ok(first.into());
    }
    // A setting's 32 bits need no more than five bytes.
    for shift in [0, 7, 14, 21, 28] {
        let byte = input.get_u8().map_err(|_| Invalid)?;
        value += u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return u32::try_from(value).map_err(|_| Invalid);
        }
    }
    Err(Invalid)
}

/// Reads a string (section 5.2).
fn string<T>(input: &mut Octets<'_>, read: impl FnOnce(&[u8]) -> T) -> Result<T, Invalid> {
    let huffman = input.peek_u8().map_err(|_| Invalid)? & 0x80 != 0;
    let length = integer(input, 7)? as usize;
    let mut bytes = input.get_bytes(length).map_err(|_| Invalid)?;
    if huffman {
        // The shortest code has five bits, so a string decodes to less than twice its bytes.
        Ok(read(&bytes.get_huffman_decoded().map_err(|_| Invalid)?))
    } else {
        Ok(read(bytes.buf()))
    }
}
