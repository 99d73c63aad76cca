//! Waiting for a condition, never for a fixed time.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::{Result, TestError};

/// Interval at which a condition is checked.
pub const POLL: Duration = Duration::from_millis(20);

/// Calls `probe` until it returns `Ok(Ok(value))`; as long as the condition does not hold, it must return
/// `Ok(Err(state))`.
///
/// # Errors
///
/// Fails at once with the error of the probe, or with [`TestError::Deadline`] and the last state.
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

/// Waits as [`until`] does, with a probe that talks to the API server.
///
/// # Errors
///
/// Fails as [`until`] does.
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
