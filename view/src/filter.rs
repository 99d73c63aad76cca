//! Filters as people type them: words that must all match, such as `port:443 process:nginx -pod:test`.

use std::net::IpAddr;

use traffictrace_crd::flow::{Direction, Protocol};

use crate::{
    FilterError, Snapshot,
    endpoints::title,
    snapshot::{Endpoint, Flow, Function},
};

/// Names of the fields that a filter can ask for.
pub const FIELDS: [&str; 11] = [
    "process",
    "pid",
    "pod",
    "container",
    "namespace",
    "node",
    "peer",
    "port",
    "protocol",
    "direction",
    "state",
];

/// A filter of flows. An empty filter accepts every flow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    words: Vec<Word>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Word {
    is_negated: bool,
    wanted: Wanted,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Wanted {
    /// A part of the named field's text or, without a name, of any text, in lower case.
    Part(Option<&'static str>, String),
    /// The whole text of the named field, in lower case.
    Whole(&'static str, String),
    Pid(u32),
    Port(u16),
}

impl Filter {
    /// Parses a filter. A word matches if it is part of any name or address. `FIELD:VALUE` matches if `VALUE` is part
    /// of the field, `FIELD:=VALUE` if it is the whole field. A `-` before a word excludes the flows that match it.
    /// Case is ignored.
    ///
    /// # Errors
    ///
    /// [`FilterError`] for a field that does not exist, or a value that the field cannot have.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        text.split_whitespace().map(Word::parse).collect::<Result<_, _>>().map(|words| Self { words })
    }

    /// Returns true if the filter accepts every flow.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Returns true if the filter accepts a flow.
    #[must_use]
    pub fn takes(&self, flow: &Flow) -> bool {
        self.words.iter().all(|word| word.wanted.matches(flow) != word.is_negated)
    }

    /// Returns true if the filter accepts an HTTP endpoint, whose method, host and path count as its peer.
    #[must_use]
    pub fn takes_endpoint(&self, endpoint: &Endpoint) -> bool {
        self.is_empty() || self.takes(&as_flow(endpoint))
    }

    /// Returns true if the filter accepts a function, whose name and file count as its peer.
    #[must_use]
    pub fn takes_function(&self, function: &Function) -> bool {
        self.is_empty() || self.takes(&function_as_flow(function))
    }

    /// Removes the flows, endpoints and functions that the filter rejects from a snapshot's lists. The totals stay.
    pub fn retain(&self, snapshot: &mut Snapshot) {
        snapshot.flows.retain(|flow| self.takes(flow));
        if let Some(http) = &mut snapshot.http {
            http.endpoints.retain(|endpoint| self.takes_endpoint(endpoint));
        }
        if let Some(functions) = &mut snapshot.functions {
            functions.functions.retain(|function| self.takes_function(function));
        }
    }
}

impl Word {
    fn parse(text: &str) -> Result<Self, FilterError> {
        let (is_negated, text) = match text.strip_prefix('-') {
            Some(rest) if !rest.is_empty() => (true, rest),
            _ => (false, text),
        };
        let wanted = match text.split_once(':') {
            // A colon does not name a field if the word is an IPv6 address.
            Some((field, value)) if text.parse::<IpAddr>().is_err() && !value.contains(':') => {
                Wanted::of(field, value)?
            }
            Some((field, value)) if FIELDS.contains(&field.to_lowercase().as_str()) => {
                Wanted::of(field, value)?
            }
            _ => Wanted::Part(None, text.to_lowercase()),
        };
        Ok(Self { is_negated, wanted })
    }
}

impl Wanted {
    fn of(field: &str, value: &str) -> Result<Self, FilterError> {
        let lower = field.to_lowercase();
        let Some(field) = FIELDS.into_iter().find(|known| *known == lower) else {
            return Err(FilterError::Field { field: field.to_owned() });
        };
        let failed = |expected| FilterError::Value { field, value: value.to_owned(), expected };
        match field {
            "pid" => value.parse().map(Self::Pid).map_err(|_| failed("process id")),
            "port" => value.parse().map(Self::Port).map_err(|_| failed("port, 0 to 65535")),
            _ => Ok(match value.strip_prefix('=') {
                Some(whole) => Self::Whole(field, whole.to_lowercase()),
                None => Self::Part(Some(field), value.to_lowercase()),
            }),
        }
    }

    fn matches(&self, flow: &Flow) -> bool {
        match self {
            Self::Pid(pid) => flow.pid == Some(*pid) || flow.container_pid == Some(*pid),
            Self::Port(port) => flow.local_port == Some(*port) || flow.remote_port == Some(*port),
            Self::Part(Some(field), part) => has(flow, field, &|text| text.contains(part)),
            Self::Part(None, part) => {
                FIELDS.iter().any(|field| has(flow, field, &|text| text.contains(part)))
            }
            Self::Whole(field, whole) => has(flow, field, &|text| text == whole),
        }
    }
}

/// Converts an endpoint into a flow, so that one language filters both. Its method, host and path become the peer.
fn as_flow(endpoint: &Endpoint) -> Flow {
    let direction = match endpoint.side.as_str() {
        "Server" => Direction::Inbound,
        "Client" => Direction::Outbound,
        _ => Direction::Unknown,
    };
    Flow {
        namespace: endpoint.namespace.clone(),
        pod: endpoint.pod.clone(),
        container: endpoint.container.clone(),
        command: endpoint.command.clone(),
        peer: Some(format!("{} {}", title(endpoint), endpoint.protocol)),
        ..Flow::new(Protocol::Tcp, direction)
    }
}

/// Converts a function into a flow, so that one language filters both. Its name and file become the peer.
fn function_as_flow(function: &Function) -> Flow {
    let module = function.module.as_deref().unwrap_or_default();
    Flow {
        namespace: function.namespace.clone(),
        pod: function.pod.clone(),
        container: function.container.clone(),
        command: function.command.clone(),
        peer: Some(format!("{} {module}", function.name)),
        ..Flow::new(Protocol::Tcp, Direction::Unknown)
    }
}

/// Returns true if a text of the field satisfies `is_wanted`, which gets the text in lower case.
fn has(flow: &Flow, field: &str, is_wanted: &dyn Fn(&str) -> bool) -> bool {
    let named = |name: &Option<String>| name.as_ref().is_some_and(|name| is_wanted(&name.to_lowercase()));
    let shown = |text: &dyn ToString| is_wanted(&text.to_string().to_lowercase());
    match field {
        "process" => named(&flow.command),
        "pod" => named(&flow.pod),
        "container" => named(&flow.container),
        "namespace" => named(&flow.namespace),
        "node" => named(&flow.node),
        "peer" => named(&flow.peer) || flow.remote_address.is_some_and(|address| shown(&address)),
        "protocol" => is_wanted(&format!("{:?}", flow.protocol).to_lowercase()),
        "direction" => {
            let name = match flow.direction {
                Direction::Inbound => "inbound",
                Direction::Outbound => "outbound",
                Direction::Unknown => "unknown",
            };
            is_wanted(name)
        }
        "state" => is_wanted(&format!("{:?}", flow.state).to_lowercase()),
        // Numbers match only as a whole; the words for pids and ports do that.
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{live::testing::full, testing::flow};

    fn takes(filter: &str, flow: &Flow) -> bool {
        Filter::parse(filter).unwrap().takes(flow)
    }

    #[test]
    fn words_must_all_match() {
        let mut flow = flow("nginx", 412);
        flow.remote_address = "2001:db8::7".parse().ok();
        flow.remote_port = Some(443);
        (flow.pod, flow.node) = (Some("web-7c9f".to_owned()), Some("worker-3".to_owned()));
        for filter in [
            "",
            "NGINX",
            "web",
            "process:ngi port:443",
            "-process:curl",
            "pid:412",
            "2001:db8::7",
            "peer:2001:db8",
            "protocol:tcp",
            "direction:out",
            "state:open",
            "Pod:WEB",
            "node:worker-3",
            "pod:=WEB-7c9f",
            "peer:=2001:db8::7",
            "-pod:=web",
            "state:=open",
        ] {
            assert!(takes(filter, &flow), "{filter}");
        }
        for filter in [
            "curl",
            "nginx curl",
            "-nginx",
            "node:4",
            "port:44",
            "pid:41",
            "pod:nginx",
            "2001:db8::8",
            "pod:=web-7c9",
            "pod:=",
            "direction:=out",
        ] {
            assert!(!takes(filter, &flow), "{filter}");
        }
    }

    #[test]
    fn lists_lose_what_is_not_taken_and_totals_keep_it() {
        let mut snapshot = full();
        let all = snapshot.clone();
        let pod = snapshot.flows[0].pod.clone().unwrap();
        snapshot.flows[1].pod = Some(format!("{pod}0"));
        Filter::parse(&format!("pod:={pod}")).unwrap().retain(&mut snapshot);
        assert!(!snapshot.flows.is_empty() && snapshot.flows.len() < all.flows.len());
        assert!(snapshot.flows.iter().all(|flow| flow.pod.as_ref() == Some(&pod)));
        assert_eq!((snapshot.totals, snapshot.flows_total), (all.totals, all.flows_total));
        Filter::parse("/cart").unwrap().retain(&mut snapshot);
        let (http, all) = (snapshot.http.unwrap(), all.http.unwrap());
        assert_eq!((http.endpoints, http.requests), (vec![all.endpoints[1].clone()], all.requests));
    }

    #[test]
    fn mistakes_are_named() {
        let told = |filter| Filter::parse(filter).unwrap_err().to_string();
        assert_eq!(
            told("poort:80"),
            "there is no field \"poort\" to filter by; the fields are process, pid, pod, container, namespace, node, peer, port, protocol, direction, state"
        );
        assert_eq!(told("port:70000"), "port:70000 is not a port, 0 to 65535");
        assert_eq!(told("pid:x"), "pid:x is not a process id");
    }

    proptest! {
        #[test]
        fn any_text_is_a_filter_or_an_error(text in ".{0,40}") {
            if let Ok(filter) = Filter::parse(&text) {
                let _ = filter.takes(&flow("nginx", 1));
            }
        }
    }
}
