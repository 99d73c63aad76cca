//! The profile of a session: its stacks with the bytes and calls of each.
//!
//! [`Profile`] adds up samples while the session runs; [`Profile::settle`] brings them together with what the ledger has
//! counted, so that the rows of the [`Graph`](traffictrace_profile::Graph) add up to the ledger's sums to the byte.

mod add;
mod memory;
mod settle;
mod shares;
#[cfg(test)]
mod testing;

pub use self::{
    add::{Owner, Profile},
    settle::Sums,
};
