//! The live screen: a running trace, in a terminal.
//!
//! [`App`] is the state of the screen and draws it; [`run`] is the terminal around it. A caller sends the snapshots from
//! another thread:
//!
//! ```no_run
//! # use std::sync::mpsc::channel;
//! # use traffictrace_view::live::{Exit, Settings, Update, run};
//! let (updates, source) = channel::<Update>();
//! let screen = std::thread::spawn(move || run(Settings::from_environment(), &source));
//! // For each interval: updates.send(Update::Snapshot(...)); an error means that the screen has ended.
//! # drop(updates);
//! let exit = screen.join();
//! ```

mod app;
mod columns;
mod draw;
mod keys;
mod lists;
mod names;
mod settings;
mod symbols;
mod table;
mod terminal;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod text;
mod theme;

pub use self::{
    app::{App, Event, Outcome},
    lists::Tab,
    settings::{Settings, is_possible},
    terminal::{Exit, LiveError, Update, run},
};
