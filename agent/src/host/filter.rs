//! Filters on the command line, which follow the rules of a TrafficTrace's filters.

use clap::Args;
use serde_json::{Map, Value, json};
use traffictrace_crd::{TrafficTrace, ValidationFailed};

use super::HostError;
use crate::{flows::Filter, session::filter_of};

/// Options, and the fields of a TrafficTrace's spec that they correspond to.
const FLAGS: [(&str, &str); 4] = [
    ("--protocol", "spec.protocols"),
    ("--port", "spec.ports"),
    ("--remote-cidr", "spec.remoteCIDRs"),
    ("--direction", "spec.direction"),
];

/// Filters without protocols. An option that is absent does not restrict anything.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = FilterArgs::HEADING)]
pub(crate) struct FilterArgs {
    /// Only these ports, local or remote: numbers such as 443 or ranges such as 8000-8100.
    #[arg(long, value_name = "PORT", value_delimiter = ',')]
    port: Vec<String>,

    /// Only peers in these networks, such as 10.0.0.0/8 or 2001:db8::/32.
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    remote_cidr: Vec<String>,

    /// Only connections that the peer opened (Inbound) or that the traced side opened (Outbound). If nothing shows
    /// who opened a connection, it passes.
    #[arg(long, value_name = "Inbound|Outbound|Both")]
    direction: Option<String>,
}

/// Filters of the commands that count all protocols.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = FilterArgs::HEADING)]
pub(crate) struct TrafficArgs {
    /// Only these protocols: TCP, UDP, ICMP (ICMPv6 too).
    #[arg(long, value_name = "PROTOCOL", value_delimiter = ',')]
    protocol: Vec<String>,

    #[command(flatten)]
    filter: FilterArgs,
}

impl TrafficArgs {
    /// Reads the filters like [`FilterArgs::read`].
    pub(crate) fn read(&self) -> Result<Filter, HostError> {
        self.filter.read(&self.protocol)
    }
}

impl FilterArgs {
    /// Heading of these options in the help.
    const HEADING: &'static str = "Filters, applied in the kernel";

    /// Checks the filters as the API server checks those of a TrafficTrace. An empty list of protocols means all.
    pub(crate) fn read(&self, protocols: &[String]) -> Result<Filter, HostError> {
        let mut spec = Map::from_iter([("selector".to_owned(), json!({}))]);
        let mut put = |field: &str, values: &[String]| {
            if !values.is_empty() {
                spec.insert(field.into(), json!(values));
            }
        };
        put(
            "protocols",
            &protocols.iter().map(|name| as_written(name, &["TCP", "UDP", "ICMP"])).collect::<Vec<_>>(),
        );
        put("ports", &self.port);
        put("remoteCIDRs", &self.remote_cidr);
        if let Some(direction) = &self.direction {
            spec.insert("direction".into(), json!(as_written(direction, &["Inbound", "Outbound", "Both"])));
        }
        let trace = TrafficTrace::from_manifest(&manifest(spec)).map_err(|failed| refusal(&failed))?;
        filter_of(&trace.spec).map_err(|(field, cause)| HostError::Filter(format!("{field}: {cause}")))
    }
}

fn manifest(spec: Map<String, Value>) -> Value {
    json!({
        "apiVersion": format!("{}/{}", traffictrace_crd::GROUP, traffictrace_crd::VERSION),
        "kind": "TrafficTrace",
        "metadata": { "name": "host" },
        "spec": spec,
    })
}

/// Ignores case, since users type this: `inbound` means Inbound, `tcp` means TCP. A text that is not in `known` is
/// kept, and the rules refuse it.
fn as_written(text: &str, known: &[&str]) -> String {
    (*known.iter().find(|name| name.eq_ignore_ascii_case(text)).unwrap_or(&text)).to_owned()
}

