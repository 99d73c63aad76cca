//! Tests that profiles are read back by us and by Go's pprof, and that hostile data is an error.

use std::{io::Write as _, process::Command};

use flate2::{Compression, write::GzEncoder};
use proptest::{collection::vec, prelude::*};
use prost::Message as _;

use super::*;
use crate::{By, FrameKind, Graph, Known, Way, testing::graph};

fn zipped(plain: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(plain).unwrap();
    gzip.finish().unwrap()
}

/// A graph with every kind of frame and stack.
fn varied() -> Graph {
    let graph = graph(&[
        (Way::Sent, &["main", "handle", "write"], 1_000_000, 10),
        (Way::Received, &["main", "handle", "read"], 250_000, 5),
    ]);
    let mut rows = graph.rows().to_vec();
    for (frame, kind) in
        rows[0].key.frames.iter_mut().zip([FrameKind::User, FrameKind::Jit, FrameKind::Kernel])
    {
        let frame = std::sync::Arc::make_mut(frame);
        frame.kind = kind;
        if kind != FrameKind::User {
            frame.module.clear();
        }
    }
    for (number, known) in
        [Known::Cut, Known::Missing("over the budget".into()), Known::Folded, Known::FoldedProcesses]
            .into_iter()
            .enumerate()
    {
        let mut row = rows[1].clone();
        if known != Known::Cut {
            row.key.frames.clear();
        }
        row.key.known = known;
        row.bytes = number as u64 + 1;
        rows.push(row);
    }
    Graph::new(graph.about, rows, graph.coverage).unwrap()
}

/// A graph of many small stacks.
fn many(count: usize) -> Graph {
    let names: Vec<String> =
        (0..count).map(|number| format!("function_{:x}", number * 0x9e37_79b9)).collect();
    let stacks: Vec<[&str; 2]> = names.iter().map(|name| ["main", name.as_str()]).collect();
    let rows: Vec<(Way, &[&str], u64, u64)> =
        stacks.iter().enumerate().map(|(at, names)| (Way::Sent, &names[..], 1 + at as u64, 1)).collect();
    graph(&rows)
}

#[test]
fn what_is_written_is_read() {
    let graph = varied();
    assert_eq!(Graph::from_pprof(&graph.pprof().unwrap()).unwrap(), graph);
    let empty = Graph::default();
    assert_eq!(Graph::from_pprof(&empty.pprof().unwrap()).unwrap(), empty);
}

#[test]
fn a_bounded_profile_keeps_its_sums() {
    let graph = many(5000);
    let whole = graph.pprof().unwrap().len();
    for max in [whole, whole / 2, 20_000, 2_000, 700] {
        let bytes = graph.pprof_within(max).unwrap();
        assert!(bytes.len() <= max, "{} > {max}", bytes.len());
        let read = Graph::from_pprof(&bytes).unwrap();
        for by in [By::Bytes, By::Calls] {
            assert_eq!(read.total(Way::Sent, by), graph.total(Way::Sent, by));
        }
        if max >= 2_000 {
            // The profile uses the allowed size well, and keeps the largest stack.
            assert!(bytes.len() > max / 3, "{} of {max}", bytes.len());
            assert!(read.rows().iter().any(|row| row.bytes == 5000), "{max}");
        }
    }
    assert!(graph.pprof_within(10).unwrap_err().to_string().contains("10 bytes are allowed"));
}

