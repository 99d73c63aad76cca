//! Exact splitting of whole numbers, whose parts add up to the original.

/// Splits `amount` in proportion to the weights; the parts with the largest remainders are rounded up. The parts add up to
/// `amount`, unless all weights are 0: then all parts are 0.
pub(super) fn split(amount: u64, weights: &[u128]) -> Vec<u64> {
    let sum = weights.iter().fold(0, |sum: u128, weight| sum.saturating_add(*weight));
    // If the weights add up to less than 2^64, their products with `amount` are below 2^128. The shift loses less than 1
    // of each weight, and the sum of the shifted weights is at least 2^62.
    let shift = (u128::BITS - sum.leading_zeros()).saturating_sub(u64::BITS - 1);
    let weights: Vec<u128> = weights.iter().map(|weight| weight >> shift).collect();
    let sum: u128 = weights.iter().sum();
    if sum == 0 {
        return vec![0; weights.len()];
    }
    let product = |weight: &u128| u128::from(amount) * weight;
    // The cast is safe: a part is at most `amount`.
    let mut parts: Vec<u64> = weights.iter().map(|weight| (product(weight) / sum) as u64).collect();
    let left = amount - parts.iter().sum::<u64>();
    let mut order: Vec<usize> = (0..weights.len()).collect();
    order.sort_by_key(|&at| std::cmp::Reverse(product(&weights[at]) % sum));
    // The remainders add up to `left` times the sum, so at least `left` of them are greater than 0.
    order.into_iter().take(usize::try_from(left).unwrap_or(usize::MAX)).for_each(|at| parts[at] += 1);
    parts
}

/// Subtracts `amount` from the largest of the numbers, and from as few of them as possible.
pub(super) fn take_from_largest(mut amount: u64, numbers: &mut [u64]) {
    let mut order: Vec<usize> = (0..numbers.len()).collect();
    order.sort_by_key(|&at| std::cmp::Reverse(numbers[at]));
    for at in order {
        let taken = amount.min(numbers[at]);
        numbers[at] -= taken;
        amount -= taken;
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[test]
    fn remainders_go_to_those_with_the_largest() {
        assert_eq!(split(10, &[1, 1, 1]), [4, 3, 3]);
        assert_eq!(split(10, &[50, 30, 20]), [5, 3, 2]);
        assert_eq!(split(3, &[10, 0, 25]), [1, 0, 2]);
        assert_eq!(split(7, &[0, 0]), [0, 0]);
        assert_eq!(split(7, &[]), [0; 0]);
        let mut numbers = [5, 9, 2];
        take_from_largest(11, &mut numbers);
        assert_eq!(numbers, [3, 0, 2]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn parts_add_up(amount: u64, weights in vec(any::<u128>(), 0..40), small in vec(0_u128..9, 0..40)) {
            for weights in [weights, small] {
                let parts = split(amount, &weights);
                prop_assert_eq!(parts.len(), weights.len());
                let sum: u128 = parts.iter().map(|part| u128::from(*part)).sum();
                let expected = if weights.iter().any(|weight| *weight > 0) { amount } else { 0 };
                prop_assert_eq!(sum, u128::from(expected));
                for (part, weight) in parts.iter().zip(&weights) {
                    prop_assert!(*weight > 0 || *part == 0);
                }
            }
        }
    }
}
