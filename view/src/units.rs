//! Units of amounts and rates. Bytes have binary units, bits have decimal ones, so no unit means both.

use traffictrace_crd::human;

/// The kind of units in which numbers are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Units {
    /// Bytes with binary units: `1.2 MiB`.
    #[default]
    Bytes,
    /// Bits with decimal units: `9.9 Mbit`.
    Bits,
    /// Every digit, in bytes: `1,234,567 B`.
    Exact,
}

const BITS: [&str; 7] = ["bit", "kbit", "Mbit", "Gbit", "Tbit", "Pbit", "Ebit"];

impl Units {
    /// The kind after this one; after the last one comes the first.
    #[must_use]
    pub fn next(self) -> Self {
        match self {
            Self::Bytes => Self::Bits,
            Self::Bits => Self::Exact,
            Self::Exact => Self::Bytes,
        }
    }

    /// Formats a number of bytes.
    #[must_use]
    pub fn amount(self, bytes: u64) -> String {
        match self {
            Self::Bytes => human::bytes(bytes),
            Self::Bits => bits(u128::from(bytes) * 8),
            Self::Exact => format!("{} B", human::count(bytes)),
        }
    }

    /// Formats a number of bytes per second.
    #[must_use]
    pub fn rate(self, bytes_per_second: u64) -> String {
        self.amount(bytes_per_second) + "/s"
    }
}

fn bits(count: u128) -> String {
    if count < 1000 {
        return format!("{count} bit");
    }
    let (mut value, mut unit) = (count as f64, 0);
    // A value that would be printed as 1000 is printed in the next unit.
    while value >= 999.5 && unit + 1 < BITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if value < 99.95 { format!("{value:.1} {}", BITS[unit]) } else { format!("{value:.0} {}", BITS[unit]) }
}

/// Formats a time in microseconds: `30 µs`, `1.2 ms`, `3.4 s`.
#[must_use]
pub fn duration(microseconds: u64) -> String {
    match microseconds {
        0..1000 => format!("{microseconds} µs"),
        1000..1_000_000 => format!("{:.1} ms", microseconds as f64 / 1e3),
        _ => format!("{:.1} s", microseconds as f64 / 1e6),
    }
}

/// Formats a length of time in seconds: `45 s`, `5 min 12 s`, `3 h 5 min`.
#[must_use]
pub fn lasted(seconds: i64) -> String {
    let seconds = seconds.max(0);
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, 0) => format!("{minutes} min"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, 0, _) => format!("{hours} h"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_family_has_its_own_labels() {
        for (bytes, binary, decimal, exact) in [
            (0, "0 B", "0 bit", "0 B"),
            (124, "124 B", "992 bit", "124 B"),
            (125, "125 B", "1.0 kbit", "125 B"),
            (1_250_000, "1.2 MiB", "10.0 Mbit", "1,250,000 B"),
            (124_999_999, "119 MiB", "1.0 Gbit", "124,999,999 B"),
            (u64::MAX, "16.0 EiB", "148 Ebit", "18,446,744,073,709,551,615 B"),
        ] {
            assert_eq!(Units::Bytes.amount(bytes), binary);
            assert_eq!(Units::Bits.amount(bytes), decimal);
            assert_eq!(Units::Exact.amount(bytes), exact);
        }
        assert_eq!(Units::Bits.rate(1_250_000), "10.0 Mbit/s");
        assert_eq!(Units::Bytes.next().next().next(), Units::Bytes);
    }

    #[test]
    fn times_read_well() {
        assert_eq!(duration(999), "999 µs");
        assert_eq!(duration(1250), "1.2 ms");
        assert_eq!(duration(3_400_000), "3.4 s");
        assert_eq!(
            [-1, 45, 300, 312, 7200, 11_100].map(lasted),
            ["0 s", "45 s", "5 min", "5 min 12 s", "2 h", "3 h 5 min"]
        );
    }
}
