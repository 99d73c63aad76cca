//! Limits of the memory that a profile from a file may take.
//!
//! A small file can need much memory: gzip may expand one byte to a thousand, many stacks may name the same text of the string
//! table, and each function on a stack takes only two bytes. So the memory of everything that is kept is deducted from a
//! [`Room`] before it is allocated.

use super::ReadError;

/// Maximum size of an uncompressed profile, in bytes.
pub(super) const MAX_SIZE: u64 = 32 << 20;
/// Maximum number of messages and texts.
pub(super) const MAX_ENTRIES: usize = 1 << 20;
/// Maximum size of a nested message (a stack, a function or a location), in bytes.
pub(super) const MAX_MESSAGE: usize = 64 << 10;
/// Maximum length of a text, in bytes. The longest of ours are names of cgroups, and the sentences about the
/// coverage.
pub(super) const MAX_TEXT: usize = 16 << 10;
/// Maximum number of functions on one stack.
pub(super) const MAX_DEPTH: usize = 4096;
/// Maximum number of labels of one stack. Ours have seven.
pub(super) const MAX_LABELS: usize = 16;
/// Maximum number of comments. Ours have fewer than a hundred.
pub(super) const MAX_COMMENTS: usize = 1024;

/// Memory for one profile, in bytes: enough for a hundred thousand stacks of forty functions each.
const OF_ONE: u64 = 256 << 20;
/// Memory for many profiles that are read together, in bytes.
const OF_MANY: u64 = 2 << 30;
/// Bytes deducted for a location, process or stack, in addition to its texts.
const OF_THING: u64 = 256;
/// Bytes deducted for a function on a stack.
const OF_FRAME: u64 = 32;
/// The length of a function's name, divided by this number, is deducted for each function on a stack in addition,
/// because comparing two stacks reads the names of their functions.
const OF_NAME: u64 = 8;

/// Memory that several profiles from files may take together.
#[derive(Debug)]
pub struct Room {
    total: u64,
    left: u64,
}

impl Room {
    /// Makes a room of `total` bytes.
    pub fn new(total: u64) -> Self {
        Self { total, left: total }
    }

    /// Makes a room for the profiles of all nodes of a trace.
    pub fn of_many() -> Self {
        Self::new(OF_MANY)
    }

    /// Returns the memory that the next profile may take.
    pub(super) fn of_next(&self) -> OneRoom {
        OneRoom {
            left: self.left.min(OF_ONE),
            total: OF_ONE,
            shared: (self.left < OF_ONE).then_some(self.total),
        }
    }

    /// Deducts the memory of a profile that was read.
    pub(super) fn take(&mut self, profile: &OneRoom) {
        let had = self.left.min(OF_ONE);
        self.left = self.left.saturating_sub(had - profile.left);
    }
}

impl Default for Room {
    /// Makes a room for a single profile.
    fn default() -> Self {
        Self::new(OF_ONE)
    }
}

/// Memory for one profile.
#[derive(Debug)]
pub(super) struct OneRoom {
    left: u64,
    total: u64,
    /// Total of the [`Room`], in bytes, if less is left in it than one profile may take. An error then says that all
    /// profiles together are too large.
    shared: Option<u64>,
}

impl OneRoom {
    /// Deducts the memory of a location, process or stack with these texts.
    pub(super) fn thing(&mut self, texts: &[&str]) -> Result<(), ReadError> {
        let bytes: usize = texts.iter().map(|text| text.len()).sum();
        self.take(OF_THING + bytes as u64)
    }

    /// Deducts the memory of a function on a stack.
    pub(super) fn frame(&mut self, name: &str) -> Result<(), ReadError> {
        self.take(OF_FRAME + name.len() as u64 / OF_NAME)
    }

    fn take(&mut self, bytes: u64) -> Result<(), ReadError> {
        let full = || match self.shared {
            Some(most) => ReadError::TooMany { most },
            None => ReadError::TooLarge { most: self.total, what: "bytes in memory" },
        };
        self.left = self.left.checked_sub(bytes).ok_or_else(full)?;
        Ok(())
    }
}
