//! The state of the live screen. Only events change it, so every screen can be tested without a terminal.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use jiff::Timestamp;
use ratatui::crossterm::event::KeyEvent;

use super::{
    draw::layout::Layout,
    lists::{self, FunctionColumn, Tab},
    names::Names,
    settings::Settings,
    symbols::{ASCII, Symbols, UNICODE},
    table::Table,
    theme::Theme,
};
use crate::{
    FilterError, Snapshot,
    endpoints::Column as EndpointColumn,
    filter::Filter,
    history::History,
    rows::{Choice, Row},
    snapshot::{Function, State},
    sort::Order,
    units::Units,
};

/// Maximum number of rows whose rates of the last minute are remembered.
const MAX_HISTORIES: usize = 1000;
/// Seconds after a key press during which rows keep their order, so that the row under the reader's eyes does not
/// move.
const HOLD_SECONDS: i64 = 3;
/// Seconds for which the response to a key press is shown.
const MESSAGE_SECONDS: i64 = 4;

/// An event that can change the screen.
#[derive(Debug)]
pub enum Event {
    /// New numbers.
    Snapshot(Box<Snapshot>),
    /// No more numbers will come. The sentence gives the reason; it is empty if the trace has simply ended.
    End(String),
    /// A key was pressed.
    Key(KeyEvent),
    /// The terminal has another size.
    Resize {
        /// Width in columns.
        columns: u16,
        /// Height in lines.
        rows: u16,
    },
    /// Time has passed; the value is the current time.
    Tick(Timestamp),
}

/// Action that an event requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// None: the screen is unchanged.
    Nothing,
    /// Draw the screen.
    Draw,
    /// Clear and draw the screen.
    Repaint,
    /// Stop the process until the shell continues it.
    Suspend,
    /// End the screen.
    Quit,
}

/// The state of the live screen.
#[derive(Debug)]
pub struct App {
    pub(super) theme: Theme,
    pub(super) symbols: &'static Symbols,
    pub(super) is_replay: bool,
    pub(super) subject: String,
    pub(super) now: Timestamp,
    pub(super) size: (u16, u16),
    /// The newest snapshot. While the display is paused, the table shows an older one.
    pub(super) latest: Option<Arc<Snapshot>>,
    pub(super) table: Option<Table>,
    pub(super) history: History,
    pub(super) choice: Choice,
    pub(super) filter: String,
    pub(super) prompt: Option<Prompt>,
    pub(super) order: Order,
    pub(super) units: Units,
    pub(super) is_of_totals: bool,
    pub(super) is_wide: bool,
    pub(super) opened: BTreeSet<String>,
    pub(super) paused_at: Option<Timestamp>,
    pub(super) tab: Tab,
    pub(super) lists: [List; 3],
    pub(super) endpoints: Vec<usize>,
    pub(super) functions: Vec<Function>,
    pub(super) http_order: (EndpointColumn, bool),
    pub(super) function_order: (FunctionColumn, bool),
    pub(super) overlay: Option<Overlay>,
    pub(super) message: Option<(String, Timestamp)>,
    pub(super) end: Option<String>,
    pub(super) names: Names,
    pub(super) moved_at: Option<Timestamp>,
}

/// The prompt in which a filter is being typed.
#[derive(Debug)]
pub(super) struct Prompt {
    pub(super) text: String,
    /// The filter before typing began, as text and parsed.
    pub(super) before: (String, Filter),
    pub(super) error: Option<FilterError>,
}

/// The selection and the scroll position of one tab.
#[derive(Debug, Default)]
pub(super) struct List {
    /// Key of the selected line; `None` if the first line is selected, whichever line that is.
    pub(super) key: Option<String>,
    /// Index of the selected line.
    pub(super) at: usize,
    /// Index of the first line on the screen.
    pub(super) first: usize,
}

