//! Tests of the picture's text.

use super::*;
use crate::{FrameKind, testing::graph};

#[test]
fn both_ways_are_in_one_picture_with_titles_that_read_well() {
    let graph =
        graph(&[(Way::Sent, &["main", "write"], 1_234_567, 3), (Way::Received, &["main", "read"], 500, 2)]);
    let svg = graph.svg(By::Bytes).unwrap();
    for title in [
        "sent (1.2 MiB = 1,234,567 bytes, 99.96%)",
        "received (500 bytes, 0.04%)",
        "nginx (1) (1.2 MiB = 1,234,567 bytes, 99.96%)",
        "write (1.2 MiB = 1,234,567 bytes, 99.96%)",
        "all (1.2 MiB = 1,235,067 bytes, 100%)",
    ] {
        assert!(svg.contains(&format!("<title>{title}</title>")), "{title}: {svg}");
    }
    assert!(svg.contains("1.2 MiB sent, 500 B received by cgroup /shop"), "{svg}");
    assert!(svg.contains("2023-11-14 22:13:20 UTC · 10.0 s · 100 % at their own call"), "{svg}");
    // [`with_style`] has found the parts of inferno's style sheet that it changes.
    assert!(svg.contains("font-size:14px; font-weight:bold") && svg.contains("opacity:0.7"), "{svg}");
    // [`with_width`] has found the part of inferno's script that it changes.
    assert!(svg.contains("Math.max(1, svg.width.baseVal.value - xpad * 2)"), "{svg}");
    // The two trees are side by side.
    let sent = &svg[svg.find("<title>sent").unwrap()..];
    assert!(sent[..sent.find("/>").unwrap()].contains("fg:x=\"500\" fg:w=\"1234567\""), "{sent}");
    let svg = graph.svg(By::Calls).unwrap();
    assert!(svg.contains("<title>write (3 calls, 60.00%)</title>"), "{svg}");
}

#[test]
fn every_group_has_its_hue_and_no_suffix_is_shown() {
    let mut graph = graph(&[(Way::Sent, &["main", "compiled", "tcp_sendmsg"], 5, 1)]);
    let mut row = graph.rows()[0].clone();
    for (frame, kind) in row.key.frames.iter_mut().zip([FrameKind::User, FrameKind::Jit, FrameKind::Kernel]) {
        std::sync::Arc::make_mut(frame).kind = kind;
    }
    let mut lost = row.clone();
    lost.key.frames.clear();
    lost.key.known = super::super::Known::Missing("lost".into());
    graph = Graph::new(graph.about, [row, lost], graph.coverage).unwrap();
    let svg = graph.svg(By::Bytes).unwrap();
    for (name, group) in [
        ("nginx (1)", Group::Owner),
        ("main", Group::User),
        ("compiled", Group::Jit),
        ("tcp_sendmsg", Group::Kernel),
        ("[no stack: lost]", Group::NoStack),
    ] {
        let color = group.color(name);
        let title = svg.find(&format!("<title>{name} (")).unwrap_or_else(|| panic!("{name}: {svg}"));
        let rect = &svg[title..][..svg[title..].find("fg:x").unwrap()];
        assert!(
            rect.contains(&format!("fill=\"rgb({},{},{})\"", color.r, color.g, color.b)),
            "{name}: {rect}"
        );
    }
    assert!(!svg.contains("_["), "{svg}");
    for (group, name) in colors::LEGEND {
        let Color { r, g, b } = group.color(name);
        assert!(svg.contains(&format!("<tspan fill=\"rgb({r},{g},{b})\">■</tspan> {name}")), "{name}");
    }
}

/// Panics if a text is not well-formed XML.
fn well_formed(svg: &str) {
    let mut reader = quick_xml::Reader::from_str(svg);
    reader.config_mut().check_comments = true;
    loop {
        match reader.read_event().unwrap_or_else(|error| panic!("{error}: {svg}")) {
            quick_xml::events::Event::Eof => break,
            quick_xml::events::Event::Text(text) => {
                let allowed =
                    |c: char| c == '\n' || c == '\t' || c >= ' ' && !matches!(c, '\u{fffe}' | '\u{ffff}');
                let text = text.decode().unwrap();
                assert!(text.chars().all(allowed), "{text:?}");
                quick_xml::escape::unescape(&text).unwrap();
            }
            _ => {}
        }
    }
}

#[test]
fn hostile_names_are_well_formed_and_run_nothing() {
    let mut graph = graph(&[(
        Way::Sent,
        &[
            "<script>alert(1)</script>",
            "\"quotes' & ]]> --> \u{0}\u{1b}\u{ffff}\u{202e}",
            "a;b",
            "",
            "x_[k]",
            "</title> (5 bytes, 3%)",
        ],
        5000,
        1,
    )]);
    graph.about.what = "</text><script>alert(2)</script> ■ kernel -- \u{7}".into();
    let svg = graph.svg(By::Bytes).unwrap();
    well_formed(&svg);
    assert_eq!(svg.matches("<script").count(), 1, "{svg}");
    assert!(svg.contains("x_[k] ("), "a name of a program keeps what looks like a suffix: {svg}");
}

#[test]
fn nothing_is_no_picture() {
    assert!(graph(&[]).svg(By::Bytes).unwrap_err().to_string().contains("no bytes were counted"));
    assert!(graph(&[(Way::Sent, &["main"], 5, 0)]).svg(By::Calls).is_err());
}

#[test]
fn a_picture_of_very_many_stacks_is_bounded_and_keeps_the_large_ones() {
    let names: Vec<String> = (0..160_000).map(|number| format!("function_{number}")).collect();
    // The 4,000 stacks have no function in common.
    let mut stacks: Vec<(Way, Vec<&str>, u64)> =
        names.chunks(40).map(|names| (Way::Sent, names.iter().map(String::as_str).collect(), 1)).collect();
    stacks.push((Way::Sent, vec!["large"], 4000));
    let stacks: Vec<(Way, &[&str], u64, u64)> =
        stacks.iter().map(|(way, names, bytes)| (*way, &names[..], *bytes, 1)).collect();
    let svg = graph(&stacks).svg(By::Bytes).unwrap();
    assert!(svg.len() < MAX_SIZE + MAX_SIZE / 4, "{}", svg.len());
    assert!(svg.contains("<title>large (3.9 KiB = 4,000 bytes, 50.00%)</title>"));
}
