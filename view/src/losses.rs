//! Losses in words. Every output shows them, because under load the numbers would mislead without them.

use traffictrace_crd::human;

use crate::Snapshot;

/// Returns one sentence for each kind of loss, with its consequence for the numbers. An empty list means that nothing
/// was lost.
#[must_use]
pub fn in_words(snapshot: &Snapshot) -> Vec<String> {
    let some = snapshot.lost.iter().filter(|(_, number)| **number > 0);
    let mut all: Vec<String> = some.map(|(kind, number)| sentence(kind, *number)).collect();
    let http = snapshot.http.iter();
    let unobserved = http.clone().flat_map(|http| &http.unobserved).filter(|(_, number)| **number > 0);
    all.extend(unobserved.map(|(reason, number)| {
        let requests = human::count(*number);
        format!("{requests} HTTP requests could not be observed: {}.", words(reason))
    }));
    let lost = http.flat_map(|http| &http.lost).filter(|(_, number)| **number > 0);
    all.extend(lost.map(|(kind, number)| {
        let number = human::count(*number);
        format!("{number} {} of HTTP were lost before they were read.", words(kind))
    }));
    all
}

/// Returns the kinds of losses with their numbers, such as `missedEvents:7,rxBytes:100`, or `0`.
#[must_use]
pub fn kinds(snapshot: &Snapshot) -> String {
    let some = snapshot.lost.iter().filter(|(_, number)| **number > 0);
    let kinds: Vec<_> = some.map(|(kind, number)| format!("{}:{number}", human::printable(kind))).collect();
    if kinds.is_empty() { "0".to_owned() } else { kinds.join(",") }
}

fn sentence(kind: &str, number: u64) -> String {
    let counted = |thing| {
        let s = if number == 1 { "" } else { "s" };
        format!("{} {thing}{s}", human::count(number))
    };
    match kind {
        "rxBytes" => format!("{} received are in no flow and not in the totals.", human::bytes(number)),
        "txBytes" => format!("{} sent are in no flow and not in the totals.", human::bytes(number)),
        "tableFullEvents" | "flowTableFull" => format!(
            "{} found the table of flows full: the bytes are in the totals, without process and peer.",
            counted("call")
        ),
        "missedEvents" => format!(
            "The kernel skipped at most {} of UDP, ICMP, MPTCP or kernel TLS: their bytes are missing.",
            counted("message")
        ),
        "processesNotFollowed" => {
            let children = if number == 1 { "child process" } else { "child processes" };
            format!("{} {children} could not be followed: their traffic is missing.", human::count(number))
        }
        "unreadableFlows" | "unreadableEndpoints" => {
            format!("{} of a node's report could not be read, and are in the totals alone.", counted("row"))
        }
        "cgroupsNotNamed" => {
            format!("{} could not be given the name of a container.", counted("cgroup"))
        }
        // A reason that this version does not know, from a newer agent.
        _ if kind.ends_with("Bytes") => format!("{} were lost ({}).", human::bytes(number), words(kind)),
        _ => format!("{} times: {}.", human::count(number), words(kind)),
    }
}

/// Splits a name in camel case: `requestsNotSeen` becomes `requests not seen`.
pub(crate) fn words(name: &str) -> String {
    let mut words = String::with_capacity(name.len() + 4);
    for char in human::printable(name).chars() {
        if char.is_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.extend(char.to_lowercase());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_lost_is_told() {
        let mut snapshot = crate::testing::snapshot();
        assert_eq!((in_words(&snapshot), kinds(&snapshot)), (Vec::new(), "0".to_owned()));
        for (kind, number) in
            [("missedEvents", 1), ("processesNotFollowed", 2), ("rxBytes", 2048), ("somethingNew", 3)]
        {
            snapshot.lost.insert(kind.to_owned(), number);
        }
        assert_eq!(kinds(&snapshot), "missedEvents:1,processesNotFollowed:2,rxBytes:2048,somethingNew:3");
        assert_eq!(
            in_words(&snapshot),
            [
                "The kernel skipped at most 1 message of UDP, ICMP, MPTCP or kernel TLS: their bytes are missing.",
                "2 child processes could not be followed: their traffic is missing.",
                "2.0 KiB received are in no flow and not in the totals.",
                "3 times: something new.",
            ]
        );
    }
}