/// Converts the messages: they name the options instead of the fields.
fn refusal(failed: &ValidationFailed) -> HostError {
    let named = |field: &str| {
        let flag = FLAGS.iter().find(|(_, path)| field.split('[').next() == Some(*path));
        flag.map_or_else(|| field.to_owned(), |(flag, _)| (*flag).to_owned())
    };
    let messages: Vec<String> =
        failed.errors.iter().map(|error| format!("{}: {}", named(&error.field), error.message)).collect();
    HostError::Filter(messages.join("; "))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::flows::{DirectionFilter, Protocol};

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn reads_what_a_spec_may_say() {
        let args = FilterArgs {
            port: texts(&["443", "8000-8100"]),
            remote_cidr: texts(&["10.0.0.0/8", "::1/128"]),
            direction: Some("inbound".into()),
        };
        let filter = args.read(&texts(&["tcp", "ICMP"])).unwrap();
        assert_eq!(filter.protocols, [Protocol::Tcp, Protocol::Icmp]);
        assert_eq!(filter.ports, [443..=443, 8000..=8100]);
        assert_eq!(filter.remote_cidrs.len(), 2);
        assert_eq!(filter.direction, DirectionFilter::Inbound);
        assert!(FilterArgs::default().read(&[]).unwrap().is_empty());
    }

    #[test]
    fn what_is_wrong_is_said_of_the_flag() {
        let none = FilterArgs::default;
        for (protocols, args, flag, part) in [
            (texts(&["SCTP"]), none(), "--protocol: ", "TCP, UDP, ICMP"),
            (vec![], FilterArgs { port: texts(&["8100-8000"]), ..none() }, "--port: ", "write 8000-8100"),
            (vec![], FilterArgs { port: texts(&["http"]), ..none() }, "--port: ", "\"http\""),
            (
                vec![],
                FilterArgs { remote_cidr: texts(&["10.0.0/8"]), ..none() },
                "--remote-cidr: ",
                "10.0.0.0/8",
            ),
            (
                vec![],
                FilterArgs { direction: Some("up".into()), ..none() },
                "--direction: ",
                "Inbound, Outbound, Both",
            ),
        ] {
            let message = args.read(&protocols).unwrap_err().to_string();
            assert!(message.starts_with(flag) && message.contains(part), "{message}");
        }
    }

    proptest! {
        #[test]
        fn every_network_is_taken_as_it_is_written(
            address in any::<std::net::IpAddr>(),
            length in 0..=128_u8,
            port in 1..=u16::MAX,
        ) {
            let cidr = format!("{address}/{length}");
            let args = FilterArgs { remote_cidr: vec![cidr.clone()], port: vec![port.to_string()], direction: None };
            match args.read(&[]) {
                Ok(filter) => {
                    prop_assert_eq!(&filter.ports, &[port..=port]);
                    prop_assert_eq!(filter.remote_cidrs.len(), 1);
                    prop_assert!(filter.remote_cidrs[0].contains(&address), "{cidr}");
                    prop_assert_eq!(filter.remote_cidrs[0].prefix_len(), length);
                }
                Err(error) => {
                    // As on the API server, an IPv4 address in IPv6 form is refused.
                    let is_mapped = address.is_ipv6() && cidr.contains('.');
                    prop_assert!(address.is_ipv4() && length > 32 || is_mapped, "{cidr}: {error}");
                    prop_assert!(error.to_string().contains("--remote-cidr: "), "{error}");
                }
            }
        }

        #[test]
        fn hostile_filters_are_refused_in_one_sentence_of_their_flag(
            cidr in "\\PC{0,20}|[0-9a-f:./]{0,30}",
            port in "\\PC{0,12}|[0-9-]{0,12}",
            direction in "\\PC{0,12}",
        ) {
            let args = FilterArgs { remote_cidr: vec![cidr], port: vec![port], direction: Some(direction) };
            if let Err(error) = args.read(&[]) {
                let text = error.to_string();
                prop_assert!(["--remote-cidr", "--port", "--direction"].iter().any(|flag| text.contains(flag)), "{text}");
            }
        }
    }
}
