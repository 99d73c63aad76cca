//! The order of the resource versions of an object.

use std::cmp::Ordering;

/// Compares two versions (`metadata.resourceVersion`) of objects of one resource. Kubernetes promises since 1.35 that
/// versions are growing integers of any length without leading zeros; with etcd they have always been. Returns `None`
/// if one of the two is not such a number, because their order is then unknown.
pub(crate) fn compare_versions(one: Option<&str>, other: Option<&str>) -> Option<Ordering> {
    Some(number(one?)?.cmp(&number(other?)?))
}

/// Converts a number of any length into a form that sorts in the same order.
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
