//! Limits of what a profile from a file may take.
//!
//! A profile is small in its file and may be large in memory: gzip makes a thousand bytes of one, a text has one place in the
//! table and many stacks that name it, and a stack is a list of numbers of two bytes. Everything that is kept is paid for from
//! a [`Room`], before it is made.

use super::ReadError;

/// Largest profile without its compression, in bytes.
pub(super) const MAX_SIZE: u64 = 32 << 20;
/// Largest number of messages and texts.
pub(super) const MAX_ENTRIES: usize = 1 << 20;
/// Largest message inside of one, in bytes: a stack, a function, a place.
pub(super) const MAX_MESSAGE: usize = 64 << 10;
/// Longest text, in bytes. The longest of ours are the names of cgroups, and how the stacks were taken.
pub(super) const MAX_TEXT: usize = 16 << 10;
/// Largest number of functions of one stack.
pub(super) const MAX_DEPTH: usize = 4096;
/// Largest number of labels of one stack, of which ours have seven.
pub(super) const MAX_LABELS: usize = 16;
/// Largest number of comments, of which ours have fewer than a hundred.
pub(super) const MAX_COMMENTS: usize = 1024;

/// The room of one profile: that of a hundred thousand stacks of forty functions each.
const OF_ONE: u64 = 256 << 20;
/// The room of many profiles that are read together, in bytes.
const OF_MANY: u64 = 2 << 30;
/// Bytes that a thing takes beside its texts.
const OF_THING: u64 = 256;
/// Bytes that a function in a stack takes.
const OF_FRAME: u64 = 32;
/// A function in a stack takes one part in so many of its name, too, since comparing two stacks goes through the names of
/// their functions.
const OF_NAME: u64 = 8;

/// Memory that profiles from files may take together.
#[derive(Debug)]
pub struct Room {
    total: u64,
    left: u64,
}

impl Room {
    /// Room for profiles of so many bytes of memory.
    pub fn new(total: u64) -> Self {
        Self { total, left: total }
    }

    /// Room for the profiles of all nodes of a trace.
    pub fn of_many() -> Self {
        Self::new(OF_MANY)
    }

    /// The room that is there for the next profile.
    pub(super) fn of_next(&self) -> OneRoom {
        OneRoom {
            left: self.left.min(OF_ONE),
            total: OF_ONE,
            shared: (self.left < OF_ONE).then_some(self.total),
        }
    }

    /// Takes the room of a profile that was read.
    pub(super) fn take(&mut self, profile: &OneRoom) {
        let had = self.left.min(OF_ONE);
        self.left = self.left.saturating_sub(had - profile.left);
    }
}

impl Default for Room {
    /// Room for one profile.
    fn default() -> Self {
        Self::new(OF_ONE)
    }
}

/// The room of one profile.
#[derive(Debug)]
pub(super) struct OneRoom {
    left: u64,
    total: u64,
    /// The room of several profiles, if that ends first.
    shared: Option<u64>,
}

impl OneRoom {
    /// Takes the room of something that has these texts.
    pub(super) fn thing(&mut self, texts: &[&str]) -> Result<(), ReadError> {
        let bytes: usize = texts.iter().map(|text| text.len()).sum();
        self.take(OF_THING + bytes as u64)
    }

    /// Takes the room of a function in a stack.
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
