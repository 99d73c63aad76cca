//! Keys of a terminal on systems without Unix signals.

use std::{io, time::Duration};

use ratatui::crossterm::{
    event::{Event, KeyEvent, KeyEventKind, poll, read},
    terminal,
};

use super::{Exit, LiveError};

/// A result of reading the terminal.
#[derive(Debug)]
pub(super) enum Press {
    Keys(Vec<KeyEvent>),
    /// The terminal is gone.
    #[expect(dead_code, reason = "such terminals end the process themselves")]
    Gone,
}

/// Reads the keys.
#[derive(Debug)]
pub(super) struct Input;

impl Input {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self)
    }

    pub(super) fn end(&self) -> Option<Exit> {
        None
    }

    pub(super) fn end_of(&self, error: io::Error, action: &'static str) -> Result<Exit, LiveError> {
        Err(LiveError::Terminal { action, source: error })
    }

    pub(super) fn was_continued(&self) -> bool {
        false
    }

    pub(super) fn suspend(&self) -> io::Result<()> {
        Ok(())
    }

    pub(super) fn is_writable(&self) -> bool {
        true
    }

    pub(super) fn next(&mut self, wait: Duration) -> io::Result<Option<Press>> {
        if !poll(wait)? {
            return Ok(None);
        }
        match read()? {
            Event::Key(key) if key.kind != KeyEventKind::Release => Ok(Some(Press::Keys(vec![key]))),
            _ => Ok(None),
        }
    }
}

/// Returns the size of the terminal in columns and lines.
pub(super) fn size() -> io::Result<(u16, u16)> {
    terminal::size()
}
