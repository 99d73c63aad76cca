//! Snapshot tests of every screen and state in four sizes.

use std::fmt::Write as _;

use jiff::Timestamp;
use ratatui::crossterm::event::KeyCode;

use super::super::{
    App, Event, Settings,
    testing::{app, app_with, drawn, full, hostile, pass, plain, press, start, type_in},
};
use crate::{Snapshot, rows::Choice, snapshot::State};

/// Compares the screen in four sizes with the stored snapshot.
fn check(name: &str, app: &mut App) {
    let mut pictures = String::new();
    for (columns, rows) in [(80, 24), (200, 50), (40, 10), (1, 1)] {
        writeln!(pictures, "=== {columns}x{rows}\n{}", drawn(app, columns, rows)).unwrap();
    }
    insta::with_settings!({ snapshot_path => "../snapshots", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!(name, pictures);
    });
}

#[test]
fn flows_in_every_view() {
    for (key, name) in [('1', "process"), ('2', "pod"), ('3', "peer"), ('4', "endpoint"), ('5', "connection")]
    {
        let mut app = app(&plain());
        type_in(&mut app, &format!("{key}j"));
        check(&format!("by_{name}"), &mut app);
    }
}

#[test]
fn flows_with_other_columns_and_units() {
    for (keys, name) in [
        ("w", "wide"),
        ("t", "totals"),
        ("u", "bits"),
        ("uu", "exact"),
        ("b5", "both_ends"),
        ("S<", "sorted"),
    ] {
        let mut app = app(&plain());
        type_in(&mut app, keys);
        // By then, the response to the key has disappeared.
        pass(&mut app, 9);
        check(name, &mut app);
    }
}

#[test]
fn rows_that_are_open() {
    for (key, name) in [('1', "open_process"), ('2', "open_pod"), ('3', "open_peer"), ('4', "open_endpoint")]
    {
        let mut app = app(&plain());
        type_in(&mut app, &key.to_string());
        press(&mut app, KeyCode::Enter);
        check(name, &mut app);
    }
}

#[test]
fn further_tabs() {
    let mut app = app(&full());
    check("tabs", &mut app);
    press(&mut app, KeyCode::Tab);
    check("http", &mut app);
    press(&mut app, KeyCode::Tab);
    check("functions", &mut app);
}

#[test]
fn pages_that_cover_the_screen() {
    for (keys, name) in [("?", "help"), ("i", "information"), ("d", "details")] {
        let mut app = app(&full());
        type_in(&mut app, keys);
        check(name, &mut app);
    }
    let mut app = app(&full());
    press(&mut app, KeyCode::Tab);
    type_in(&mut app, "jd");
    check("details_of_endpoint", &mut app);
}

#[test]
fn filters() {
    for (keys, name) in
        [("/process:ngi", "filter_typed"), ("/port:x", "filter_wrong"), ("/nobody", "filter_empty")]
    {
        let mut app = app(&plain());
        type_in(&mut app, keys);
        check(name, &mut app);
    }
    let mut app = app(&plain());
    type_in(&mut app, "/-nginx");
    press(&mut app, KeyCode::Enter);
    check("filter_kept", &mut app);
}

#[test]
fn a_pause_and_hidden_names() {
    let mut app = app(&full());
    type_in(&mut app, " ");
    pass(&mut app, 15);
    check("paused", &mut app);
    type_in(&mut app, " n5");
    check("hidden", &mut app);
    type_in(&mut app, "i");
    check("hidden_information", &mut app);
}

#[test]
fn nothing_yet() {
    let mut app = App::new(Settings { subject: "pod shop/web".to_owned(), ..Settings::default() }, start());
    check("no_snapshot", &mut app);
    app.apply(Event::End("The trace shop/checkout is not there: traces \"checkout\" not found.".to_owned()));
    check("no_snapshot_and_end", &mut app);
    let nothing = Snapshot { time: start(), subject: "pod shop/web".to_owned(), ..Snapshot::default() };
    let mut app = app_with(&nothing, Settings::default());
    check("no_traffic", &mut app);
    let notices = vec![
        "No pod matches app=web in shop.".to_owned(),
        "kubectl get pods -n shop --show-labels lists the labels.".to_owned(),
    ];
    let mut app = app_with(&Snapshot { state: State::Waiting, notices, ..nothing }, Settings::default());
    check("waiting", &mut app);
}

#[test]
fn states_of_the_trace() {
    let changed = |change: fn(&mut Snapshot)| {
        let mut snapshot = plain();
        change(&mut snapshot);
        app(&snapshot)
    };
    let lost = |snapshot: &mut Snapshot| {
        snapshot.lost.insert("tableFullEvents".to_owned(), 1204);
        snapshot.lost.insert("rxBytes".to_owned(), 4096);
        snapshot.notices.push("The flow table of node-b is full: new flows are in (other).".to_owned());
    };
    check("lost", &mut changed(lost));
    check(
        "stale",
        &mut changed(|snapshot| {
            snapshot.nodes[1].update_time = Timestamp::from_second(start().as_second() - 41).ok();
        }),
    );
    check("degraded", &mut changed(|snapshot| snapshot.hook_tier = Some("kprobe".to_owned())));
    check("completed", &mut changed(|snapshot| snapshot.state = State::Completed));
    check(
        "failed",
        &mut changed(|snapshot| {
            snapshot.state = State::Failed;
            snapshot.notices.push("No node could trace: Linux 5.3 is too old.".to_owned());
        }),
    );
    check("deleted", &mut changed(|snapshot| snapshot.state = State::Deleted));
    check(
        "unreachable",
        &mut changed(|snapshot| {
            snapshot.state = State::Unreachable;
            snapshot
                .notices
                .push("The API server does not answer: connection refused. Trying again.".to_owned());
        }),
    );
    let mut app = changed(|_| {});
    app.apply(Event::End(String::new()));
    check("ended", &mut app);
}

#[test]
fn other_terminals_and_times() {
    let ascii = Settings { unicode: false, colour: false, ..Settings::default() };
    let mut app = app_with(&plain(), ascii);
    press(&mut app, KeyCode::Enter);
    check("ascii", &mut app);
    check("replay", &mut app_with(&plain(), Settings { is_replay: true, ..Settings::default() }));
    let choice = Choice { view: crate::rows::View::Connection, ..Choice::default() };
    check("hostile", &mut app_with(&hostile(), Settings { choice, ..Settings::default() }));
}
