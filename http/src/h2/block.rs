//! Header blocks, assembled from their frames.

use super::frame::{Frame, HEADER, Kind, PADDED, PRIORITY};

/// Maximum number of bytes of a header block that is decoded, including padding. Servers accept less.
pub(super) const MAX_BLOCK: usize = 64 << 10;
/// Maximum number of frames of a header block that is decoded. Without this limit, a flood of empty CONTINUATION frames
/// could go on without end.
pub(super) const MAX_FRAMES: u32 = 128;

/// A header block, possibly incomplete.
#[derive(Debug)]
pub(super) struct Block {
    /// The HEADERS or PUSH_PROMISE frame that begins the block.
    pub(super) frame: Frame,
    /// The stream that a PUSH_PROMISE reserves, once [`Self::strip`] has read it.
    pub(super) promised: Option<u32>,
    /// Time of the first byte of the block.
    pub(super) began: u64,
    /// Number of bytes on the connection, including frame headers.
    pub(super) wire: u64,
    frames: u32,
    /// The payloads of the frames so far; `None` if the block is too large.
    content: Option<Vec<u8>>,
}

impl Block {
    /// Creates a block from the header of a HEADERS or PUSH_PROMISE frame. `began` is the time of the frame's first
    /// byte.
    pub(super) fn new(frame: Frame, began: u64) -> Self {
        let wire = HEADER as u64 + u64::from(frame.length);
        Self { frame, promised: None, began, wire, frames: 1, content: Some(Vec::new()) }
    }

    /// Counts a CONTINUATION frame of the block. Above [`MAX_FRAMES`], the content is dropped.
    pub(super) fn continue_with(&mut self, frame: Frame) {
        self.wire += HEADER as u64 + u64::from(frame.length);
        self.frames += 1;
        if self.frames > MAX_FRAMES {
            self.content = None;
        }
    }

    /// Adds bytes of a frame's payload. Above [`MAX_BLOCK`], the content is dropped.
    pub(super) fn append(&mut self, bytes: &[u8]) {
        if let Some(content) = &mut self.content {
            if content.len() + bytes.len() > MAX_BLOCK {
                self.content = None;
            } else {
                content.extend_from_slice(bytes);
            }
        }
    }

    /// Removes padding, priority and the promised stream from the payload of the first frame, which must be complete.
    /// Returns false if the payload is too short for them.
    pub(super) fn strip(&mut self) -> bool {
        let Some(content) = &mut self.content else { return true };
        let padded = usize::from(self.frame.has(PADDED));
        let padding = match content.first() {
            Some(padding) if padded == 1 => usize::from(*padding),
            _ => 0,
        };
        let promise = self.frame.kind == Kind::PushPromise;
        let fields = match self.frame.kind {
            Kind::PushPromise => 4,
            Kind::Headers if self.frame.has(PRIORITY) => 5,
            _ => 0,
        };
        let Some(end) = content.len().checked_sub(padding).filter(|end| *end >= padded + fields) else {
            return false;
        };
        if promise && let Some(id) = content[padded..].first_chunk() {
            self.promised = Some(u32::from_be_bytes(*id) & 0x7fff_ffff);
        }
        content.truncate(end);
        content.drain(..padded + fields);
        true
    }

    /// Returns the bytes of the block; `None` if it is too large.
    pub(super) fn content(&self) -> Option<&[u8]> {
        self.content.as_deref()
    }

    /// Returns the number of bytes on the heap.
    pub(super) fn memory(&self) -> usize {
        self.content.as_ref().map_or(0, Vec::capacity)
    }
}
