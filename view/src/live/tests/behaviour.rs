//! Tests of the screen's reactions to keys and to new numbers.

use jiff::Timestamp;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::super::{
    App, Event, Outcome, Tab,
    testing::{app, drawn, full, pass, plain, press, start, type_in},
};
use crate::{Snapshot, rows::View, snapshot::State, sort::Column};

/// A later snapshot, in which `process` has the highest rate.
fn later(seconds: i64, process: &str) -> Box<Snapshot> {
    let mut snapshot = plain();
    snapshot.time = Timestamp::from_second(start().as_second() + seconds).unwrap();
    for flow in &mut snapshot.flows {
        if flow.command.as_deref() == Some(process) {
            flow.tx_bytes_per_second = 900_000_000;
        }
    }
    snapshot.totals.tx_bytes_per_second = 950_000_000;
    Box::new(snapshot)
}

fn first_process(app: &App) -> Option<&str> {
    app.table.as_ref()?.rows.rows.first()?.owner.command.as_deref()
}

fn selected(app: &App) -> Option<&str> {
    app.selected_row()?.owner.command.as_deref()
}

fn control(app: &mut App, key: char) -> Outcome {
    app.apply(Event::Key(KeyEvent::new(KeyCode::Char(key), KeyModifiers::CONTROL)))
}

#[test]
fn the_selection_follows_its_row_and_rows_stay_while_one_reads() {
    let mut app = app(&plain());
    assert_eq!((first_process(&app), selected(&app)), (Some("nginx"), Some("nginx")));
    type_in(&mut app, "jj");
    assert_eq!(selected(&app), Some("php-fpm"));
    pass(&mut app, 4);
    app.apply(Event::Snapshot(later(10, "php-fpm")));
    assert_eq!((first_process(&app), selected(&app)), (Some("nginx"), Some("php-fpm")), "held");
    pass(&mut app, 20);
    app.apply(Event::Snapshot(later(20, "php-fpm")));
    assert_eq!((first_process(&app), selected(&app)), (Some("php-fpm"), Some("php-fpm")));
    assert_eq!(app.list().at, 0);
}

/// If one server accepts a client's connections to a Service, it is named as their other end; of several servers, only
/// the Service is named.
#[test]
fn a_client_of_several_servers_shows_their_service() {
    let mut snapshot = plain();
    let mut client = snapshot.flows[1].clone();
    (client.local_port, client.remote_port) = (None, Some(80));
    (client.peer, client.remote_address) = (Some("service shop/db".to_owned()), "10.96.0.1".parse().ok());
    let mut server = snapshot.flows[2].clone();
    (server.remote_port, server.local_services) = (None, vec!["db:80".to_owned()]);
    server.local_port = Some(3306);
    snapshot.flows = vec![client, server.clone()];
    let shown = |snapshot: &Snapshot| {
        let mut app = app(snapshot);
        type_in(&mut app, "4");
        drawn(&mut app, 120, 24)
    };
    let screen = shown(&snapshot);
    assert!(screen.contains("web-7c9f-x2x4l/php-fpm → db-0/mysqld:3306"), "{screen}");
    server.pod = Some("db-1".to_owned());
    snapshot.flows.push(server);
    let screen = shown(&snapshot);
    assert!(screen.contains("web-7c9f-x2x4l/php-fpm → service shop/db:80"), "{screen}");
    assert!(screen.contains("(other ends, 2 flows)"), "{screen}");
}

#[test]
fn the_first_line_is_selected_as_such_until_another_is() {
    let mut app = app(&plain());
    pass(&mut app, 20);
    app.apply(Event::Snapshot(later(20, "curl")));
    assert_eq!(selected(&app), Some("curl"));
}

#[test]
fn a_selected_row_that_is_gone_leaves_its_neighbour_selected() {
    let mut app = app(&plain());
    type_in(&mut app, "G");
    assert_eq!(selected(&app), Some("curl"));
    let mut fewer = later(20, "nginx");
    fewer.flows.retain(|flow| flow.command.as_deref() != Some("curl"));
    app.apply(Event::Snapshot(fewer));
    assert_eq!(app.list().at, 3);
    app.apply(Event::Snapshot(Box::default()));
    assert_eq!((app.list().at, selected(&app)), (0, None));
}

