//! Which way the stacks of a process are taken, by what came of those before.

use super::Mode;

/// Whole stacks in a row, all found by frame pointers as well, after which the kernel is to follow them.
const AGREED: u32 = 50;
/// What that number grows to where it proved too low.
const MOST_AGREED: u32 = 50 << 8;
/// Functions a stack has at least to say something.
const FEWEST_FRAMES: usize = 3;
/// How much a bad stack weighs against good ones.
const WEIGHT: u32 = 16;
/// Weight of bad stacks at which the way is changed: three in a row, or one in sixteen for long.
const ENOUGH: u32 = 3 * WEIGHT;

/// What came of a stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A copy led to the root, over so many functions, and frame pointers led over the same ones.
    Agreed(usize),
    /// A copy led to the root, and frame pointers did not.
    Whole,
    /// A copy of so many bytes was too short.
    Short(usize),
    /// A copy led nowhere.
    Lost,
    /// The kernel's frame pointers led to the root.
    Chain,
    /// They did not.
    BrokenChain,
}

impl Mode {
    /// Bytes that are copied at most.
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

/// The way a process's stacks are taken.
#[derive(Debug)]
pub(super) struct Modes {
    mode: Mode,
    /// The copies that were taken before frame pointers were followed.
    copies: Mode,
    /// Whole stacks in a row that frame pointers find as well.
    agreed: u32,
    /// How many of them are asked for.
    needed: u32,
    /// Weight of the bad stacks.
    bad: u32,
}

impl Default for Modes {
    fn default() -> Self {
        Self { mode: Mode::default(), copies: Mode::default(), agreed: 0, needed: AGREED, bad: 0 }
    }
}

impl Modes {
    pub(super) fn mode(&self) -> Mode {
        self.mode
    }

    /// Takes what came of a stack; another way, if there is to be one from now on.
    pub(super) fn take(&mut self, outcome: Outcome) -> Option<Mode> {
        let followed = self.mode == Mode::FramePointers;
        // Samples that were on their way while the mode changed say nothing about the new one.
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

    /// What is asked for while the same comes again and again, with the number of stacks after which it was.
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
        // One broken chain in thirty is a thread that begins elsewhere.
        for _ in 0..100 {
            assert_eq!(modes.take(Outcome::BrokenChain), None);
            assert_eq!(repeat(&mut modes, Outcome::Chain, 30), []);
        }
    }
}
