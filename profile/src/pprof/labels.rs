//! Labels of a sample: its owner, the direction of its bytes, and the state of its stack.

use std::borrow::Cow;

use super::{
    message::Label,
    read::{Parts, ReadError},
};
use crate::{Known, Process, Way};

/// Key of the label with the direction of the bytes.
pub(super) const WAY: &str = "way";
/// Key of the label with the pod's namespace and name.
pub(super) const POD: &str = "pod";
/// Key of the label with the name of the container or cgroup.
pub(super) const CONTAINER: &str = "container";
/// Key of the label with the process's name.
pub(super) const PROCESS: &str = "process";
/// Key of the label with the process's id on the host.
pub(super) const PID: &str = "pid";
/// Key of the label with the thread's name.
pub(super) const THREAD: &str = "thread";
/// Key of the label with the state of the stack.
pub(super) const STACK: &str = "stack";

/// Returns the value of the label for the state of a stack.
pub(super) fn known_name(known: &Known) -> Cow<'static, str> {
    match known {
        Known::Whole => "whole".into(),
        Known::Cut => "cut".into(),
        Known::Folded => "folded".into(),
        Known::FoldedProcesses => "folded processes".into(),
        Known::Missing(reason) => format!("none: {reason}").into(),
    }
}

fn known_of(name: &str) -> Option<Known> {
    match name {
        "whole" => Some(Known::Whole),
        "cut" => Some(Known::Cut),
        "folded" => Some(Known::Folded),
        "folded processes" => Some(Known::FoldedProcesses),
        other => Some(Known::Missing(other.strip_prefix("none: ")?.to_owned().into())),
    }
}

/// Owner of a sample, as texts of a profile that is being read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct Owner<'a> {
    pub(super) pod: &'a str,
    pub(super) container: &'a str,
    pub(super) command: &'a str,
    pub(super) pid: u32,
}

impl Owner<'_> {
    /// Converts the owner into a process with texts of its own.
    pub(super) fn process(&self) -> Process {
        Process {
            cgroup: 0,
            pod: self.pod.to_owned(),
            container: self.container.to_owned(),
            command: self.command.to_owned(),
            pid: self.pid,
        }
    }
}

/// The labels of a sample.
#[derive(Debug)]
pub(super) struct Labels<'a> {
    pub(super) way: Way,
    pub(super) owner: Owner<'a>,
    pub(super) thread: &'a str,
    pub(super) known: Known,
}

impl<'a> Labels<'a> {
    /// Reads the labels of a sample.
    pub(super) fn read(labels: &[Label], parts: &Parts<'a>) -> Result<Self, ReadError> {
        let (mut way, mut known) = (None, None);
        let (mut owner, mut thread) = (Owner::default(), "");
        for label in labels {
            let value = parts.text(label.str)?;
            match parts.text(label.key)? {
                WAY if value == "sent" => way = Some(Way::Sent),
                WAY if value == "received" => way = Some(Way::Received),
                POD => owner.pod = value,
                CONTAINER => owner.container = value,
                PROCESS => owner.command = value,
                PID => {
                    let number = value.parse();
                    owner.pid = number.map_err(|_| ReadError::Foreign("a process id is no number"))?;
                }
                THREAD => thread = value,
                STACK => known = known_of(value),
                _ => {}
            }
        }
        match (way, known) {
            (Some(way), Some(known)) => Ok(Self { way, owner, thread, known }),
            (None, _) => Err(ReadError::Foreign("a stack does not say whether it sent or received")),
            (_, None) => Err(ReadError::Foreign("a stack does not say how much of it is known")),
        }
    }
}
