//! The decision on how a process's stacks are taken, based on the results so far.

use super::Mode;

/// Number of whole copies in a row, each followed to the root by frame pointers as well, after which the kernel unwinds
/// by frame pointers and nothing is copied.
const AGREED: u32 = 50;
/// Maximum of [`Modes::needed`], which grows fourfold each time that frame pointers fail.
const MOST_AGREED: u32 = 50 << 8;
/// Minimum number of functions of a stack that counts for `AGREED`: short stacks prove little.
const FEWEST_FRAMES: usize = 3;
/// Amount that a bad stack adds to [`Modes::bad`]. A good one subtracts 1.
const WEIGHT: u32 = 16;
/// Value of [`Modes::bad`] at which the mode is changed: three bad stacks in a row, or more than one in sixteen for
/// long.
const ENOUGH: u32 = 3 * WEIGHT;

/// Result of resolving a stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A copy led to the root over this number of functions, and frame pointers led over the same ones.
    Agreed(usize),
    /// A copy led to the root, but frame pointers did not.
    Whole,
    /// A copy of this number of bytes was too short.
    Short(usize),
    /// A copy could not be followed.
    Lost,
    /// The kernel's frame pointers led to the root.
    Chain,
    /// The kernel's frame pointers did not lead to the root.
    BrokenChain,
}

impl Mode {
    /// Maximum number of bytes that are copied.
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::Copy8 => 8 << 10,
            Self::Copy16 => 16 << 10,
            Self::Copy32 => 32 << 10,
            Self::Copy64 => 64 << 10,
            Self::FramePointers => 0,
        }
    }

    fn larger(self) -> Option<Self> {
        match self {
            Self::Copy8 => Some(Self::Copy16),
            Self::Copy16 => Some(Self::Copy32),
            Self::Copy32 => Some(Self::Copy64),
            Self::Copy64 | Self::FramePointers => None,
        }
    }
}

/// State of the decision for one process.
#[derive(Debug)]
pub(super) struct Modes {
    mode: Mode,
    /// Mode to which the process returns if frame pointers fail.
    copies: Mode,
    /// Number of whole copies in a row that frame pointers follow as well.
    agreed: u32,
    /// Value of `agreed` at which the kernel begins to unwind by frame pointers.
    needed: u32,
    /// Measure of the bad stacks so far: see [`WEIGHT`].
    bad: u32,
}

impl Default for Modes {
    fn default() -> Self {
        Self { mode: Mode::default(), copies: Mode::default(), agreed: 0, needed: AGREED, bad: 0 }
    }
}

impl Modes {
    /// Records the result of a stack. Returns the new mode if it has to change.
    pub(super) fn take(&mut self, outcome: Outcome) -> Option<Mode> {
        let followed = self.mode == Mode::FramePointers;
        // Samples that were taken before the mode changed say nothing about the new mode.
        match outcome {
            Outcome::Agreed(_) | Outcome::Whole | Outcome::Short(_) | Outcome::Lost if followed => None,
            Outcome::Chain | Outcome::BrokenChain if !followed => None,
            Outcome::Agreed(frames) if frames >= FEWEST_FRAMES => {
                self.good();
                self.agreed += 1;
                (self.agreed >= self.needed).then(|| self.change(Mode::FramePointers))
            }
            Outcome::Agreed(_) => None,
            Outcome::Whole => {
                self.good();
                self.agreed = 0;
                None
            }
            Outcome::Lost => {
                self.agreed = 0;
                None
            }
            Outcome::Short(bytes) if bytes < self.mode.bytes() => None,
            Outcome::Short(_) => {
                self.agreed = 0;
                let larger = self.mode.larger()?;
                self.is_enough().then(|| self.change(larger))
            }
            Outcome::Chain => {
                self.good();
                None
            }
            Outcome::BrokenChain => self.is_enough().then(|| {
                self.needed = (self.needed * 4).min(MOST_AGREED);
                self.change(self.copies)
            }),
        }
    }

    fn good(&mut self) {
        self.bad = self.bad.saturating_sub(1);
    }

    fn is_enough(&mut self) -> bool {
        self.bad += WEIGHT;
        self.bad >= ENOUGH
    }

    fn change(&mut self, to: Mode) -> Mode {
        if to != Mode::FramePointers {
            self.copies = to;
        }
        (self.mode, self.agreed, self.bad) = (to, 0, 0);
        to
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records the same result `count` times. Returns each new mode, with the number of the stack that caused it.
    fn repeat(modes: &mut Modes, outcome: Outcome, count: u32) -> Vec<(u32, Mode)> {
        (1..=count).filter_map(|number| modes.take(outcome).map(|mode| (number, mode))).collect()
    }

    #[test]
    fn copies_grow_while_they_are_short_to_a_bound() {
        let mut modes = Modes::default();
        assert_eq!(repeat(&mut modes, Outcome::Short(8 << 10), 10), [(3, Mode::Copy16)]);
        assert_eq!(repeat(&mut modes, Outcome::Short(16 << 10), 3), [(3, Mode::Copy32)]);
        assert_eq!(repeat(&mut modes, Outcome::Short(32 << 10), 3), [(3, Mode::Copy64)]);
        assert_eq!(repeat(&mut modes, Outcome::Short(64 << 10), 100), []);
    }

    #[test]
    fn a_deep_stack_now_and_then_makes_no_copy_larger() {
        let mut modes = Modes::default();
        for _ in 0..100 {
            assert_eq!(modes.take(Outcome::Short(8 << 10)), None);
            assert_eq!(repeat(&mut modes, Outcome::Whole, 20), []);
        }
    }

    #[test]
    fn frame_pointers_are_followed_after_fifty_agreements_in_a_row() {
        let mut modes = Modes::default();
        assert_eq!(repeat(&mut modes, Outcome::Agreed(9), 49), []);
        assert_eq!(modes.take(Outcome::Whole), None);
        assert_eq!(repeat(&mut modes, Outcome::Agreed(2), 100), [], "two functions say nothing");
        assert_eq!(repeat(&mut modes, Outcome::Agreed(9), 60), [(50, Mode::FramePointers)]);
    }

    #[test]
    fn broken_chains_lead_back_to_copies_and_make_agreement_harder() {
        let mut modes = Modes::default();
        repeat(&mut modes, Outcome::Short(8 << 10), 3);
        repeat(&mut modes, Outcome::Agreed(9), 50);
        assert_eq!(repeat(&mut modes, Outcome::Short(64 << 10), 9), [], "on its way before");
        assert_eq!(repeat(&mut modes, Outcome::BrokenChain, 3), [(3, Mode::Copy16)]);
        assert_eq!(repeat(&mut modes, Outcome::BrokenChain, 9), [], "on its way before");
        assert_eq!(repeat(&mut modes, Outcome::Agreed(9), 300), [(200, Mode::FramePointers)]);
        // A thread that begins in an unknown function has a broken chain. One such stack in thirty does not change the
        // mode.
        for _ in 0..100 {
            assert_eq!(modes.take(Outcome::BrokenChain), None);
            assert_eq!(repeat(&mut modes, Outcome::Chain, 30), []);
        }
    }
}
