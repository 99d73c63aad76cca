//! A file with a limit on the number of bytes that are read, even if its headers lead to the same bytes repeatedly.

use std::{cell::Cell, fs::File, io, os::unix::fs::FileExt as _};

use object::pod::slice_from_all_bytes;

use super::{MOST_HEADERS, MOST_TEXT, Range};

/// A file, and the number of bytes that may still be read of it.
#[derive(Debug)]
pub(super) struct Source<'a> {
    file: &'a File,
    /// Number of bytes that may still be read of the file.
    pub(super) left: Cell<u64>,
}

impl<'a> Source<'a> {
    pub(super) fn new(file: &'a File, most: u64) -> Self {
        Self { file, left: Cell::new(most) }
    }

    /// Reads a part of the file. Returns [`io::ErrorKind::InvalidData`] if the part is longer than what may still be
    /// read.
    pub(super) fn read(&self, range: Range) -> io::Result<Vec<u8>> {
        let Some(left) = self.left.get().checked_sub(range.length) else {
            return Err(invalid("more to read than any file needs"));
        };
        self.left.set(left);
        let mut bytes = vec![0; usize::try_from(range.length).map_err(io::Error::other)?];
        // The read fails if the file is shorter than its headers say.
        self.file.read_exact_at(&mut bytes, range.offset)?;
        Ok(bytes)
    }

    /// Reads a table of headers. Returns an empty one if there is none, or if it has more than [`MOST_HEADERS`].
    pub(super) fn table<T: object::pod::Pod + Copy>(&self, offset: u64, count: u16) -> io::Result<Vec<T>> {
        if offset == 0 || count > MOST_HEADERS {
            return Ok(Vec::new());
        }
        let bytes = self.read(Range { offset, length: u64::from(count) * size_of::<T>() as u64 })?;
        slice_from_all_bytes::<T>(&bytes).map(<[T]>::to_vec).map_err(|()| invalid("a broken table"))
    }
}

/// A part of a file from which numbers are read at mostly ascending offsets, so that few reads are needed.
#[derive(Debug)]
pub(super) struct Window<'a> {
    source: &'a Source<'a>,
    part: Range,
    /// Offset of `bytes` in `part`.
    start: u64,
    bytes: Vec<u8>,
}

impl<'a> Window<'a> {
    /// Number of bytes in one read.
    const LENGTH: u64 = 1 << 16;

    pub(super) fn new(source: &'a Source<'a>, part: Range) -> Self {
        Self { source, part, start: 0, bytes: Vec::new() }
    }

    /// Reads a number of `size` bytes, at most 8, at an offset of the part. Returns `None` beyond the end of the part.
    ///
    /// # Errors
    ///
    /// The same as of [`Source::read`].
    pub(super) fn number(&mut self, at: u64, size: usize) -> io::Result<Option<u64>> {
        let end = at.checked_add(size as u64).filter(|end| *end <= self.part.length);
        let (Some(end), Some(offset)) = (end, self.part.offset.checked_add(at)) else { return Ok(None) };
        if at < self.start || end > self.start + self.bytes.len() as u64 {
            let length = Self::LENGTH.min(self.part.length - at);
            (self.start, self.bytes) = (at, self.source.read(Range { offset, length })?);
        }
        let within = usize::try_from(at - self.start).map_err(io::Error::other)?;
        let mut number = [0; 8];
        let (Some(to), Some(from)) = (number.get_mut(..size), self.bytes.get(within..within + size)) else {
            return Ok(None);
        };
        to.copy_from_slice(from);
        Ok(Some(u64::from_le_bytes(number)))
    }
}

/// Reads a text in a file from an offset up to the byte `end`, or up to [`MOST_TEXT`] bytes. Returns `None` if the text
/// is empty or cannot be read.
pub(crate) fn text_at(file: &File, offset: u64, end: u8) -> Option<Vec<u8>> {
    let mut bytes = vec![0; MOST_TEXT];
    let read = file.read_at(&mut bytes, offset).ok()?;
    bytes.truncate(read);
    if let Some(length) = bytes.iter().position(|byte| *byte == end) {
        bytes.truncate(length);
    }
    (!bytes.is_empty()).then_some(bytes)
}

pub(super) fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
