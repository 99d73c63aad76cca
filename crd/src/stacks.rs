//! Stacks of the code that sends and receives, as specs, reports and statuses carry them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// Settings for taking stacks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct StacksSpec {
    /// Take a stack at every call. This can halve the speed of programs with many small calls. If false, the rate of stacks is limited so that they cost a few percent of a CPU; beyond that rate a random sample of the calls is taken, which stands for the others. Cannot be changed later.
    #[serde(default)]
    pub every_call: bool,
    /// Continue the stacks into the kernel, which makes each of them three times as expensive. Cannot be changed later.
    #[serde(default)]
    pub kernel: bool,
}

/// Sums that show how much of the traffic has a known stack.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline, transform = schema::without_defaults)]
pub struct StackTotals {
    /// Bytes sent and received by the traced processes, including those without a known stack.
    #[schemars(range(min = 0))]
    pub bytes: i64,
    /// Number of calls whose stack was taken.
    #[schemars(range(min = 0))]
    pub stacks: i64,
    /// Bytes that are attributed to the stack of the very call that moved them. The rest is spread over the stacks of the same process.
    #[schemars(range(min = 0))]
    pub bytes_at_own_call: i64,
    /// Bytes without a known stack. The profiles have separate rows for them, with the reason.
    #[schemars(range(min = 0))]
    pub bytes_without_stack: i64,
}

/// Sums that show how much of the traffic has a known stack, over all nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline, transform = schema::without_defaults)]
pub struct StacksStatus {
    /// Number of nodes that have written a profile.
    #[schemars(range(min = 0))]
    pub nodes: i32,
    /// The sums of the profiles of all nodes.
    #[serde(flatten)]
    pub totals: StackTotals,
    /// Command that draws a flame graph of the profiles.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 1024))]
    pub picture: String,
}

impl StackTotals {
    /// Adds the sums of other stacks.
    pub fn add(&mut self, other: &Self) {
        self.each(other, i64::saturating_add);
    }

    /// Raises each sum to that of `other` if `other` has more.
    pub fn raise_to(&mut self, other: &Self) {
        self.each(other, i64::max);
    }

    fn each(&mut self, other: &Self, combine: impl Fn(i64, i64) -> i64) {
        let Self { bytes, stacks, bytes_at_own_call, bytes_without_stack } = other;
        for (sum, other) in [
            (&mut self.bytes, bytes),
            (&mut self.stacks, stacks),
            (&mut self.bytes_at_own_call, bytes_at_own_call),
            (&mut self.bytes_without_stack, bytes_without_stack),
        ] {
            *sum = combine(*sum, *other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_add_and_never_fall() {
        let totals = |bytes, stacks| StackTotals { bytes, stacks, ..StackTotals::default() };
        let mut sum = totals(5, 2);
        sum.add(&totals(i64::MAX, 1));
        assert_eq!(sum, totals(i64::MAX, 3));
        let mut sum = totals(5, 2);
        sum.raise_to(&totals(4, 7));
        assert_eq!(sum, totals(5, 7));
    }

    #[test]
    fn a_status_has_its_sums_at_the_top_level() {
        let totals = StackTotals { bytes: 7, stacks: 1, bytes_at_own_call: 6, bytes_without_stack: 1 };
        let status = StacksStatus { nodes: 2, totals, picture: "a command".into() };
        let json = serde_json::to_value(&status).unwrap();
        assert_eq!((&json["bytes"], &json["bytesAtOwnCall"]), (&7.into(), &6.into()));
        assert_eq!(serde_json::from_value::<StacksStatus>(json).unwrap(), status);
    }
}
