//! Numbers as people read them. Machine output never uses these.

const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// A count of bytes with a binary unit and at most four digits: `0 B`, `999 B`, `1.2 GiB`, `1020 MiB`.
#[must_use]
pub fn bytes(count: u64) -> String {
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64;
    let mut unit = 0;
    // What would be printed as 1024 belongs to the next unit.
    while value >= 1023.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    // What would be printed as 100.0 is printed as 100.
    if value < 99.95 { format!("{value:.1} {}", UNITS[unit]) } else { format!("{value:.0} {}", UNITS[unit]) }
}

/// A count of bytes each second: `1.2 MiB/s`.
#[must_use]
pub fn bytes_per_second(count: u64) -> String {
    format!("{}/s", bytes(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picks_the_unit_that_reads_best() {
        for (count, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (100 * 1024, "100 KiB"),
            (99 * 1024 + 999, "100 KiB"),
            (1023 * 1024, "1023 KiB"),
            (1024 * 1024 - 1, "1.0 MiB"),
            (1_288_490_189, "1.2 GiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(bytes(count), text, "{count}");
        }
        assert_eq!(bytes_per_second(2 * 1024 * 1024), "2.0 MiB/s");
    }
}
