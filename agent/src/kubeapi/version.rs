//! The order of the versions of an object.

use std::cmp::Ordering;

/// Compares two versions (`metadata.resourceVersion`) of objects of one resource. Kubernetes 1.35 says that they are
/// integers that grow, without leading zeros and of any length; with etcd they have always been. `None` if one of the two
/// is not such a number: then nothing is known of their order.
pub(crate) fn compare_versions(one: Option<&str>, other: Option<&str>) -> Option<Ordering> {
    Some(number(one?)?.cmp(&number(other?)?))
}

/// A number of any length in a form that sorts as it does.
fn number(version: &str) -> Option<(usize, &str)> {
    let is_number = version.bytes().all(|byte| byte.is_ascii_digit()) && !version.starts_with('0');
    (is_number && !version.is_empty()).then_some((version.len(), version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_numbers_and_what_is_none_has_no_order() {
        let long = "100000000000000000000000000000";
        for (one, other, order) in [
            ("9", "10", Some(Ordering::Less)),
            ("10", "10", Some(Ordering::Equal)),
            (long, "99999999999", Some(Ordering::Greater)),
            ("0", "1", None),
            ("010", "9", None),
            ("", "9", None),
            ("-5", "9", None),
            ("9", "v10", None),
        ] {
            assert_eq!(compare_versions(Some(one), Some(other)), order, "{one} and {other}");
        }
        assert_eq!(compare_versions(None, Some("1")), None);
    }
}
