//! Conversion of an engine's snapshot into the view's, from which all output is made.

use std::time::Duration;

use jiff::Timestamp;
use traffictrace_view::snapshot::{self as view, Seconds};

use super::Names;
use crate::{
    engine::{Losses, Snapshot},
    flows::{Process, Row},
};

/// Converts the numbers of one interval. `subject` describes the target, and `interval` is the requested length.
/// `names_of` returns the names of the container that owns a cgroup, or `None` if only one container is traced.
pub(super) fn of(
    snapshot: &Snapshot,
    processes: &[Process],
    subject: &str,
    interval: Duration,
    names_of: &mut dyn FnMut(u64) -> Option<Names>,
) -> view::Snapshot {
    view::Snapshot {
        time: Timestamp::now(),
        subject: subject.to_owned(),
        interval_seconds: seconds(snapshot.interval, interval),
        hook_tier: Some(snapshot.hook_tier.to_owned()),
        totals: view::Totals {
            rx_bytes: snapshot.totals.rx_bytes,
            tx_bytes: snapshot.totals.tx_bytes,
            rx_bytes_per_second: snapshot.rx_bytes_per_second,
            tx_bytes_per_second: snapshot.tx_bytes_per_second,
            connections: snapshot.totals.connections,
            connections_open: snapshot.connections_open,
            connect_failures: snapshot.totals.connect_failures,
            retransmits: snapshot.totals.retransmits,
            ..view::Totals::default()
        },
        flows: snapshot.rows.iter().map(|row| flow(row, names_of)).collect(),
        flows_total: snapshot.rows_total as u64,
        processes: processes.iter().map(process).collect(),
        older_sockets_found: Some(snapshot.older_sockets_found),
        not_seen: snapshot.not_seen.iter().map(|unseen| unseen.name.to_owned()).collect(),
        lost: lost(&snapshot.losses),
        flow_table: Some(view::FlowTable {
            slots: snapshot.slots as u64,
            slots_in_use: snapshot.slots_in_use as u64,
        }),
        ..view::Snapshot::default()
    }
}

/// Rounds the elapsed time to whole seconds, at least 1, if the requested interval is a number of whole seconds. The
/// last interval may be shorter than requested.
fn seconds(elapsed: Duration, interval: Duration) -> Seconds {
    if interval.subsec_nanos() == 0 {
        return Seconds(elapsed.as_secs_f64().round().max(1.0));
    }
    Seconds(elapsed.as_millis() as f64 / 1000.0)
}

fn flow(row: &Row, names_of: &mut dyn FnMut(u64) -> Option<Names>) -> view::Flow {
    let Names { namespace, pod, container } = names_of(row.key.cgroup).unwrap_or_default();
    let is_of_another = row.key.caller_cgroup != row.key.cgroup;
    let caller = is_of_another.then(|| names_of(row.key.caller_cgroup)).flatten().unwrap_or_default();
    let known = (row.key.pid != 0).then_some(row.key.pid);
    view::Flow {
        namespace,
        pod,
        caller_container: caller.container.filter(|caller| container.as_ref() != Some(caller)),
        container,
        pid: known,
        container_pid: known.map(|_| row.key.container_pid),
        command: known.map(|_| row.key.command()),
        state: row.state.into(),
        local_address: row.key.local_address,
        local_port: row.key.local_port,
        remote_address: row.key.remote_address,
        remote_port: row.key.remote_port,
        rx_bytes: row.totals.rx_bytes,
        tx_bytes: row.totals.tx_bytes,
        rx_calls: row.totals.rx_calls,
        tx_calls: row.totals.tx_calls,
        rx_bytes_per_second: row.rx_bytes_per_second,
        tx_bytes_per_second: row.tx_bytes_per_second,
        connections: row.totals.connections,
        connections_open: row.connections_open,
        connect_failures: row.totals.connect_failures,
        retransmits: row.totals.retransmits,
        flows: row.flows,
        rtt_microseconds: (row.rtt_us != 0).then_some(row.rtt_us),
        ..view::Flow::new(row.key.protocol.into(), row.key.direction.into())
    }
}

fn process(process: &Process) -> view::Process {
    let known = (process.pid != 0).then_some(process.pid);
    view::Process {
        pid: known,
        command: known.map(|_| process.command()),
        connections_opened: process.totals.connections,
        connections_open: process.connections_open,
        connect_failures: process.totals.connect_failures,
        rx_bytes: process.totals.rx_bytes,
        tx_bytes: process.totals.tx_bytes,
    }
}

fn lost(losses: &Losses) -> std::collections::BTreeMap<String, u64> {
    let Losses { rx_bytes, tx_bytes, table_full, processes_lost, cgroups_not_named, missed_events, .. } =
        *losses;
    [
        ("rxBytes", rx_bytes),
        ("txBytes", tx_bytes),
        ("tableFullEvents", table_full),
        ("processesNotFollowed", processes_lost),
        ("cgroupsNotNamed", cgroups_not_named),
        ("missedEvents", missed_events),
    ]
    .map(|(kind, number)| (kind.to_owned(), number))
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_intervals_are_whole_numbers() {
        let text = |elapsed, interval| {
            serde_json::to_string(&seconds(Duration::from_millis(elapsed), Duration::from_millis(interval)))
                .unwrap()
        };
        assert_eq!(text(1003, 1000), "1");
        assert_eq!(text(120, 1000), "1");
        assert_eq!(text(5020, 5000), "5");
        assert_eq!(text(501, 500), "0.501");
    }
}
