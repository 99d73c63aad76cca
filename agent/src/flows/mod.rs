//! The path from drained counters to ranked rows. Pure: no kernel, no clock, no I/O.
//!
//! A [`Ledger`] belongs to one session. It folds the traffic of slots into rows by the session's [`GroupBy`], keeps the
//! totals, and ranks the rows. The sum of its rows equals its totals at any time.

mod counters;
mod filter;
mod ledger;
mod row;

pub use self::{
    counters::{Counters, Role},
    filter::{DirectionFilter, Filter},
    ledger::{Ledger, Opening, RowId, Seed},
    row::{Direction, FlowState, GroupBy, Key, Process, Protocol, Row, Totals},
};
