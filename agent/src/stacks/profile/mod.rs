//! The profile of a session: its stacks, each with its bytes and calls.
//!
//! [`Profile`] adds up samples while the session runs. [`Profile::settle`] combines the samples with the sums of the
//! ledger, so that the rows of the [`Graph`](traffictrace_profile::Graph) add up exactly to the ledger's sums.

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
