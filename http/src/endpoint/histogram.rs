//! Histograms of durations.
//!
//! The buckets are those of an HDR histogram with one significant digit: one for each microsecond up to 31 µs, and
//! above that 16 buckets of equal width for each doubling of the duration. A percentile is reported as the middle of
//! its bucket, so its error is at most 3.2 % (one part in 32); the maximum is exact. Durations above [`LONGEST`] share
//! the last bucket. Merging adds the counts of the buckets, so the merged histogram of several nodes equals that of a
//! single observer.
//!
//! Most endpoints have few requests. A histogram keeps a short list of the buckets in use (4 bytes each) until the list
//! is longer than [`MAX_SPARSE`] or a count exceeds 16 bits, and then becomes an array of all buckets (3.7 KB).

mod text;

use std::borrow::Cow;
use std::sync::LazyLock;

use hdrhistogram::Histogram as Hdr;
pub use text::TextError;

/// Longest duration with a bucket of its own: one hour, in microseconds.
pub const LONGEST: u64 = 3_600_000_000;

/// Number of significant decimal digits of a duration, by which the crate hdrhistogram chooses its buckets.
const DIGITS: u8 = 1;

/// Maximum number of buckets in a list ([`Buckets::Sparse`]); a histogram with more has an array.
const MAX_SPARSE: usize = 64;

/// Maximum number of durations in a histogram; further ones are not counted. With a million durations a second, the
/// limit is reached after 285 years.
const MAX_COUNT: u64 = 1 << 53;

/// An empty histogram. Its parameters are the only definition of the buckets.
static EMPTY: LazyLock<Hdr<u64>> = LazyLock::new(|| {
    Hdr::new_with_max(LONGEST, DIGITS).expect("bounds and digits are within what the crate allows")
});

/// The shortest duration of each bucket in microseconds, in ascending order.
static BUCKETS: LazyLock<Vec<u64>> = LazyLock::new(|| {
    std::iter::successors(Some(0), |least| Some(EMPTY.next_non_equivalent(*least)))
        .take_while(|least| *least <= LONGEST)
        .collect()
});

/// A histogram of durations in microseconds.
#[derive(Debug, Clone, Default)]
pub struct Histogram {
    /// The counts by bucket.
    buckets: Buckets,
    /// Longest recorded duration in microseconds.
    max: u64,
}

/// The counts of a histogram by bucket.
#[derive(Debug, Clone)]
enum Buckets {
    /// The buckets in use, in ascending order of their indexes.
    Sparse(Vec<Bucket>),
    /// All buckets of the histogram, also empty ones.
    Dense(Box<Hdr<u64>>),
}

/// A bucket in use.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// Index in [`BUCKETS`].
    index: u16,
    /// Number of durations in the bucket.
    count: u16,
}

impl Default for Buckets {
    fn default() -> Self {
        Self::Sparse(Vec::new())
    }
}

/// Percentiles of durations, in microseconds; all 0 if no duration was counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Latency {
    /// The median.
    pub p50: u64,
    /// The duration that 90 % of the exchanges did not exceed.
    pub p90: u64,
    /// The duration that 99 % of the exchanges did not exceed.
    pub p99: u64,
    /// The longest duration, which is exact.
    pub max: u64,
}

impl Histogram {
    /// Counts a duration in microseconds.
    pub fn record(&mut self, microseconds: u64) {
        self.max = self.max.max(microseconds);
        self.add(index_of(microseconds), 1);
    }

    /// Adds the durations of another histogram.
    pub fn merge(&mut self, other: &Self) {
        self.max = self.max.max(other.max);
        for (index, count) in other.buckets() {
            self.add(index, count);
        }
    }

    /// Returns the number of durations that were counted.
    pub fn count(&self) -> u64 {
        match &self.buckets {
            Buckets::Sparse(buckets) => buckets.iter().map(|bucket| u64::from(bucket.count)).sum(),
            Buckets::Dense(dense) => dense.len(),
        }
    }

