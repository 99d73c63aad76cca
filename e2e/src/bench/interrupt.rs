//! Handling of Ctrl-C and SIGTERM: the measurement stops at its next call of [`check`], so that every guard (a value
//! that cleans up when it is dropped) undoes what it set up. A second signal ends the process at once.

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

/// Installs the signal handlers.
pub(super) fn listen() -> Result<()> {
    for signal in [SIGINT, SIGTERM] {
        // The order matters: handlers run in the order of their registration. At the first signal the conditional
        // shutdown must find the flag still unset, so that only a second signal ends the process.
        let registered = flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&SEEN))
            .and_then(|_| flag::register(signal, Arc::clone(&SEEN)));
        registered.map_err(TestError::io("listen for signals"))?;
    }
    Ok(())
}

/// Fails if a signal has arrived.
pub(super) fn check() -> Result<()> {
    if SEEN.load(Relaxed) {
        return Err(TestError::io("go on")(io::ErrorKind::Interrupted.into()));
    }
    Ok(())
}