/// A page that covers the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Overlay {
    pub(super) kind: OverlayKind,
    /// Number of lines above the visible ones.
    pub(super) scroll: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OverlayKind {
    Help,
    Information,
    Details,
}

impl App {
    /// Makes a screen that has no numbers yet.
    #[must_use]
    pub fn new(settings: Settings, now: Timestamp) -> Self {
        Self {
            theme: Theme::new(settings.colour),
            symbols: if settings.unicode { &UNICODE } else { &ASCII },
            is_replay: settings.is_replay,
            subject: settings.subject,
            now,
            size: (80, 24),
            latest: None,
            table: None,
            history: History::default(),
            choice: settings.choice,
            filter: settings.filter,
            prompt: None,
            order: settings.order,
            units: settings.units,
            is_of_totals: false,
            is_wide: false,
            opened: BTreeSet::new(),
            paused_at: None,
            tab: Tab::Flows,
            lists: Default::default(),
            endpoints: Vec::new(),
            functions: Vec::new(),
            http_order: Default::default(),
            function_order: Default::default(),
            overlay: None,
            message: None,
            end: None,
            names: Names::new(settings.hide_names),
            moved_at: None,
        }
    }

    /// Changes the state by an event, and returns what to do next.
    pub fn apply(&mut self, event: Event) -> Outcome {
        let outcome = match event {
            Event::Snapshot(snapshot) => self.take(*snapshot),
            Event::End(reason) => {
                self.end = Some(reason);
                Outcome::Draw
            }
            Event::Key(key) => self.press(key),
            Event::Resize { columns, rows } => {
                self.size = (columns, rows);
                Outcome::Draw
            }
            Event::Tick(now) => {
                if !self.is_replay {
                    self.now = now;
                }
                if self.message.as_ref().is_some_and(|(_, since)| self.is_over(*since, MESSAGE_SECONDS)) {
                    self.message = None;
                }
                Outcome::Draw
            }
        };
        self.scroll();
        outcome
    }

    fn is_over(&self, since: Timestamp, seconds: i64) -> bool {
        self.now.duration_since(since).as_secs() >= seconds
    }

    fn take(&mut self, snapshot: Snapshot) -> Outcome {
        if self.is_replay {
            self.now = snapshot.time;
        }
        let total = snapshot.totals.rx_bytes_per_second.saturating_add(snapshot.totals.tx_bytes_per_second);
        let time = snapshot.time;
        self.latest = Some(Arc::new(snapshot));
        if self.paused_at.is_some() {
            self.history.add(time, total, []);
            return Outcome::Draw;
        }
        self.show_latest();
        let rows = self.table.as_ref().map_or(&[][..], |table| &table.rows.rows);
        let rates = rows.iter().take(MAX_HISTORIES).map(|row| (row.key.as_str(), row.sums.rate()));
        self.history.add(time, total, rates);
        Outcome::Draw
    }

    /// Shows the newest numbers. For a few seconds after a key press, rows keep their order.
    pub(super) fn show_latest(&mut self) {
        let is_held = self.moved_at.is_some_and(|since| !self.is_over(since, HOLD_SECONDS));
        let held = self.table.as_ref().filter(|_| is_held).map(Table::places);
        if let Some(latest) = &self.latest {
            let latest = Arc::clone(latest);
            self.show(latest, held.as_ref());
        }
    }

    /// Shows the same snapshot again after the choice of rows or their order has changed.
    pub(super) fn rebuild(&mut self) {
        if let Some(table) = &self.table {
            let snapshot = Arc::clone(&table.snapshot);
            self.show(snapshot, None);
        }
    }

    /// Shows the same snapshot, with rows in the same order, after a row was opened or closed.
    pub(super) fn refold(&mut self) {
        if let Some(table) = &self.table {
            let (snapshot, held) = (Arc::clone(&table.snapshot), table.places());
            self.show(snapshot, Some(&held));
        }
    }

