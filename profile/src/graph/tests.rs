//! Tests of merging and folding.

use super::*;
use crate::testing::graph;

#[test]
fn equal_rows_of_two_profiles_become_one() {
    let one = graph(&[(Way::Sent, &["main", "write"], 10, 1), (Way::Sent, &["main", "send"], 5, 1)]);
    let mut two = graph(&[(Way::Sent, &["main", "write"], 100, 2), (Way::Received, &["main", "read"], 1, 1)]);
    two.about =
        About { what: "cgroup /db".into(), began: one.about.began + 5_000_000_000, ..one.about.clone() };
    let one = Graph::sum([one, two]).unwrap();
    let rows: Vec<_> = one.rows().iter().map(|row| (row.key.way, row.bytes, row.calls)).collect();
    assert_eq!(rows, [(Way::Sent, 110, 3), (Way::Sent, 5, 1), (Way::Received, 1, 1)]);
    assert_eq!(one.about.what, "cgroup /shop, cgroup /db");
    assert_eq!(one.about.lasted, 15_000_000_000);
    assert_eq!((one.coverage.own, one.coverage.stacks), (116, 10));
}

#[test]
fn what_was_profiled_is_named_once() {
    let of =
        |what: &str| Graph { about: About { what: what.into(), ..About::default() }, ..Graph::default() };
    let sum = |names: &[&str]| Graph::sum(names.iter().map(|name| of(name))).unwrap().about.what;
    assert_eq!(
        sum(&["trace web/a", "trace web/b", "trace web/a", "", "trace web/b"]),
        "trace web/a, trace web/b"
    );
    assert_eq!(sum(&["trace web/ab", "trace web/a"]), "trace web/ab, trace web/a");
}

#[test]
fn a_sum_that_pprof_cannot_say_is_refused() {
    let one = graph(&[(Way::Sent, &["main"], i64::MAX as u64, 1)]);
    assert!(Graph::sum([one, graph(&[(Way::Received, &["main"], 1, 1)])]).is_err());
}

#[test]
fn what_is_folded_keeps_its_sum() {
    let whole = graph(&[
        (Way::Sent, &["main", "a"], 10, 1),
        (Way::Sent, &["main", "b"], 5, 2),
        (Way::Sent, &["main", "c"], 4, 3),
        (Way::Received, &["main", "d"], 1, 4),
    ]);
    let folded = whole.folded_to(1, 9);
    let rows: Vec<_> =
        folded.rows().iter().map(|row| (row.key.way, row.key.known.clone(), row.bytes, row.calls)).collect();
    assert_eq!(
        rows,
        [
            (Way::Sent, Known::Whole, 10, 1),
            (Way::Sent, Known::Folded, 9, 5),
            (Way::Received, Known::Folded, 1, 4)
        ]
    );
    let nobody = whole.folded_to(0, 0);
    assert!(nobody.rows().iter().all(|row| row.key.known == Known::FoldedProcesses));
    for way in [Way::Sent, Way::Received] {
        assert_eq!(nobody.total(way, By::Bytes), whole.total(way, By::Bytes));
        assert_eq!(nobody.total(way, By::Calls), whole.total(way, By::Calls));
    }
}

#[test]
fn cgroups_get_their_names_and_those_of_one_name_are_one() {
    let mut graph = graph(&[(Way::Sent, &["main", "write"], 10, 1)]);
    let mut rows = Vec::new();
    for cgroup in [7, 8, 9] {
        let mut row = graph.rows()[0].clone();
        row.key.process =
            Arc::new(Process { cgroup, pod: String::new(), ..Process::clone(&row.key.process) });
        rows.push(row);
    }
    graph = Graph::new(graph.about, rows, graph.coverage).unwrap();
    assert_eq!(graph.rows().len(), 3);
    graph.name(&|cgroup| Place {
        pod: String::new(),
        container: if cgroup < 9 { "a" } else { "b" }.to_owned(),
    });
    let rows: Vec<_> = graph.rows().iter().map(|row| (row.key.process.place(), row.bytes)).collect();
    assert_eq!(rows, [("a".to_owned(), 20), ("b".to_owned(), 10)]);
}