#[test]
fn a_pause_keeps_the_rows_and_not_the_totals() {
    let mut app = app(&plain());
    type_in(&mut app, " ");
    app.apply(Event::Snapshot(later(10, "php-fpm")));
    let screen = drawn(&mut app, 80, 24);
    assert!(screen.contains("PAUSED") && screen.contains("906 MiB/s"), "{screen}");
    assert_eq!(first_process(&app), Some("nginx"));
    // While the display is paused, another view can be chosen; it shows the same snapshot.
    type_in(&mut app, "2");
    let screen = drawn(&mut app, 80, 24);
    assert!(screen.contains("shop/db-0") && !screen.contains("858 MiB"), "{screen}");
    type_in(&mut app, "1 ");
    assert_eq!(first_process(&app), Some("php-fpm"));
    assert!(drawn(&mut app, 80, 24).contains("LIVE"));
}

#[test]
fn a_filter_works_while_it_is_typed() {
    let mut app = app(&plain());
    type_in(&mut app, "/process:php");
    assert_eq!(first_process(&app), Some("php-fpm"));
    type_in(&mut app, " port:x");
    assert!(drawn(&mut app, 120, 24).contains("port:x is not a port, 0 to 65535"));
    assert_eq!(first_process(&app), Some("php-fpm"), "what was understood stays");
    press(&mut app, KeyCode::Enter);
    assert!(app.prompt.is_some(), "a filter with an error is not kept");
    control(&mut app, 'w');
    press(&mut app, KeyCode::Enter);
    assert_eq!((app.filter.as_str(), app.prompt.is_none()), ("process:php ", true));
    type_in(&mut app, "/");
    control(&mut app, 'u');
    assert_eq!(first_process(&app), Some("nginx"));
    press(&mut app, KeyCode::Esc);
    assert_eq!(first_process(&app), Some("php-fpm"), "Escape takes the typing back");
    press(&mut app, KeyCode::Esc);
    assert_eq!((first_process(&app), app.filter.as_str()), (Some("nginx"), ""));
}

#[test]
fn keys_that_end_the_screen() {
    let mut app = app(&plain());
    assert_eq!(press(&mut app, KeyCode::Esc), Outcome::Draw);
    assert_eq!(press(&mut app, KeyCode::Char('q')), Outcome::Quit);
    type_in(&mut app, "?");
    assert_eq!(press(&mut app, KeyCode::Char('q')), Outcome::Quit);
    type_in(&mut app, "x/q");
    assert_eq!(app.filter, "q", "a letter of a filter");
    type_in(&mut app, "x po");
    assert_eq!(app.filter, "qx ", "it may become port:");
    assert_eq!(control(&mut app, 'c'), Outcome::Quit);
    assert_eq!(control(&mut app, 'z'), Outcome::Suspend);
    assert_eq!(control(&mut app, 'l'), Outcome::Repaint);
}

#[test]
fn sorting_goes_through_the_columns_on_the_screen() {
    let mut app = app(&plain());
    drawn(&mut app, 80, 24);
    let mut seen = Vec::new();
    for _ in 0..6 {
        type_in(&mut app, "s");
        seen.push(app.order.column);
    }
    let all = [Column::Process, Column::Pod, Column::Open, Column::RxRate, Column::TxRate, Column::Rate];
    assert_eq!(seen, all);
    type_in(&mut app, "<S");
    assert!(drawn(&mut app, 80, 24).contains("SENT/s↑"));
    type_in(&mut app, "t");
    assert_eq!(app.order.column, Column::Tx, "the counterpart");
    drawn(&mut app, 40, 10);
    type_in(&mut app, "2");
    app.order.column = Column::Retransmits;
    assert!(drawn(&mut app, 40, 10).contains("RETX"), "a sorted column without a place is named");
}

