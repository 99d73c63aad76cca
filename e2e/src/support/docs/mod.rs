//! The commands of the documentation, run as a reader would.
//!
//! Each block of shell in a page says behind its language where it is run: `host`, `cluster`, `uninstall`, `make` or
//! `not-run` with the reason. `ctrl-c` marks commands that run until somebody interrupts them. In a block of `console` a
//! command follows `$ `, and below it stands what it prints; a block of `sh` is one script.

#[cfg(test)]
mod links;
mod page;
mod world;

pub use page::{Block, Command, Place, blocks, pages};
pub use world::World;
