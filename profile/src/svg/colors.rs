//! Colours of frames: the hue shows the group of a function, and the shade distinguishes neighbours.

use inferno::flamegraph::color::Color;

use crate::FrameKind;

/// A group of frames with the same hue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    /// Direction, container, process and thread.
    Owner,
    /// A program or library.
    User,
    /// Code that a runtime generated.
    Jit,
    /// The kernel.
    Kernel,
    /// Missing functions of a stack.
    NoStack,
}

/// The legend in the picture's subtitle.
pub(super) const LEGEND: [(Group, &str); 5] = [
    (Group::Owner, "process"),
    (Group::User, "program"),
    (Group::Jit, "JIT"),
    (Group::Kernel, "kernel"),
    (Group::NoStack, "no stack"),
];

impl From<FrameKind> for Group {
    fn from(kind: FrameKind) -> Self {
        match kind {
            FrameKind::User => Self::User,
            FrameKind::Jit => Self::Jit,
            FrameKind::Kernel => Self::Kernel,
        }
    }
}

impl Group {
    /// Suffix of the names of this group's frames, which inferno evaluates and does not show.
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Self::Owner | Self::NoStack => "_[w]",
            Self::User => "_[i]",
            Self::Jit => "_[j]",
            Self::Kernel => "_[k]",
        }
    }

    /// Returns the colour of a function with this name.
    pub(super) fn color(self, name: &str) -> Color {
        // The darkest and the lightest shade.
        let (dark, bright): ([u8; 3], [u8; 3]) = match self {
            Self::Owner => ([205, 209, 222], [219, 223, 235]),
            Self::User => ([240, 146, 70], [252, 196, 110]),
            Self::Jit => ([120, 190, 110], [166, 220, 140]),
            Self::Kernel => ([112, 164, 226], [152, 196, 244]),
            Self::NoStack => ([168, 168, 168], [168, 168, 168]),
        };
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let shade = u32::from((hash >> 32) as u8);
        let mix = |at: usize| {
            let (dark, bright) = (u32::from(dark[at]), u32::from(bright[at]));
            // The cast is safe: the result lies between two bytes.
            (dark + (bright - dark) * shade / 255) as u8
        };
        Color::new(mix(0), mix(1), mix(2))
    }
}
