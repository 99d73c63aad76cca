//! Names as the screen shows them: made safe for a terminal or, while other people look on, replaced by placeholders.

use std::{cell::RefCell, collections::HashMap, net::IpAddr};

use traffictrace_crd::human::printable;

use crate::rows::Owner;

/// A kind of name. Each kind has its own placeholders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Process,
    Pod,
    Container,
    Namespace,
    Service,
    Node,
    Address,
    Host,
    Path,
    Function,
    Module,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Pod => "pod",
            Self::Container => "container",
            Self::Namespace => "namespace",
            Self::Service => "service",
            Self::Node => "node",
            Self::Address => "address",
            Self::Host => "host",
            Self::Path => "path",
            Self::Function => "function",
            Self::Module => "module",
        }
    }
}

/// The names of a screen. A hidden name has the same placeholder for as long as the screen runs.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) are_hidden: bool,
    numbers: RefCell<HashMap<Kind, HashMap<String, usize>>>,
}

impl Names {
    pub(super) fn new(are_hidden: bool) -> Self {
        Self { are_hidden, ..Self::default() }
    }

    /// Returns a name, or its placeholder.
    pub(super) fn shown(&self, kind: Kind, name: &str) -> String {
        if !self.are_hidden {
            return printable(name).into_owned();
        }
        let mut numbers = self.numbers.borrow_mut();
        let of_kind = numbers.entry(kind).or_default();
        let next = of_kind.len() + 1;
        let number = *of_kind.entry(name.to_owned()).or_insert(next);
        format!("{}-{number}", kind.name())
    }

    /// Names a process by its command and id.
    pub(super) fn process(&self, command: Option<&str>, pid: Option<u32>) -> String {
        match (command, pid) {
            (None, None) => "(unattributed)".to_owned(),
            (None, Some(pid)) => format!("(pid {pid})"),
            (Some(command), None) => self.shown(Kind::Process, command),
            // The process id is not hidden: it reveals nothing, and distinguishes rows with equal names.
            (Some(command), Some(pid)) => format!("{} {pid}", self.shown(Kind::Process, command)),
        }
    }

    /// Names a row's pod or, without one, its container.
    pub(super) fn place(&self, owner: &Owner) -> Option<String> {
        match (&owner.pod, &owner.container) {
            (Some(pod), _) => Some(self.shown(Kind::Pod, pod)),
            (None, Some(container)) => Some(self.shown(Kind::Container, container)),
            (None, None) => None,
        }
    }

    /// Names a row's pod with its namespace or, without a pod, its container.
    pub(super) fn whole_place(&self, owner: &Owner) -> Option<String> {
        let place = self.place(owner)?;
        Some(match &owner.namespace {
            Some(namespace) => format!("{}/{place}", self.shown(Kind::Namespace, namespace)),
            None => place,
        })
    }

    /// Names a row's process after its pod or container: `api/fluent-bit`.
    pub(super) fn owner(&self, owner: &Owner) -> String {
        let process = self.process(owner.command.as_deref(), None);
        match self.place(owner) {
            Some(place) => format!("{place}/{process}"),
            None => self.process(owner.command.as_deref(), owner.pid),
        }
    }

    /// Names one end of a connection, given as [`peer_of`](crate::rows::peer_of) returns it. The port is never
    /// hidden.
    pub(super) fn end(&self, end: &str) -> String {
        if !self.are_hidden {
            return printable(end).into_owned();
        }
        let (name, port) = match end.rsplit_once(':') {
            Some((name, port)) if end.parse::<IpAddr>().is_err() && port.parse::<u16>().is_ok() => {
                (name, Some(port))
            }
            _ => (end, None),
        };
        let hidden = match name.split_once(' ') {
            _ if name == "*" => name.to_owned(),
            Some(("pod", name)) => format!("pod {}", self.namespaced(Kind::Pod, name)),
            Some(("service", name)) => format!("service {}", self.namespaced(Kind::Service, name)),
            Some(("node", name)) => self.shown(Kind::Node, name),
            _ => self.shown(Kind::Address, name.trim_matches(['[', ']'])),
        };
        port.map_or_else(|| hidden.clone(), |port| format!("{hidden}:{port}"))
    }

    fn namespaced(&self, kind: Kind, name: &str) -> String {
        match name.split_once('/') {
            Some((namespace, name)) => {
                format!("{}/{}", self.shown(Kind::Namespace, namespace), self.shown(kind, name))
            }
            None => self.shown(kind, name),
        }
    }

    /// Returns a sentence, which is hidden as a whole while names are hidden, since it may contain some.
    pub(super) fn sentence(&self, text: &str) -> String {
        if self.are_hidden { "(hidden with the names)".to_owned() } else { printable(text).into_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_names_keep_their_placeholders() {
        let names = Names::new(true);
        assert_eq!(names.end("10.0.3.7:6379"), "address-1:6379");
        assert_eq!(names.end("10.0.3.8:6379"), "address-2:6379");
        assert_eq!(names.end("10.0.3.7:80"), "address-1:80");
        assert_eq!(names.end("2001:db8::7"), "address-3");
        assert_eq!(names.end("[2001:db8::7]:443"), "address-3:443");
        assert_eq!(names.end("*:80"), "*:80");
        assert_eq!(names.end("pod shop/redis:6379"), "pod namespace-1/pod-1:6379");
        assert_eq!(names.shown(Kind::Pod, "redis"), "pod-1");
        assert_eq!(names.process(Some("nginx"), Some(412)), "process-1 412");
        assert_eq!(names.process(None, None), "(unattributed)");
        assert_eq!(names.sentence("pod web is gone"), "(hidden with the names)");
    }

    #[test]
    fn names_cannot_move_the_cursor() {
        let names = Names::default();
        assert_eq!(names.process(Some("a\u{1b}[2J"), Some(1)), "a?[2J 1");
        assert_eq!(names.end("x\u{202e}:80"), "x?:80");
    }
}
