//! The commands in the documentation, run as a reader would run them.
//!
//! The info string of each shell block in a page names, after the language, the place where the block is run: `host`,
//! `cluster`, `stacks`, `uninstall`, `make`, or `not-run` with the reason (`Place`). `ctrl-c` marks commands
//! that run until somebody interrupts them. In a block of `console`, each command follows `$ ` and has its output
//! below; a block of `sh` is one script.

#[cfg(test)]
mod links;
mod page;
mod world;

pub use page::{Block, Command, Place, blocks, pages};
pub use world::World;
