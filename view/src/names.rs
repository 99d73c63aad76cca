//! Names as people read them, the same in every table. Traced names are untrusted: control characters and those that change
//! the direction of writing are shown as `?`.

use jiff::{Timestamp, Unit};
use traffictrace_crd::{
    flow::{Direction, FlowState, Protocol},
    human,
};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::{
    rows::{Owner, Row},
    snapshot::State,
};

/// Text for a value that is not known, or that several flows do not share.
pub(crate) const NONE: &str = "-";
/// Name of the process of flows whose process is not known.
pub(crate) const UNATTRIBUTED: &str = "(unattributed)";
/// Character in place of the part of a text that was cut out.
const ELLIPSIS: char = '…';

/// Returns a traced name made safe, or `-` if there is none.
pub(crate) fn shown(name: Option<&str>) -> String {
    name.filter(|name| !name.is_empty())
        .map_or_else(|| NONE.to_owned(), |name| human::printable(name).into_owned())
}

/// Names the process of an owner.
pub(crate) fn process(owner: &Owner) -> String {
    match (&owner.command, owner.pid) {
        (Some(command), _) if !command.is_empty() => human::printable(command).into_owned(),
        (_, Some(pid)) => format!("pid {pid}"),
        (_, None) => UNATTRIBUTED.to_owned(),
    }
}

/// Names the process of a row, or gives the number of its processes.
pub(crate) fn process_of(row: &Row) -> String {
    if row.processes > 1 { format!("({} processes)", row.processes) } else { process(&row.owner) }
}

/// Names the pod of an owner or, without pods, its container.
pub(crate) fn place(owner: &Owner) -> Option<String> {
    let name = owner.pod.as_deref().or(owner.container.as_deref())?;
    Some(human::printable(name).into_owned())
}

/// Names the row of sums that no other row has: `(other, 3 flows)`.
pub(crate) fn other(flows: u64) -> String {
    format!("(other, {})", human::number_of(flows, "flow"))
}

pub(crate) fn protocol(protocol: Option<Protocol>) -> &'static str {
    match protocol {
        Some(Protocol::Tcp) => "TCP",
        Some(Protocol::Udp) => "UDP",
        Some(Protocol::Icmp) => "ICMP",
        None => NONE,
    }
}

pub(crate) fn direction(direction: Option<Direction>) -> &'static str {
    match direction {
        Some(Direction::Inbound) => "in",
        Some(Direction::Outbound) => "out",
        Some(Direction::Unknown) => "?",
        None => "both",
    }
}

pub(crate) fn flow_state(state: FlowState) -> &'static str {
    match state {
        FlowState::Open => "open",
        FlowState::Closed => "closed",
        FlowState::Failed => "failed",
    }
}

pub(crate) fn state(state: State) -> &'static str {
    match state {
        State::Waiting => "waiting",
        State::Live => "live",
        State::Completed => "completed",
        State::Failed => "failed",
        State::Deleted => "deleted",
        State::Unreachable => "unreachable",
    }
}

/// Formats a time in whole seconds, in UTC: `2026-11-23T14:06:10Z`.
pub(crate) fn second(time: Timestamp) -> String {
    time.round(Unit::Second).unwrap_or(time).to_string()
}

/// Shortens a text to at most `columns` terminal columns by cutting its middle, since the ends of names say more.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let Some(room) = columns.checked_sub(1) else { return String::new() };
    let fitting = |chars: &mut dyn Iterator<Item = char>, room: usize| {
        let mut used = 0;
        let mut part: Vec<char> = Vec::new();
        for char in chars {
            used += char.width().unwrap_or(1);
            if used > room {
                break;
            }
            part.push(char);
        }
        part
    };
    let end = fitting(&mut text.chars().rev(), room / 2);
    let begin = fitting(&mut text.chars(), room - room / 2);
    begin.into_iter().chain([ELLIPSIS]).chain(end.into_iter().rev()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn long_names_keep_both_ends() {
        assert_eq!(cut("web-7c9f-x2x4l", 14), "web-7c9f-x2x4l");
        assert_eq!(cut("web-7c9f-x2x4l", 9), "web-…2x4l");
        assert_eq!((cut("web", 1), cut("web", 0)), ("…".to_owned(), String::new()));
        assert_eq!(cut("漢字漢字", 5), "漢…字");
    }

    #[test]
    fn an_owner_without_a_name_has_a_word() {
        let mut owner = Owner::default();
        assert_eq!(process(&owner), "(unattributed)");
        (owner.command, owner.pid) = (Some(String::new()), Some(7));
        assert_eq!(process(&owner), "pid 7");
        owner.command = Some("\u{1b}[2J".to_owned());
        assert_eq!(process(&owner), "?[2J");
        assert_eq!((shown(Some("")), shown(None)), ("-".to_owned(), "-".to_owned()));
    }

    proptest! {
        #[test]
        fn a_cut_text_fits(text in ".{0,20}", columns in 0..12_usize) {
            prop_assert!(cut(&text, columns).width() <= columns.max(text.width().min(columns)));
        }
    }
}
