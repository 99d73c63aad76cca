//! The keys of the live screen.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::{
    app::{App, Outcome, Overlay, OverlayKind, Prompt},
    draw::layout::Layout,
    lists::{self, FunctionColumn, Tab},
    table::{Line, view_below},
};
use crate::{
    FilterError,
    endpoints::Column as EndpointColumn,
    filter::{FIELDS, Filter},
    rows::View,
    sort::{Column, Order},
};

/// Maximum length of a filter, in characters.
const MAX_FILTER: usize = 200;

/// The keys with their actions, in the order of the help.
pub(super) const HELP: [(&str, &str); 22] = [
    ("q, Ctrl-C", "quit; the screen stays"),
    ("?, h", "this help"),
    ("j k, arrows", "select a row"),
    ("PgUp PgDn", "a page up, down"),
    ("g G", "first, last row"),
    ("Enter", "open or close a row"),
    ("d", "details of the row"),
    ("i", "losses, nodes, notices"),
    ("/", "filter, such as port:443"),
    ("Esc", "clear filter, close rows"),
    ("Space, p", "pause; counting goes on"),
    ("s <  >", "sort by another column"),
    ("S", "turn the order round"),
    ("v", "group by the next kind"),
    ("1 2 3", "by process, pod, peer"),
    ("4 5", "by endpoint, connection"),
    ("t", "rates or totals"),
    ("u", "bytes, bits, every digit"),
    ("w", "more columns"),
    ("b", "both ends as two rows"),
    ("n", "hide names and addresses"),
    ("Tab", "flows, HTTP, functions"),
];

