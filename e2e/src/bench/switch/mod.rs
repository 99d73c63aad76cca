//! Things that are switched on and off while load runs.

mod commands;
mod empty;
mod product;
mod tool;

use std::fmt;

pub(super) use self::{commands::Commands, empty::Empty, product::Product, tool::Tool};
use crate::support::Result;

/// Something with one or more levels that can be on, or off. Its display is its name in tables.
pub(super) trait Switch: fmt::Display {
    /// Begins to go to a level, or off, without waiting for it.
    fn begin(&mut self, level: Option<usize>) -> Result<()>;

    /// Returns true once that level has been reached, or all is off; does not wait.
    fn done(&mut self) -> Result<bool>;
}
