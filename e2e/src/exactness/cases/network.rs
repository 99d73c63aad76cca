//! A network namespace for a case that changes settings.

use std::{fs, io};

use crate::exactness::{
    error::{CaseError, Done},
    sys::own_network,
};

/// Moves this process into a network namespace of its own, whose settings end with the case; `false` where it may not. A
/// plain container has one of its own already, with settings that are not ours to change.
pub(super) fn enter() -> Done<bool> {
    match own_network() {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(false),
        Err(error) => Err(CaseError::unsupported(format!("no network namespace of its own: {error}"))),
    }
}

/// Enters a namespace that has a setting, such as `ipv4/tcp_fastopen`.
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