impl App {
    pub(super) fn press(&mut self, key: KeyEvent) -> Outcome {
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if is_control => return Outcome::Quit,
            KeyCode::Char('z') if is_control => return Outcome::Suspend,
            KeyCode::Char('l') if is_control => return Outcome::Repaint,
            _ => {}
        }
        if self.prompt.is_some() {
            return self.edit(key.code, is_control);
        }
        if key.code == KeyCode::Char('q') {
            return Outcome::Quit;
        }
        if let Some(overlay) = self.overlay {
            return self.press_on(overlay, key.code);
        }
        let code = match key.code {
            KeyCode::Char('d' | 'f') if is_control => KeyCode::PageDown,
            KeyCode::Char('u' | 'b') if is_control => KeyCode::PageUp,
            _ if is_control || key.modifiers.contains(KeyModifiers::ALT) => return Outcome::Nothing,
            code => code,
        };
        self.message = None;
        self.press_key(code)
    }

    fn press_key(&mut self, code: KeyCode) -> Outcome {
        let page =
            Layout::of(self, self.size.0, self.size.1).map_or(1, |layout| layout.body.height.max(1)).into();
        let at = self.list().at;
        match code {
            KeyCode::Up | KeyCode::Char('k') => self.select(at.saturating_sub(1)),
            KeyCode::Down | KeyCode::Char('j') => self.select(at + 1),
            KeyCode::PageUp => self.select(at.saturating_sub(page)),
            KeyCode::PageDown => self.select(at.saturating_add(page)),
            KeyCode::Home | KeyCode::Char('g') => self.select(0),
            KeyCode::End | KeyCode::Char('G') => self.select(usize::MAX),
            KeyCode::Enter => self.open(),
            KeyCode::Right if self.is_open() == Some(false) => self.open(),
            KeyCode::Left if self.is_open() == Some(true) => self.open(),
            KeyCode::Esc => self.step_back(),
            KeyCode::Char('?' | 'h') => self.cover(OverlayKind::Help),
            KeyCode::Char('i') => self.cover(OverlayKind::Information),
            KeyCode::Char('d') => self.cover(OverlayKind::Details),
            KeyCode::Char('/') => {
                let before = (self.filter.clone(), self.choice.filter.clone());
                self.prompt = Some(Prompt { text: self.filter.clone(), before, error: None });
            }
            KeyCode::Char(' ' | 'p') => self.pause(),
            KeyCode::Char('s' | '>') => self.sort_by_next(true),
            KeyCode::Char('<') => self.sort_by_next(false),
            KeyCode::Char('S') => self.turn_round(),
            KeyCode::Char('v') if self.tab == Tab::Flows => self.group_by(self.choice.view.next()),
            KeyCode::Char(number @ '1'..='5') if self.tab == Tab::Flows => {
                let place = (number as usize).saturating_sub('1' as usize);
                self.group_by(View::ALL[place.min(View::ALL.len() - 1)]);
            }
            KeyCode::Char('t') => self.swap_totals(),
            KeyCode::Char('u') => self.units = self.units.next(),
            KeyCode::Char('w') => self.is_wide = !self.is_wide,
            KeyCode::Char('b') => {
                self.choice.both_ends = !self.choice.both_ends;
                let said = if self.choice.both_ends { "rows of their own" } else { "one row" };
                self.say(format!("Both ends of a connection are {said}."));
                self.rebuild();
            }
            KeyCode::Char('n') => self.names.are_hidden = !self.names.are_hidden,
            KeyCode::Tab => self.turn_tab(true),
            KeyCode::BackTab => self.turn_tab(false),
            _ => return Outcome::Nothing,
        }
        Outcome::Draw
    }

    /// Handles a key while a page covers the screen: arrows scroll the page, all other keys close it.
    fn press_on(&mut self, overlay: Overlay, code: KeyCode) -> Outcome {
        let page = usize::from(self.size.1.saturating_sub(3)).max(1);
        let scroll = match code {
            KeyCode::Up | KeyCode::Char('k') => Some(overlay.scroll.saturating_sub(1)),
            KeyCode::Down | KeyCode::Char('j') => Some(overlay.scroll + 1),
            KeyCode::PageUp => Some(overlay.scroll.saturating_sub(page)),
            KeyCode::PageDown => Some(overlay.scroll + page),
            KeyCode::Home | KeyCode::Char('g') => Some(0),
            _ => None,
        };
        let last = self.overlay_lines(overlay.kind).saturating_sub(page);
        self.overlay = scroll.map(|scroll| Overlay { scroll: scroll.min(last), ..overlay });
        Outcome::Draw
    }

    /// Handles a key while a filter is being typed.
    fn edit(&mut self, code: KeyCode, is_control: bool) -> Outcome {
        let Some(mut prompt) = self.prompt.take() else { return Outcome::Nothing };
        match code {
            KeyCode::Enter => {
                // A filter with an error stays in the prompt, with the error beside it.
                if let Err(error) = self.filter_by(&prompt.text) {
                    self.prompt = Some(Prompt { error: Some(error), ..prompt });
                }
                return Outcome::Draw;
            }
            KeyCode::Esc => {
                (self.filter, self.choice.filter) = prompt.before;
                self.rebuild();
                return Outcome::Draw;
            }
            KeyCode::Backspace => {
                prompt.text.pop();
            }
            KeyCode::Char('u') if is_control => prompt.text.clear(),
            KeyCode::Char('w') if is_control => {
                let kept = prompt.text.trim_end();
                prompt.text.truncate(kept.rfind(' ').map_or(0, |at| at + 1));
            }
            KeyCode::Char(c) if !is_control && prompt.text.chars().count() < MAX_FILTER => {
                prompt.text.push(c);
            }
            _ => {}
        }
        // A last word that may become a field's name does not filter yet: `port` before `:443` would hide everything.
        prompt.error = self.filter_by(without_beginning(&prompt.text)).err();
        self.prompt = Some(prompt);
        Outcome::Draw
    }

    /// Applies a filter. If the text cannot be parsed, the filter before it stays.
    fn filter_by(&mut self, text: &str) -> Result<(), FilterError> {
        let filter = Filter::parse(text)?;
        text.clone_into(&mut self.filter);
        if filter != self.choice.filter {
            self.choice.filter = filter;
            self.rebuild();
        }
        Ok(())
    }

    fn cover(&mut self, kind: OverlayKind) {
        if kind != OverlayKind::Details || self.number_of_lines(self.tab) > 0 {
            self.overlay = Some(Overlay { kind, scroll: 0 });
        }
    }

    /// Returns true if the selected row is open; `None` if it cannot be opened.
    fn is_open(&self) -> Option<bool> {
        let table = self.table.as_ref().filter(|_| self.tab == Tab::Flows)?;
        let line = *table.lines.get(self.lists[0].at)?;
        let is_row = matches!(line, Line::Row(_)) && view_below(self.choice.view).is_some();
        is_row.then(|| table.is_open(line))
    }

    /// Opens or closes the selected row. If it cannot be opened, shows its details.
    fn open(&mut self) {
        let is_row = self.is_open().is_some();
        match self.selected_row().filter(|_| is_row) {
            Some(row) => {
                let key = row.key.clone();
                if !self.opened.remove(&key) {
                    self.opened.insert(key);
                }
                let at = self.lists[0].at;
                self.refold();
                // The selection is tied to the row's key, even for the first row, so that the opened row does not
                // move away.
                self.lists[0].key = self.table.as_ref().and_then(|table| table.key(at));
                self.moved_at = Some(self.now);
            }
            _ => self.cover(OverlayKind::Details),
        }
    }

    /// Removes one thing that narrows the screen: the filter, or else the open rows.
    fn step_back(&mut self) {
        if self.filter.is_empty() && self.choice.filter.is_empty() {
            self.opened.clear();
            self.refold();
        } else {
            self.filter.clear();
            self.choice.filter = Filter::default();
            self.rebuild();
        }
    }

    fn pause(&mut self) {
        match self.paused_at.take() {
            Some(_) => self.show_latest(),
            None => self.paused_at = Some(self.now),
        }
    }

    fn group_by(&mut self, view: View) {
        self.choice.view = view;
        self.opened.clear();
        self.lists[0] = Default::default();
        self.rebuild();
    }

    fn turn_tab(&mut self, forwards: bool) {
        let Some(table) = &self.table else { return };
        let tabs = lists::tabs(&table.snapshot);
        self.tab = next_in(&tabs, self.tab, forwards);
        if tabs.len() == 1 {
            self.say("This trace has neither HTTP requests nor stacks, so there is one tab.".to_owned());
        }
    }

    /// Sorts by the next column among those on the screen.
    fn sort_by_next(&mut self, forwards: bool) {
        match self.tab {
            Tab::Flows => {
                let mut columns: Vec<Column> = Vec::new();
                let layout = Layout::of(self, self.size.0, self.size.1);
                for column in layout.iter().flat_map(|layout| &layout.columns) {
                    columns
                        .extend(column.sorted_by(self.choice.view).filter(|known| !columns.contains(known)));
                }
                let column = next_in(&columns, self.order.column, forwards);
                self.order = Order { column, is_reversed: false };
            }
            Tab::Http => {
                self.http_order = (next_in(&EndpointColumn::ALL, self.http_order.0, forwards), false);
            }
            Tab::Functions => {
                self.function_order = (next_in(&FunctionColumn::ALL, self.function_order.0, forwards), false);
            }
        }
        self.moved_at = None;
        self.rebuild();
    }

    fn turn_round(&mut self) {
        let is_reversed = match self.tab {
            Tab::Flows => &mut self.order.is_reversed,
            Tab::Http => &mut self.http_order.1,
            Tab::Functions => &mut self.function_order.1,
        };
        *is_reversed = !*is_reversed;
        self.moved_at = None;
        self.rebuild();
    }

    /// Shows totals instead of rates or the reverse, and sorts by the corresponding column.
    fn swap_totals(&mut self) {
        self.is_of_totals = !self.is_of_totals;
        let pairs =
            [(Column::RxRate, Column::Rx), (Column::TxRate, Column::Tx), (Column::Rate, Column::Bytes)];
        for (rate, total) in pairs {
            let (from, to) = if self.is_of_totals { (rate, total) } else { (total, rate) };
            if self.order.column == from {
                self.order.column = to;
                break;
            }
        }
        self.rebuild();
    }
}

/// Removes the filter's last word if that word is the beginning of a field's name.
fn without_beginning(text: &str) -> &str {
    let start = text.rfind(' ').map_or(0, |at| at + 1);
    let word = text[start..].trim_start_matches('-').to_lowercase();
    let is_beginning = !word.is_empty() && FIELDS.iter().any(|field| field.starts_with(&word));
    if is_beginning { &text[..start] } else { text }
}

fn next_in<T: Copy + PartialEq>(all: &[T], one: T, forwards: bool) -> T {
    let Some(last) = all.len().checked_sub(1) else { return one };
    let place = all.iter().position(|known| *known == one);
    let place = match (place, forwards) {
        (Some(place), true) => (place + 1) % all.len(),
        (Some(place), false) => place.checked_sub(1).unwrap_or(last),
        (None, _) => 0,
    };
    all[place]
}