#[test]
fn open_rows_show_what_is_below_and_stay_where_they_are() {
    let mut app = app(&plain());
    type_in(&mut app, "j");
    press(&mut app, KeyCode::Enter);
    let screen = drawn(&mut app, 80, 24);
    assert!(screen.contains("▌▾ mysqld 77"), "{screen}");
    assert!(screen.contains(":3306 ← clients"), "{screen}");
    type_in(&mut app, "j");
    press(&mut app, KeyCode::Enter);
    assert!(drawn(&mut app, 80, 24).starts_with(" Details"));
    press(&mut app, KeyCode::Esc);
    type_in(&mut app, "k");
    press(&mut app, KeyCode::Enter);
    assert!(!drawn(&mut app, 80, 24).contains('▾'));
    for (key, is_open) in [(KeyCode::Right, true), (KeyCode::Right, true), (KeyCode::Left, false)] {
        press(&mut app, key);
        assert_eq!(drawn(&mut app, 80, 24).contains('▾'), is_open);
    }
    control(&mut app, 'd');
    assert_eq!(selected(&app), Some("curl"));
    control(&mut app, 'u');
    assert_eq!(selected(&app), Some("nginx"));
}

#[test]
fn views_and_tabs_go_round() {
    let mut app = app(&full());
    for view in [View::Pod, View::Peer, View::Endpoint, View::Connection, View::Process] {
        type_in(&mut app, "v");
        assert_eq!(app.choice.view, view);
    }
    for tab in [Tab::Http, Tab::Functions, Tab::Flows, Tab::Http] {
        press(&mut app, KeyCode::Tab);
        assert_eq!(app.tab, tab);
    }
    type_in(&mut app, "js");
    assert_eq!(app.list().at, 0, "the selected endpoint has the most errors");
    // A trace without requests has no HTTP tab.
    app.apply(Event::Snapshot(later(10, "nginx")));
    assert_eq!(app.tab, Tab::Flows);
}

#[test]
fn a_source_that_ends_completes_the_trace() {
    let mut app = app(&plain());
    app.apply(Event::End(String::new()));
    assert_eq!(app.state(), State::Completed);
    let text = app.text(80, 24);
    assert!(text.contains("COMPLETED 14:11:58Z") || text.contains("COMPLETED"), "{text}");
    assert!(!text.contains("?help") && !text.ends_with('\n'), "{text}");
}

#[test]
fn pages_are_moved_by_arrows_and_left_by_other_keys() {
    let mut app = app(&plain());
    drawn(&mut app, 40, 10);
    type_in(&mut app, "?");
    assert!(drawn(&mut app, 40, 10).contains("more: arrows"));
    type_in(&mut app, "jj");
    assert!(drawn(&mut app, 40, 10).contains("j k, arrows"));
    for _ in 0..20 {
        press(&mut app, KeyCode::PageDown);
    }
    assert!(drawn(&mut app, 40, 10).contains("leaves out"), "{}", drawn(&mut app, 40, 10));
    type_in(&mut app, "x");
    assert!(app.overlay.is_none());
}

#[test]
fn the_tab_of_functions_is_there_before_them_and_says_why_it_is_empty() {
    let mut snapshot = full();
    let known = std::mem::take(&mut snapshot.functions.as_mut().unwrap().functions);
    snapshot.functions.as_mut().unwrap().notice = Some("No profile was read yet.".to_owned());
    let mut app = app(&snapshot);
    // The kubectl plugin starts the screen with this filter if a trace of one pod has to select others, too.
    type_in(&mut app, "/pod:=web-1");
    press(&mut app, KeyCode::Enter);
    press(&mut app, KeyCode::Tab);
    press(&mut app, KeyCode::Tab);
    let picture = drawn(&mut app, 80, 24);
    assert!(picture.contains("No profile was read yet."), "{picture}");
    let functions = snapshot.functions.as_mut().unwrap();
    functions.functions = known;
    functions.functions[0].pod = Some("web-1".to_owned());
    functions.functions[1].pod = Some("web-2".to_owned());
    app.apply(Event::Snapshot(Box::new(snapshot.clone())));
    let picture = drawn(&mut app, 80, 24);
    assert!(picture.contains("ngx_writev") && !picture.contains("ngx_unix_recv"), "{picture}");
    snapshot.functions.as_mut().unwrap().functions.remove(0);
    app.apply(Event::Snapshot(Box::new(snapshot)));
    let picture = drawn(&mut app, 80, 24);
    assert!(picture.contains("Nothing matches pod:=web-1."), "{picture}");
}
