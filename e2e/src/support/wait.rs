//! Waiting for a condition, never for a time.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::{Result, TestError};

/// How often a condition is asked again.
pub const POLL: Duration = Duration::from_millis(20);

/// Asks `probe` until it answers `Ok(Ok(value))`; `Ok(Err(seen))` says what was there instead.
///
/// # Errors
///
/// The probe's own error at once, or [`TestError::Deadline`] with what was last seen.
pub fn until<T>(
    what: &str,
    limit: Duration,
    mut probe: impl FnMut() -> Result<Result<T, String>>,
) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        match probe()? {
            Ok(value) => return Ok(value),
            Err(last) if Instant::now() >= deadline => {
                return Err(TestError::Deadline { what: what.to_owned(), limit, last });
            }
            Err(_) => thread::sleep(POLL),
        }
    }
}

/// [`until`] for probes that talk to the API server.
///
/// # Errors
///
/// As [`until`].
pub async fn until_async<T>(
    what: &str,
    limit: Duration,
    mut probe: impl AsyncFnMut() -> Result<Result<T, String>>,
) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        match probe().await? {
            Ok(value) => return Ok(value),
            Err(last) if Instant::now() >= deadline => {
                return Err(TestError::Deadline { what: what.to_owned(), limit, last });
            }
            Err(_) => tokio::time::sleep(POLL).await,
        }
    }
}