    /// Computes the percentiles.
    pub fn latency(&self) -> Latency {
        let dense = self.dense();
        let at = |percent: u64| {
            // Of few durations, the percentile is the longest one (p99 of 50, for example), whose exact value is known.
            if dense.len().saturating_mul(percent).div_ceil(100) == dense.len() {
                return self.max;
            }
            let value = dense.value_at_quantile(percent as f64 / 100.0);
            dense.median_equivalent(value).min(self.max)
        };
        Latency { p50: at(50), p90: at(90), p99: at(99), max: self.max }
    }

    /// Returns the number of bytes on the heap.
    pub fn memory(&self) -> usize {
        match &self.buckets {
            Buckets::Sparse(buckets) => buckets.capacity() * size_of::<Bucket>(),
            Buckets::Dense(dense) => size_of::<Hdr<u64>>() + dense.distinct_values() * size_of::<u64>(),
        }
    }

    /// Adds `count` durations to a bucket, as far as [`MAX_COUNT`] allows.
    fn add(&mut self, index: usize, count: u64) {
        let count = count.min(MAX_COUNT - self.count());
        if let Buckets::Sparse(buckets) = &mut self.buckets {
            if add_sparse(buckets, index, count) {
                return;
            }
            self.buckets = Buckets::Dense(Box::new(self.dense().into_owned()));
        }
        if let Buckets::Dense(dense) = &mut self.buckets {
            dense.saturating_record_n(BUCKETS[index], count);
        }
    }

    /// Returns the indexes and counts of the buckets in use, in ascending order of the indexes.
    fn buckets(&self) -> Box<dyn Iterator<Item = (usize, u64)> + '_> {
        match &self.buckets {
            Buckets::Sparse(buckets) => {
                Box::new(buckets.iter().map(|bucket| (usize::from(bucket.index), u64::from(bucket.count))))
            }
            Buckets::Dense(dense) => Box::new(
                dense.iter_recorded().map(|step| (index_of(step.value_iterated_to()), step.count_at_value())),
            ),
        }
    }

    /// Returns the histogram as an array of all buckets.
    fn dense(&self) -> Cow<'_, Hdr<u64>> {
        match &self.buckets {
            Buckets::Sparse(buckets) => {
                let mut dense = EMPTY.clone();
                for bucket in buckets {
                    dense.saturating_record_n(BUCKETS[usize::from(bucket.index)], u64::from(bucket.count));
                }
                Cow::Owned(dense)
            }
            Buckets::Dense(dense) => Cow::Borrowed(dense),
        }
    }
}

impl PartialEq for Histogram {
    fn eq(&self, other: &Self) -> bool {
        self.max == other.max && self.buckets().eq(other.buckets())
    }
}

impl Eq for Histogram {}

/// Adds `count` durations to a bucket of a list. Returns false, and changes nothing, if the list would exceed
/// [`MAX_SPARSE`] or the bucket's count 16 bits.
fn add_sparse(buckets: &mut Vec<Bucket>, index: usize, count: u64) -> bool {
    let (Ok(index), Ok(count)) = (u16::try_from(index), u16::try_from(count)) else {
        return false;
    };
    match buckets.binary_search_by_key(&index, |bucket| bucket.index) {
        Ok(at) => match buckets[at].count.checked_add(count) {
            Some(sum) => buckets[at].count = sum,
            None => return false,
        },
        Err(_) if buckets.len() == MAX_SPARSE => return false,
        Err(at) => {
            if buckets.len() == buckets.capacity() {
                // `Vec` would double its capacity; growing by half keeps the many short lists small.
                buckets.reserve_exact(1 + buckets.len() / 2);
            }
            buckets.insert(at, Bucket { index, count });
        }
    }
    true
}

/// Returns the index of the bucket of a duration.
fn index_of(microseconds: u64) -> usize {
    let microseconds = microseconds.min(LONGEST);
    BUCKETS.partition_point(|least| *least <= microseconds) - 1
}

#[cfg(test)]
mod tests;