    fn show(&mut self, snapshot: Arc<Snapshot>, held: Option<&HashMap<String, usize>>) {
        let (http, function) = (self.http_order, self.function_order);
        self.endpoints = lists::endpoints(&snapshot, &self.choice.filter, http.0, http.1);
        self.functions = lists::functions(&snapshot, &self.choice.filter, function.0, function.1);
        if !lists::tabs(&snapshot).contains(&self.tab) {
            self.tab = Tab::Flows;
        }
        self.table = Some(Table::new(snapshot, &self.choice, self.order, &self.opened, held));
        for tab in [Tab::Flows, Tab::Http, Tab::Functions] {
            let list = &self.lists[tab as usize];
            let at = match &list.key {
                None => 0,
                // If the selected line is gone, the selection stays at its index.
                Some(key) => {
                    self.find(tab, key).unwrap_or(list.at).min(self.number_of_lines(tab).saturating_sub(1))
                }
            };
            self.lists[tab as usize].at = at;
        }
    }

    /// Returns the number of lines of a tab.
    pub(super) fn number_of_lines(&self, tab: Tab) -> usize {
        match tab {
            Tab::Flows => self.table.as_ref().map_or(0, |table| table.lines.len()),
            Tab::Http => self.endpoints.len(),
            Tab::Functions => self.functions.len(),
        }
    }

    fn find(&self, tab: Tab, key: &str) -> Option<usize> {
        match tab {
            Tab::Flows => self.table.as_ref()?.find(key),
            Tab::Http | Tab::Functions => {
                (0..self.number_of_lines(tab)).find(|at| self.key(tab, *at).as_deref() == Some(key))
            }
        }
    }

    fn key(&self, tab: Tab, at: usize) -> Option<String> {
        let table = self.table.as_ref()?;
        match tab {
            Tab::Flows => table.key(at),
            Tab::Http => {
                let http = table.snapshot.http.as_ref()?;
                Some(lists::endpoint_key(http.endpoints.get(*self.endpoints.get(at)?)?))
            }
            Tab::Functions => Some(lists::function_key(self.functions.get(at)?)),
        }
    }

    /// Selects a line of the visible tab. Selecting the first line selects whichever line is first in later
    /// snapshots.
    pub(super) fn select(&mut self, at: usize) {
        let at = at.min(self.number_of_lines(self.tab).saturating_sub(1));
        let key = if at == 0 { None } else { self.key(self.tab, at) };
        let list = &mut self.lists[self.tab as usize];
        (list.at, list.key) = (at, key);
        self.moved_at = Some(self.now);
    }

    pub(super) fn list(&self) -> &List {
        &self.lists[self.tab as usize]
    }

    /// Returns the row that is selected in the table of flows.
    pub(super) fn selected_row(&self) -> Option<&Row> {
        let table = self.table.as_ref()?;
        table.row(*table.lines.get(self.lists[0].at)?)
    }

    fn scroll(&mut self) {
        let height = Layout::of(self, self.size.0, self.size.1).map_or(0, |layout| layout.body.height);
        let number = self.number_of_lines(self.tab);
        let list = &mut self.lists[self.tab as usize];
        list.first = first_visible(list.first, list.at, height.into(), number);
    }

    /// Returns the state of the trace. If no more numbers will come, the trace counts as over.
    pub(super) fn state(&self) -> State {
        let state = self.latest.as_ref().map_or(State::Waiting, |snapshot| snapshot.state);
        match state {
            State::Waiting | State::Live if self.end.is_some() => State::Completed,
            state => state,
        }
    }

    pub(super) fn say(&mut self, message: String) {
        self.message = Some((message, self.now));
    }
}

/// Returns the index of the first of `number` lines to show in `height` lines, such that the selected line is
/// visible.
pub(super) fn first_visible(first: usize, selected: usize, height: usize, number: usize) -> usize {
    let first = first.min(number.saturating_sub(height)).min(selected);
    first.max((selected + 1).saturating_sub(height.max(1)))
}