#[test]
fn a_profile_of_something_else_is_named_so() {
    let table = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    let value = |kind, unit| message::ValueType { kind, unit };
    let foreign = message::Profile {
        sample_type: vec![value(1, 2), value(3, 4)],
        string_table: table(&["", "samples", "count", "cpu", "nanoseconds"]),
        ..Default::default()
    };
    let error = Graph::from_pprof(&zipped(&foreign.encode_to_vec())).unwrap_err().to_string();
    assert!(error.contains("not a profile of TrafficTrace"), "{error}");
    let unlabelled = message::Profile {
        sample_type: vec![value(1, 2), value(3, 3)],
        string_table: table(&["", "calls", "count", "bytes", "coverage: {}"]),
        comment: vec![4],
        sample: vec![message::Sample { value: vec![1, 2], ..Default::default() }],
        ..Default::default()
    };
    let error = Graph::from_pprof(&zipped(&unlabelled.encode_to_vec())).unwrap_err().to_string();
    assert!(error.contains("whether it sent or received"), "{error}");
    assert!(Graph::from_pprof(b"").is_err());
    assert!(Graph::from_pprof(b"sent;main 5\n").is_err());
}

/// A minimal profile. `texts` follow in its string table after four texts that it needs itself.
fn bare(texts: &[&str]) -> message::Profile {
    let table = ["", "calls", "bytes", "coverage: {}"].iter().chain(texts).map(|text| (*text).to_owned());
    message::Profile {
        sample_type: [(1, 1), (2, 2)].map(|(kind, unit)| message::ValueType { kind, unit }).to_vec(),
        string_table: table.collect(),
        comment: vec![3],
        ..Default::default()
    }
}

fn error_of(plain: &[u8]) -> String {
    Graph::from_pprof(&zipped(plain)).unwrap_err().to_string()
}

#[test]
fn a_bomb_is_refused() {
    // 64 MiB of zeros take 64 KiB compressed.
    let error = error_of(&vec![0; 64 << 20]);
    assert!(error.contains("more than 33554432 bytes"), "{error}");
    // The same zeros in many gzip members, each of which is small.
    let members = zipped(&vec![0; 1 << 20]).repeat(64);
    let error = Graph::from_pprof(&members).unwrap_err().to_string();
    assert!(error.contains("more than 33554432 bytes"), "{error}");
    // Empty stacks of two bytes each.
    let error = error_of(&[0x12, 0].repeat(2 << 20));
    assert!(error.contains("more than 1048576 entries"), "{error}");
    // Comments of one byte each.
    let mut comments = vec![0x6a, 0x80, 0x80, 0x80, 0x08];
    comments.resize(comments.len() + (16 << 20), 0);
    let error = error_of(&comments);
    assert!(error.contains("more than 1024 comments"), "{error}");
}

#[test]
fn texts_are_bounded_before_they_are_used() {
    let long = "x".repeat(20_000);
    let error = error_of(&bare(&[&long]).encode_to_vec());
    assert!(error.contains("more than 16384 bytes in one text"), "{error}");
    // A text that is not UTF-8, used as the name of very many functions.
    let mut plain = bare(&["main"]).encode_to_vec();
    plain.extend([0x32, 2, 0xff, 0xfe]);
    plain.extend([0x2a, 4, 0x08, 1, 0x10, 5].repeat(100_000));
    let error = error_of(&plain);
    assert!(error.contains("not UTF-8"), "{error}");
    // A long name, used by very many locations.
    let long = "x".repeat(16_000);
    let mut profile = bare(&[&long]);
    profile.mapping = vec![message::Mapping { id: 1, filename: 0, has_functions: true }];
    profile.function = vec![message::Function { id: 1, name: 4, system_name: 4 }];
    let line = vec![message::Line { function_id: 1 }];
    profile.location =
        (1..20_000).map(|id| message::Location { id, mapping_id: 1, line: line.clone() }).collect();
    let error = error_of(&profile.encode_to_vec());
    assert!(error.contains("bytes in memory"), "{error}");
    // Stacks of one function with a long name that calls itself; each call takes two bytes.
    profile.location.truncate(1);
    let label = |key: i64, str: i64| message::Label { key, str };
    profile.string_table.extend(["way", "sent", "stack", "whole"].map(str::to_owned));
    let stack = message::Sample {
        location_id: vec![1; 4096],
        value: vec![1, 1],
        label: vec![label(5, 6), label(7, 8)],
    };
    profile.sample = vec![stack.clone(); 200];
    let error = error_of(&profile.encode_to_vec());
    assert!(error.contains("bytes in memory"), "{error}");
    // A stack with more labels than any of ours.
    profile.sample = vec![message::Sample { label: vec![label(5, 6); 1000], location_id: vec![1], ..stack }];
    let error = error_of(&profile.encode_to_vec());
    assert!(error.contains("more than 16 labels"), "{error}");
}

