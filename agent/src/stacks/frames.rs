//! Frames (functions with names), stored once for all processes.

use std::{collections::HashSet, sync::Arc};

use traffictrace_profile::Frame;

use super::cache;

/// The frames of all processes, where equal ones are stored once.
#[derive(Debug, Default)]
pub(super) struct Frames {
    known: HashSet<Arc<Frame>>,
    /// Size of the frames in bytes.
    bytes: usize,
}

impl Frames {
    /// Number of frames, and their size in bytes, beyond which [`Frames::tidy`] drops frames without users.
    const MOST: usize = 1 << 14;
    const MOST_BYTES: usize = 4 << 20;

    pub(super) fn shared(&mut self, mut frame: Frame) -> Arc<Frame> {
        if let Some(known) = self.known.get(&frame) {
            return Arc::clone(known);
        }
        frame.name.shrink_to_fit();
        frame.module.shrink_to_fit();
        let frame = Arc::new(frame);
        self.bytes += cache::bytes_of(&frame);
        self.known.insert(Arc::clone(&frame));
        frame
    }

    /// Drops unused frames if there are many. Frames in use may belong to profiles, which have limits of their own.
    pub(super) fn tidy(&mut self) {
        if self.known.len() > Self::MOST || self.bytes > Self::MOST_BYTES {
            self.known.retain(|frame| Arc::strong_count(frame) > 1);
            self.known.shrink_to(Self::MOST);
            self.bytes = self.known.iter().map(|frame| cache::bytes_of(frame)).sum();
        }
    }
}

#[cfg(test)]
mod tests {
    use traffictrace_profile::FrameKind;

    use super::*;

    #[test]
    fn equal_frames_are_one_and_long_names_are_forgotten_first() {
        let mut frames = Frames::default();
        let frame = |name: String| Frame { name, module: String::new(), kind: FrameKind::User };
        let kept = frames.shared(frame("a".to_owned()));
        assert!(Arc::ptr_eq(&kept, &frames.shared(frame("a".to_owned()))));
        for number in 0..Frames::MOST_BYTES / 512 {
            frames.shared(frame(format!("{number:512}")));
        }
        assert!(frames.bytes > Frames::MOST_BYTES);
        frames.tidy();
        assert_eq!((frames.known.len(), frames.bytes), (1, cache::bytes_of(&kept)));
    }
}
