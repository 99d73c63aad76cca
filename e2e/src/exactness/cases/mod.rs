//! The cases: each does one thing with sockets and books what its own calls returned.

mod crowd;
mod datagrams;
mod ends;
mod errors;
mod older;
mod ping;
mod shared;
pub(super) mod streams;

use super::{error::Done, stage::Stage};

/// One case.
pub struct Case {
    /// Group, operation, variant.
    pub name: String,
    /// Whether it does something before the trace begins; it calls [`Stage::await_trace`] once then.
    pub older: bool,
    /// Protocols that the product is asked for, where it is not asked for everything.
    pub protocol: Option<&'static str>,
    /// Does it; runs in a process of its own inside the selected cgroup.
    pub run: Box<dyn Fn(&mut Stage) -> Done>,
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Case").field("name", &self.name).field("older", &self.older).finish_non_exhaustive()
    }
}

impl Case {
    pub(super) fn new(name: impl Into<String>, run: impl Fn(&mut Stage) -> Done + 'static) -> Self {
        Self { name: name.into(), older: false, protocol: None, run: Box::new(run) }
    }

    fn older(name: impl Into<String>, run: impl Fn(&mut Stage) -> Done + 'static) -> Self {
        Self { older: true, ..Self::new(name, run) }
    }
}

/// Cases that may differ where the product says that it does not see what they do, by the name that it has for it. A
/// pattern is the beginning of a case's name.
pub const EXCUSED: &[(&str, &str)] = &[("cgroup/passed-into-the-cgroup", "SocketsPassedLater")];

/// Every case, in the order in which they run.
pub fn all() -> Vec<Case> {
    [
        older::cases(),
        streams::cases(),
        datagrams::cases(),
        errors::cases(),
        ends::cases(),
        shared::cases(),
        ping::cases(),
        crowd::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
