//! A network namespace for a case that changes settings.

use std::{fs, io};

use crate::exactness::{
    error::{CaseError, Done},
    sys::own_network,
};

/// Moves this process into a new network namespace, whose settings end with the case. Returns false if that is not
/// permitted, as in an unprivileged container; the settings there must stay as they are.
pub(super) fn enter() -> Done<bool> {
    match own_network() {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(false),
        Err(error) => Err(CaseError::unsupported(format!("no network namespace of its own: {error}"))),
    }
}

/// Enters a namespace and gives a setting, such as `ipv4/tcp_fastopen`, a value there.
pub(super) fn enter_with(name: &str, value: &str) -> Done {
    let path = format!("/proc/sys/net/{name}");
    if enter()? {
        let unsupported = |error| CaseError::unsupported(format!("{path} cannot be set: {error}"));
        return fs::write(&path, value).map_err(unsupported);
    }
    match fs::read_to_string(&path)?.trim() {
        now if now == value => Ok(()),
        now => Err(CaseError::unsupported(format!("{path} is {now} and not {value}"))),
    }
}
