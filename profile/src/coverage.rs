//! The parts of a profile's bytes: whether their call was sampled, and what is known of their stacks.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Known;

/// Parts of a profile. All fields except `stacks` and `lost` are in bytes. The whole profile is the sum of
/// [`own`](Self::own), [`spread`](Self::spread), [`claimed`](Self::claimed) and [`missing`](Self::missing), and also
/// the sum of [`whole`](Self::whole), [`cut`](Self::cut), [`folded`](Self::folded) and `missing`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Coverage {
    /// Number of calls that were sampled: their stack was taken.
    pub stacks: u64,
    /// Number of samples that the kernel programs could not deliver.
    pub lost: u64,
    /// Bytes of calls that were sampled.
    pub own: u64,
    /// Bytes of other calls, spread over the stacks of sampled calls of the same process.
    pub spread: u64,
    /// Bytes that moved without a call (only the kernel's counters of a socket show them), at the stacks of threads
    /// that are known to move such bytes.
    pub claimed: u64,
    /// Bytes of stacks with all their functions.
    pub whole: u64,
    /// Bytes of stacks whose outermost functions are missing.
    pub cut: u64,
    /// Bytes of stacks that were added up in a common row ([`Known::Folded`], [`Known::FoldedProcesses`]).
    pub folded: u64,
    /// Bytes without a stack, by reason.
    pub missing: BTreeMap<String, u64>,
}

impl Coverage {
    /// Maximum number of separate reasons. It is limited because reasons can come from a file.
    const MAX_REASONS: usize = 64;
    /// Maximum length of a reason, in bytes.
    const MAX_REASON: usize = 100;

    /// Bytes without any stack.
    pub fn without_stack(&self) -> u64 {
        self.missing.values().fold(0, |sum, bytes| sum.saturating_add(*bytes))
    }

    /// Bytes of the whole profile.
    pub fn bytes(&self) -> u64 {
        [self.own, self.spread, self.claimed, self.without_stack()].into_iter().fold(0, u64::saturating_add)
    }

    /// Adds a row with its bytes of each kind: [`own`](Self::own), [`spread`](Self::spread) and
    /// [`claimed`](Self::claimed).
    pub fn count(&mut self, known: &Known, [own, spread, claimed]: [u64; 3]) {
        let bytes = own.saturating_add(spread).saturating_add(claimed);
        let kind = match known {
            Known::Missing(reason) => return self.miss(reason, bytes),
            Known::Whole => &mut self.whole,
            Known::Cut => &mut self.cut,
            Known::Folded | Known::FoldedProcesses => &mut self.folded,
        };
        *kind = kind.saturating_add(bytes);
        self.own = self.own.saturating_add(own);
        self.spread = self.spread.saturating_add(spread);
        self.claimed = self.claimed.saturating_add(claimed);
    }

    fn miss(&mut self, reason: &str, bytes: u64) {
        let is_kept = self.missing.len() < Self::MAX_REASONS || self.missing.contains_key(reason);
        let reason = if is_kept && reason.len() <= Self::MAX_REASON { reason } else { "other" };
        let sum = self.missing.entry(reason.to_owned()).or_default();
        *sum = sum.saturating_add(bytes);
    }

    /// Adds the parts of another profile.
    pub(super) fn add(&mut self, other: &Self) {
        for (sum, more) in [
            (&mut self.stacks, other.stacks),
            (&mut self.lost, other.lost),
            (&mut self.own, other.own),
            (&mut self.spread, other.spread),
            (&mut self.claimed, other.claimed),
            (&mut self.whole, other.whole),
            (&mut self.cut, other.cut),
            (&mut self.folded, other.folded),
        ] {
            *sum = sum.saturating_add(more);
        }
        for (reason, bytes) in &other.missing {
            self.miss(reason, *bytes);
        }
    }

    /// Describes the parts in sentences for people.
    pub fn sentences(&self) -> Vec<String> {
        let all = self.bytes();
        let mut sentences = vec![format!(
            "{} of the bytes are at their own call, {} spread over the stacks of their process, {} moved without a call.",
            share(self.own, all),
            share(self.spread, all),
            share(self.claimed, all),
        )];
        if self.cut > 0 {
            sentences.push(format!("Outer functions are missing of {} of the bytes.", share(self.cut, all)));
        }
        if self.folded > 0 {
            sentences.push(format!("{} of the bytes are in [other stacks].", share(self.folded, all)));
        }
        for (reason, bytes) in self.missing.iter().filter(|(_, bytes)| **bytes > 0) {
            sentences.push(format!("{} of the bytes have no stack: {reason}.", share(*bytes, all)));
        }
        if self.lost > 0 {
            sentences.push(format!("{} samples were lost.", self.lost));
        }
        sentences
    }
}

/// Formats a part of a whole, such as `98.2 %`. Less than the whole is never shown as 100 %, and more than nothing
/// never as 0 %.
pub fn share(part: u64, whole: u64) -> String {
    if part >= whole || whole == 0 {
        return if part == 0 { "0 %".to_owned() } else { "100 %".to_owned() };
    }
    let percent = 100.0 * part as f64 / whole as f64;
    match percent {
        _ if part == 0 => "0 %".to_owned(),
        small if small < 0.05 => "<0.1 %".to_owned(),
        large if large > 99.95 => ">99.9 %".to_owned(),
        other => format!("{other:.1} %"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_neither_none_nor_all_by_rounding() {
        for (part, whole, text) in [
            (0, 0, "0 %"),
            (0, 7, "0 %"),
            (7, 7, "100 %"),
            (1, 1_000_000, "<0.1 %"),
            (999_999, 1_000_000, ">99.9 %"),
            (1, 3, "33.3 %"),
        ] {
            assert_eq!(share(part, whole), text, "{part} of {whole}");
        }
    }

    #[test]
    fn reasons_from_files_are_bounded() {
        let mut coverage = Coverage::default();
        for number in 0..1000 {
            coverage.miss(&format!("reason {number}"), 1);
        }
        assert_eq!(coverage.missing.len(), Coverage::MAX_REASONS + 1);
        assert_eq!(coverage.without_stack(), 1000);
    }
}
