//! Properties of every screen.

use jiff::Timestamp;
use proptest::{collection, prelude::*, sample::select};
use ratatui::{
    crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
    style::{Color, Modifier},
};

use super::super::{
    App, Event, Settings,
    testing::{app, app_with, cells, drawn, full, hostile, plain, press, start, type_in},
};
use crate::{Snapshot, rows::Sums};

/// Calls `check` for each tab, page and view of a screen.
fn for_each_screen(app: &mut App, mut check: impl FnMut(&mut App)) {
    for keys in ["", "2", "3", "4", "5", "1", "?", "xi", "xd", "x/a", "\u{1b}w", "wuu", "u", "t"] {
        for key in keys.chars() {
            press(app, if key == '\u{1b}' { KeyCode::Esc } else { KeyCode::Char(key) });
        }
        check(app);
    }
    for _ in 0..2 {
        press(app, KeyCode::Tab);
        check(app);
        type_in(app, "d");
        check(app);
        type_in(app, "x");
    }
}

#[test]
fn losses_are_on_every_screen() {
    let mut snapshot = plain();
    for (columns, rows) in [(40, 8), (40, 10), (60, 14), (80, 24), (200, 50)] {
        snapshot.lost.insert("tableFullEvents".to_owned(), 0);
        assert!(drawn(&mut app(&snapshot), columns, rows).contains("lost 0"), "{columns}x{rows}");
        snapshot.lost.insert("tableFullEvents".to_owned(), 12_345_678);
        let mut app = app(&snapshot);
        let screen = drawn(&mut app, columns, rows);
        assert!(screen.contains("LOST 12,345,678"), "{screen}");
        let buffer = cells(&mut app, columns, rows);
        let is_loud = |cell: &ratatui::buffer::Cell| {
            cell.symbol() == "L" && cell.modifier.contains(Modifier::BOLD) && cell.fg == Color::Red
        };
        assert!(buffer.content.iter().any(is_loud));
    }
}

#[test]
fn colours_are_few_and_none_where_none_are_wanted() {
    for colour in [true, false] {
        let mut app = app_with(&full(), Settings { colour, ..Settings::default() });
        for_each_screen(&mut app, |app| {
            for cell in &cells(app, 120, 30).content {
                let is_safe =
                    matches!(cell.fg, Color::Reset) || colour && matches!(cell.fg, Color::Red | Color::Green);
                assert!(is_safe && cell.bg == Color::Reset, "{cell:?}");
            }
        });
    }
}

#[test]
fn hidden_names_are_nowhere() {
    let mut snapshot = full();
    snapshot.notices = vec!["node-b cannot trace web-7c9f-x2x4l.".to_owned()];
    snapshot.nodes[1].notice = Some("web-7c9f-x2x4l is not seen.".to_owned());
    let mut app = app_with(&snapshot, Settings { hide_names: true, ..Settings::default() });
    let names = [
        "nginx", "php", "mysql", "curl", "web-", "job-", "db-0", "shop", "redis", "10.0.", "2001:", "node-a",
        "node-b", "/cart", "/v1", "ngx_", "libc", "checkout",
    ];
    for_each_screen(&mut app, |app| {
        for (columns, rows) in [(80, 24), (200, 50)] {
            let screen = drawn(app, columns, rows);
            // Placeholders of nodes look like names of nodes, but have numbers.
            for name in names {
                assert!(!screen.contains(name), "{name} in {screen}");
            }
        }
    });
}

#[test]
fn no_name_harms_the_terminal() {
    let mut app = app(&hostile());
    for_each_screen(&mut app, |app| {
        for (columns, rows) in [(200, 50), (80, 24), (40, 10), (3, 2)] {
            for cell in &cells(app, columns, rows).content {
                let is_harmful = |c: char| {
                    c.is_control()
                        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200f}')
                };
                assert!(!cell.symbol().contains(is_harmful), "{cell:?}");
            }
            assert!(!app.text(columns, rows).contains('\u{1b}'));
        }
    });
}

#[test]
fn rows_and_what_is_in_none_are_the_totals() {
    let snapshot = full();
    let mut app = app(&snapshot);
    for keys in ["1", "2", "3", "4", "5", "b", "/-nginx"] {
        type_in(&mut app, keys);
        let rows = &app.table.as_ref().unwrap().rows;
        let mut sums = Sums::default();
        rows.rows.iter().for_each(|row| sums.add(&row.sums));
        [rows.filtered, rows.other_ends, rows.unlisted].iter().for_each(|rest| sums.add(rest));
        let all = Sums::from(&snapshot);
        assert_eq!(
            (sums.rx_bytes, sums.tx_bytes, sums.rate()),
            (all.rx_bytes, all.tx_bytes, all.rate()),
            "{keys}"
        );
    }
}

fn any_event() -> impl Strategy<Value = Event> {
    let codes = select(vec![
        KeyCode::Up,
        KeyCode::Down,
        KeyCode::PageUp,
        KeyCode::PageDown,
        KeyCode::Home,
        KeyCode::End,
        KeyCode::Enter,
        KeyCode::Esc,
        KeyCode::Tab,
        KeyCode::BackTab,
        KeyCode::Backspace,
        KeyCode::Delete,
    ]);
    let letter = select("?hjkgGdi/ psS<>v12345tuwbnxq:-日é".chars().collect::<Vec<_>>());
    let key = prop_oneof![codes, letter.prop_map(KeyCode::Char), any::<char>().prop_map(KeyCode::Char)];
    let modifiers = prop_oneof![4 => Just(KeyModifiers::NONE), 1 => Just(KeyModifiers::CONTROL)];
    let snapshot = select(vec![Snapshot::default(), plain(), full(), hostile()]);
    prop_oneof![
        8 => (key, modifiers).prop_map(|(code, modifiers)| Event::Key(KeyEvent::new(code, modifiers))),
        1 => (0..260_u16, 0..70_u16).prop_map(|(columns, rows)| Event::Resize { columns, rows }),
        1 => (snapshot, -100..1000_i64).prop_map(|(mut snapshot, seconds)| {
            snapshot.time = Timestamp::from_second(start().as_second() + seconds).unwrap();
            Event::Snapshot(Box::new(snapshot))
        }),
        1 => (-9..2000_i64)
            .prop_map(|seconds| Event::Tick(Timestamp::from_second(start().as_second() + seconds).unwrap())),
        1 => select(vec!["", "gone"]).prop_map(|reason| Event::End(reason.to_owned())),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn no_size_and_no_keys_make_it_panic(
        events in collection::vec(any_event(), 0..50), sizes in collection::vec((0..260_u16, 0..70_u16), 1..3),
        unicode: bool,
    ) {
        let mut app = App::new(Settings { unicode, ..Settings::default() }, start());
        app.apply(Event::Snapshot(Box::new(full())));
        for event in events {
            app.apply(event);
            for (columns, rows) in &sizes {
                // The frame can differ in size from the last resize event.
                let text = app.text(*columns, *rows);
                prop_assert!(text.lines().count() <= usize::from(*rows));
            }
        }
    }
}
