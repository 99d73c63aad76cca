//! Things that can be switched on and off while load runs.

mod commands;
mod empty;
mod product;
mod tool;

use std::fmt;

pub(super) use self::{commands::Commands, empty::Empty, product::Product, tool::Tool};
use crate::support::Result;

/// Something that can be off, or on at one or more levels. Its `Display` is its name in tables.
pub(super) trait Switch: fmt::Display {
    /// Begins to switch to a level, or off, without waiting for the end.
    fn begin(&mut self, level: Option<usize>) -> Result<()>;

    /// Returns true once the level is reached, or everything is off; does not wait.
    fn done(&mut self) -> Result<bool>;
}
