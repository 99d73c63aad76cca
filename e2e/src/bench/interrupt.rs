//! Ctrl-C and SIGTERM: the measurement stops at its next step, so that every guard undoes what it made. A second signal
//! ends the process at once.

use std::{
    io,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};

use crate::support::{Result, TestError};

static SEEN: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// Begins to note the signals.
pub(super) fn listen() -> Result<()> {
    for signal in [SIGINT, SIGTERM] {
        // In this order: the first signal finds the flag unset.
        let registered = flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&SEEN))
            .and_then(|_| flag::register(signal, Arc::clone(&SEEN)));
        registered.map_err(TestError::io("listen for signals"))?;
    }
    Ok(())
}

/// Fails after a signal.
pub(super) fn check() -> Result<()> {
    if SEEN.load(Relaxed) {
        return Err(TestError::io("go on")(io::ErrorKind::Interrupted.into()));
    }
    Ok(())
}
