//! Tests of the histogram and its text form.

use proptest::prelude::*;

use super::*;

/// Makes a histogram of these durations, in microseconds.
fn histogram(durations: &[u64]) -> Histogram {
    let mut histogram = Histogram::default();
    for duration in durations {
        histogram.record(*duration);
    }
    histogram
}

/// Generates fewer than `count` durations: some that are usual for servers, and extreme ones.
fn durations(count: usize) -> impl Strategy<Value = Vec<u64>> {
    let duration = prop_oneof![
        0_u64..50,
        100_u64..100_000,
        (0_u32..64).prop_map(|bit| 1 << bit),
        LONGEST - 2..LONGEST + 2,
        any::<u64>(),
    ];
    prop::collection::vec(duration, 0..count)
}

#[test]
fn one_duration_is_known_exactly() {
    for duration in [0, 1, 31, 33, 1_001, 12_345, LONGEST, LONGEST + 7, u64::MAX] {
        let expected = Latency { p50: duration, p90: duration, p99: duration, max: duration };
        assert_eq!(histogram(&[duration]).latency(), expected);
    }
    assert_eq!(Histogram::default().latency(), Latency::default());
}

#[test]
fn percentiles_are_near_the_truth() {
    let durations: Vec<u64> = (0..10_000_u64).map(|step| 100 + step * step / 500).collect();
    let latency = histogram(&durations).latency();
    for (shown, rank) in [(latency.p50, 4_999), (latency.p90, 8_999), (latency.p99, 9_899)] {
        let error = (shown as f64 - durations[rank] as f64).abs() / durations[rank] as f64;
        assert!(error <= 1.0 / 32.0, "{shown} instead of {}", durations[rank]);
    }
    assert_eq!(latency.max, durations[9_999]);
}

#[test]
fn every_duration_is_within_one_part_in_32_of_its_buckets_middle() {
    for index in 0..BUCKETS.len() {
        let least = BUCKETS[index];
        let most = EMPTY.highest_equivalent(least);
        let middle = EMPTY.median_equivalent(least);
        assert!((middle - least) * 32 <= least && (most - middle) * 32 <= most, "{least}..{most}: {middle}");
        assert_eq!((index_of(least), index_of(most.min(LONGEST))), (index, index));
    }
    assert!(u16::try_from(BUCKETS.len()).is_ok());
}

#[test]
fn few_requests_take_few_bytes() {
    assert!(size_of::<Histogram>() <= 32);
    assert!(histogram(&[1_000, 1_010, 1_020, 1_500, 90_000]).memory() <= 32);
    let busy: Vec<u64> = (0..100_000).collect();
    assert!(histogram(&busy).memory() <= 4 * 1024);
}

#[test]
fn usual_texts_are_short() {
    // Most requests take 0.5 to 2 ms, one in ten up to 20 ms, and one in a hundred up to 1 s.
    let mut state = 1_u64;
    let mut random = |bound: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % bound
    };
    let durations: Vec<u64> = (0..10_000)
        .map(|_| match random(100) {
            0 => 20_000 + random(980_000),
            1..10 => 2_000 + random(18_000),
            _ => 500 + random(1_500),
        })
        .collect();
    let text = histogram(&durations).to_text();
    assert!(text.len() <= 220, "{} characters", text.len());
    assert_eq!(histogram(&[1_000]).to_text(), "of_GC");
}

#[test]
fn the_longest_text_is_bounded() {
    let mut histogram = Histogram::default();
    for index in 0..BUCKETS.len() {
        histogram.add(index, MAX_COUNT / 512);
    }
    histogram.max = u64::MAX;
    assert!(histogram.to_text().len() <= text::MAX_TEXT, "{}", histogram.to_text().len());
    assert_eq!(histogram.to_text().parse(), Ok(histogram));
}

#[test]
fn counts_stop_at_their_maximum() {
    let mut histogram = Histogram::default();
    histogram.add(5, MAX_COUNT - 1);
    for _ in 0..3 {
        let copy = histogram.clone();
        histogram.merge(&copy);
        histogram.record(1_000);
    }
    assert_eq!(histogram.count(), MAX_COUNT);
    assert_eq!(histogram.latency().p99, 5);
}

#[test]
fn hostile_texts_are_refused_with_a_reason() {
    let big = "g".repeat(100_000);
    for (text, error) in [
        ("!", TextError::Character(0)),
        ("oft=", TextError::Character(3)),
        ("of", TextError::Truncated),
        ("of\u{e9}", TextError::Character(2)),
        ("A", TextError::Truncated),
        ("AA", TextError::Empty(2)),
        ("AB", TextError::Empty(2)),
        ("ADDC", TextError::Empty(3)),
        ("AD", TextError::Truncated),
        ("A________P", TextError::Truncated),
        ("A_____________", TextError::Number(1)),
        ("Ah-------AC", TextError::Bucket(11)),
        ("AggggggggggQC", TextError::Count),
        ("BC", TextError::Maximum(1)),
        (&big, TextError::TooLong(100_000)),
    ] {
        assert_eq!(text.parse::<Histogram>(), Err(error), "{}", &text[..text.len().min(20)]);
    }
}

proptest! {
    #[test]
    fn texts_come_back(durations in durations(300)) {
        let histogram = histogram(&durations);
        prop_assert_eq!(histogram.count(), durations.len() as u64);
        let text = histogram.to_text();
        prop_assert_eq!(text.parse(), Ok(histogram));
    }

    #[test]
    fn merged_texts_are_the_histogram_of_all(one in durations(200), two in durations(200), three in durations(5)) {
        let parse = |durations: &[u64]| histogram(durations).to_text().parse::<Histogram>().expect("own text");
        let (a, b, c) = (parse(&one), parse(&two), parse(&three));
        let mut left = a.clone();
        left.merge(&b);
        left.merge(&c);
        let mut right = c;
        right.merge(&b);
        right.merge(&a);
        let all = histogram(&[one, two, three].concat());
        prop_assert_eq!(&left, &all);
        prop_assert_eq!(&right, &all);
        prop_assert_eq!(left.to_text(), all.to_text());
        prop_assert_eq!(left.latency(), all.latency());
    }

    #[test]
    fn percentiles_ascend(durations in durations(300)) {
        let Latency { p50, p90, p99, max } = histogram(&durations).latency();
        prop_assert!(p50 <= p90 && p90 <= p99 && p99 <= max);
    }

    #[test]
    fn any_text_is_parsed_or_refused(text in prop_oneof!["[A-Za-z0-9_-]{0,60}", ".{0,60}"]) {
        if let Ok(histogram) = text.parse::<Histogram>() {
            prop_assert!(histogram.latency().p50 <= histogram.latency().max);
            prop_assert_eq!(histogram.to_text().parse(), Ok(histogram));
        }
    }
}
