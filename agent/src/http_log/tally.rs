//! The totals and losses of the whole session, and sentences about them for people.

use std::collections::BTreeMap;

use traffictrace_crd::human;
use traffictrace_http::{
    Reason,
    endpoint::{Class, Sums, Totals, Unobserved},
};

use super::names::command;
use crate::engine::{Engine, HttpMissing, HttpSnapshot, SessionId, TlsProcess};

/// The totals and losses since the session began.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    /// Sums of all requests, shown or not.
    pub(super) totals: Totals,
    /// Numbers of requests and connections that are not in `totals`, or have no line.
    pub(super) missing: HttpMissing,
    /// Number of socket calls for which the flow table had no room, so that their process is unknown.
    pub(super) table_full: u64,
    /// The processes that use TLS.
    pub(super) tls: Vec<TlsProcess>,
}

impl Tally {
    /// Reads the totals up to now, and a snapshot of the same time with up to `top` endpoints. Returns `None` if the
    /// session has ended.
    pub(super) fn read(engine: &mut Engine, session: &SessionId, top: usize) -> Option<(Self, HttpSnapshot)> {
        let table_full = engine.snapshot(session, 0).map_or(0, |snapshot| snapshot.losses.table_full);
        // The HTTP totals are read last, because reading the flows can add requests.
        let requests = engine.http(session, top)?;
        let HttpSnapshot { totals, missing, ref tls, .. } = requests;
        Some((Self { totals, missing, table_full, tls: tls.clone() }, requests))
    }

    /// Describes what is missing: a sentence for each reason, which also says what to do where that is possible.
    pub(super) fn sentences(&self) -> Vec<String> {
        let Self { totals, missing, table_full, .. } = self;
        let mut sentences = Vec::new();
        let mut say = |count: u64, sentence: &dyn Fn() -> String| {
            if count > 0 {
                sentences.push(sentence());
            }
        };
        say(missing.lost.records, &|| {
            format!(
                "{} were lost between the kernel and this process, with the heads of {} and {}{}: trace fewer \
                 processes, or only some --port.",
                human::number_of(missing.lost.records, "record"),
                human::number_of(missing.lost.requests, "request"),
                human::number_of(missing.lost.responses, "response"),
                match missing.lost.unknown {
                    0 => String::new(),
                    unknown => format!(", and {} of unknown content", human::number_of(unknown, "record")),
                },
            )
        });
        for reason in Unobserved::REASONS {
            let count = totals.unobserved.of(reason);
            say(count, &|| format!("{} not shown: {}.", human::number_of(count, "request"), why(reason)));
        }
        say(missing.connections, &|| {
            format!(
                "{} not followed, because too many were open at once: trace fewer processes, or only some --port.",
                human::number_of(missing.connections, "connection"),
            )
        });
        say(missing.not_listed, &|| {
            format!(
                "{} counted in the totals without a line, because the output was read too slowly: write to a file, or \
                 use --summary.",
                human::number_of(missing.not_listed, "request"),
            )
        });
        say(missing.without_flow, &|| {
            format!(
                "Up to {} not shown, because the flow table was full and nobody can tell whose they are: raise \
                 --max-flows.",
                human::number_of(missing.without_flow, "request"),
            )
        });
        say(*table_full, &|| {
            "The flow table was full, so some requests are shown without their process: raise --max-flows."
                .to_owned()
        });
        sentences
    }

    /// Describes the processes that use TLS: a sentence for each program and library, which says whether its plain text
    /// was read.
    pub(super) fn tls_sentences(&self) -> Vec<String> {
        tls_sentences(&self.tls)
    }

    /// Describes the requests that had not ended; `None` if there are none.
    pub(super) fn under_way(&self) -> Option<String> {
        let count = self.missing.under_way;
        (count > 0)
            .then(|| format!("{} had not ended, which no total has.", human::number_of(count, "request")))
    }
}

