//! Exchanges counted in rows by endpoint.
//!
//! A [`Table`] counts [`crate::Exchange`]s in one [`Row`] for each owner and [`Endpoint`]. An endpoint is side,
//! protocol, method, host and folded path; the owner is whatever the caller attributes sockets to, such as a process.
//! Three rules hold for everything that leaves this module:
//!
//! * **Sums are exact.** All rows of a table, with [`Table::rest`], add up to [`Table::totals`], even if rows were
//!   folded (added to others) to stay within the limits.
//! * **Text is safe.** Methods are known ones or [`OTHER`]; hosts and paths are printable ASCII (except for the `…` of
//!   a cut path) of bounded length, without query, path parameters and anything that looks like a secret.
//! * **Memory is bounded.** Every table has a maximum number of owners, rows and hosts.
//!
//! [`merge`] merges the rows of several nodes by owner and endpoint; their [`Histogram`]s merge exactly.

mod counts;
mod histogram;
mod host;
mod method;
mod path;
mod row;
mod table;
#[cfg(test)]
mod testing;

pub use counts::{Class, Counts, Sums, Totals, Unobserved};
pub use histogram::{Histogram, Latency, TextError};
pub use host::normalise as normalise_host;
pub use method::normalise as normalise_method;
pub use path::{fold, redact};
pub use row::{Endpoint, Row, merge};
pub use table::{Interval, MAX_HOSTS, MAX_OWNER_ROWS, MAX_OWNERS, MAX_ROWS, Table};

/// Placeholder for all methods, hosts or paths that have no row of their own.
pub const OTHER: &str = "{other}";

/// Placeholder for a host or path that is not well-formed.
pub const INVALID: &str = "{invalid}";