#[test]
fn profiles_that_are_read_together_have_one_room() {
    let one = many(1000).pprof().unwrap();
    let mut room = Room::new(2 << 20);
    assert!(Graph::from_pprof_within(&one, &mut room).is_ok());
    let read = (0..100).map_while(|_| Graph::from_pprof_within(&one, &mut room).ok()).count();
    assert!((1..10).contains(&read), "{read}");
    let error = Graph::from_pprof_within(&one, &mut room).unwrap_err().to_string();
    assert!(error.contains("before it take more than 2097152 bytes of memory"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Reading a damaged profile gives an error or another profile, but never a panic.
    #[test]
    fn damage_is_no_panic(changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), cut in any::<prop::sample::Index>()) {
        use std::io::Read as _;
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(&varied().pprof().unwrap()[..]).read_to_end(&mut plain).unwrap();
        for (at, byte) in changes {
            let at = at.index(plain.len());
            plain[at] = byte;
        }
        let _ = Graph::from_pprof(&zipped(&plain));
        let _ = Graph::from_pprof(&zipped(&plain[..cut.index(plain.len())]));
    }

    #[test]
    fn noise_is_no_panic(bytes in vec(any::<u8>(), 0..300)) {
        let _ = Graph::from_pprof(&zipped(&bytes));
        let _ = Graph::from_pprof(&bytes);
    }
}

/// Prints that a test cannot run on this machine, bypassing the test runner's capture of output.
fn skip<T>(why: &str) -> Option<T> {
    let _ = std::io::stderr().write_all(format!("SKIPPED: {why}\n").as_bytes());
    assert!(std::env::var("CI").as_deref() != Ok("true"), "cannot run, and CI=true allows no skip: {why}");
    None
}

/// Runs `go tool pprof` on a profile.
fn go_pprof(arguments: &[&str]) -> Option<String> {
    if Command::new("go").arg("version").output().is_err() {
        return skip("there is no command `go`, whose pprof reads the profile");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("traffic.pb.gz");
    std::fs::write(&file, varied().pprof().unwrap()).unwrap();
    // `go tool pprof` stores fetched files in a folder of its own.
    let output = Command::new("go")
        .args(["tool", "pprof"])
        .args(arguments)
        .arg(&file)
        .env("PPROF_TMPDIR", folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn go_reads_it() {
    let Some(raw) = go_pprof(&["-raw"]) else { return };
    for line in [
        "calls/count bytes/bytes[dflt]",
        "way:[sent]",
        "thread:[worker]",
        "pid:[1]",
        "stack:[none: over the budget]",
    ] {
        assert!(raw.contains(line), "{line}: {raw}");
    }
    let Some(top) = go_pprof(&["-top", "-nodefraction=0"]) else { return };
    // The numbers in the columns for flat and cumulative values are bytes, the default type.
    assert!(top.contains("Type: bytes"), "{top}");
    let row =
        |name: &str| top.lines().find(|line| line.ends_with(name)).unwrap_or_else(|| panic!("{name}: {top}"));
    assert!(row("  write").trim().starts_with("1000000B"), "{top}");
    assert!(row("  sent").contains("1000000B"), "{top}");
    row("nginx (1)");
    row("[no stack: over the budget]");
    let Some(calls) = go_pprof(&["-top", "-sample_index=calls"]) else { return };
    assert!(calls.contains("Type: calls"), "{calls}");
    let Some(tree) = go_pprof(&["-tree", "-nodefraction=0"]) else { return };
    assert!(tree.contains("default/shop/web"), "{tree}");
}