/// Makes a sentence for each group of processes with the same program, library and result.
fn tls_sentences(processes: &[TlsProcess]) -> Vec<String> {
    let mut groups: BTreeMap<_, u64> = BTreeMap::new();
    for TlsProcess { owner, library, readable, reason, .. } in processes {
        let program = command(owner).unwrap_or_else(|| "a process".to_owned());
        *groups.entry((program, library, readable, reason)).or_default() += 1;
    }
    let sentence =
        |((program, library, readable, reason), count): ((String, &String, &bool, &String), u64)| {
            let count = if count == 1 { String::new() } else { format!(" ({count} processes)") };
            let library = if library.is_empty() { "an unknown library" } else { library };
            let read = if *readable { "was read" } else { "was not read" };
            let reason = if reason.is_empty() { String::new() } else { format!(" {reason}") };
            human::printable(&format!("TLS of {program}{count} with {library} {read}.{reason}")).into_owned()
        };
    groups.into_iter().map(sentence).collect()
}

/// Formats the numbers of requests by class, without zeros, after a colon: `: 90 2xx, 3 5xx, 1 no response`. Returns an
/// empty text if all are zero.
pub(super) fn by_class(sums: &Sums) -> String {
    let classes = Class::ALL.into_iter().filter(|class| sums.of(*class) > 0);
    let texts: Vec<String> = classes.map(|class| format!("{} {}", sums.of(class), name(class))).collect();
    if texts.is_empty() { String::new() } else { format!(": {}", texts.join(", ")) }
}

/// Returns the name of a class for people.
pub(super) fn name(class: Class) -> &'static str {
    match class {
        Class::NoResponse => "no response",
        Class::Unknown => "status unknown",
        other => other.name(),
    }
}

fn why(reason: Reason) -> &'static str {
    match reason {
        Reason::LostResponse => {
            "the response was lost between the kernel and this process; trace fewer processes, or only some --port"
        }
        Reason::HeadTooLarge => "the head was larger than what is kept of one",
        Reason::Malformed => "bytes that are no HTTP followed on the connection",
        Reason::NoMemory => "the memory for requests that are under way was used up; trace fewer processes",
        Reason::MissingBytes => "packets were missing between those that passed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http_log::testing::{exchange, of_nginx};

    #[test]
    fn nothing_missing_needs_no_word() {
        let mut tally = Tally::default();
        assert!(tally.sentences().is_empty() && tally.under_way().is_none());
        assert_eq!(by_class(&tally.totals.sums), "");
        tally.totals.sums.record(&exchange());
        assert_eq!(by_class(&tally.totals.sums), ": 1 2xx");
    }

    #[test]
    fn processes_of_one_kind_share_a_sentence() {
        let of = |pid, library: &str, readable, reason: &str| TlsProcess {
            owner: of_nginx(exchange()).owner,
            pid,
            library: library.to_owned(),
            readable,
            reason: reason.to_owned(),
        };
        let processes = [
            of(1, "OpenSSL 3.0.19", true, ""),
            of(2, "OpenSSL 3.0.19", true, ""),
            of(3, "", false, "It ended."),
        ];
        assert_eq!(
            tls_sentences(&processes),
            [
                "TLS of nginx with an unknown library was not read. It ended.",
                "TLS of nginx (2 processes) with OpenSSL 3.0.19 was read.",
            ]
        );
    }

    #[test]
    fn everything_missing_has_a_sentence() {
        let mut tally = Tally::default();
        tally.missing.lost.records = 3;
        tally.missing.lost.requests = 1;
        tally.missing.lost.unknown = 2;
        tally.missing.connections = 1;
        tally.missing.not_listed = 5;
        tally.missing.without_flow = 7;
        tally.table_full = 9;
        for reason in Unobserved::REASONS {
            tally.totals.unobserved.record(reason, 1);
        }
        let sentences = tally.sentences();
        assert_eq!(sentences.len(), 5 + Unobserved::REASONS.len());
        assert!(sentences[0].starts_with("3 records were lost"), "{}", sentences[0]);
        assert!(
            sentences[0].contains("1 request and 0 responses, and 2 records of unknown content"),
            "{}",
            sentences[0]
        );
        assert!(sentences.iter().all(|sentence| sentence.ends_with('.')), "{sentences:?}");
    }
}
