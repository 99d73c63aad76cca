//! The past of a trace in its reports: the beginning of tracing on this node, its interruptions and, after a restart,
//! the counts of the previous agent.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use traffictrace_crd::{
    self as crd, FlowRow, HttpReport, Interruption, Losses, StackTotals, TrafficTraceReportSpec, decode_rows,
};

use super::Identities;
use super::endpoints::{ResumedHttp, resume};
use crate::flows::{Key, Seed, Totals};
use crate::session::{Planned, Uid};

/// Maximum number of interruptions in a report.
const INTERRUPTIONS: usize = 8;

/// State that is carried from one report of a session to the next.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct History {
    /// Time when this node began to trace.
    pub(crate) started: Timestamp,
    /// Number of this run of counting, which grows from one run to the next.
    pub(crate) epoch: i64,
    /// Totals of earlier runs, which are contained in the totals of this one.
    pub(crate) base: Option<crd::Totals>,
    pub(crate) interruptions: Vec<Interruption>,
    /// Pods and containers that are or were selected.
    pub(crate) pods: BTreeSet<Uid>,
    pub(crate) containers: BTreeSet<(Uid, String)>,
    /// Numbers of pods and containers in the last report of the previous agent.
    pub(crate) pods_before: i32,
    pub(crate) containers_before: i32,
    pub(crate) lost_before: Losses,
    /// Bytes without a known process or peer in rows that the previous agent's last report did not list.
    pub(crate) unattributed_before: i64,
    /// The HTTP requests of the previous agent's last report.
    pub(crate) http_before: Option<HttpReport>,
    /// Sums of the profiles of earlier runs.
    pub(crate) stacks_before: Option<StackTotals>,
}

/// The counts that a restarted agent continues from.
#[derive(Debug)]
pub(crate) struct Resumed {
    pub(crate) totals: Totals,
    pub(crate) rows: Vec<Seed>,
    /// The HTTP requests, if the report had any.
    pub(crate) http: Option<ResumedHttp>,
}

impl History {
    pub(crate) fn new(started: Timestamp, epoch: i64) -> Self {
        Self {
            started,
            epoch,
            base: None,
            interruptions: Vec::new(),
            pods: BTreeSet::new(),
            containers: BTreeSet::new(),
            pods_before: 0,
            containers_before: 0,
            lost_before: Losses::new(),
            unattributed_before: 0,
            http_before: None,
            stacks_before: None,
        }
    }

    /// Adds the pods and containers that are selected now.
    pub(crate) fn select(&mut self, planned: &Planned) {
        self.pods.extend(planned.pods.iter().cloned());
        self.containers.extend(planned.containers.iter().cloned());
    }

    /// Copies the past from the last report of this trace on this node.
    pub(crate) fn inherit(&mut self, last: &TrafficTraceReportSpec) {
        if let Some(started) = &last.start_time {
            self.started = started.0;
        }
        self.base = Some(crd::Totals { connections_open: 0, ..last.totals.clone() });
        self.interruptions.clone_from(&last.interruptions);
        self.pods_before = last.pods_matched;
        self.containers_before = last.containers_matched;
        self.lost_before.clone_from(&last.lost);
        self.http_before.clone_from(&last.http);
        self.stacks_before.clone_from(&last.stacks);
    }

    /// Continues from the last report of this trace on this node, including its list of interruptions. The caller adds
    /// the interruption that ends now.
    pub(crate) fn resume(
        &mut self,
        last: &TrafficTraceReportSpec,
        namespace: &str,
        identities: &mut Identities,
    ) -> Resumed {
        self.inherit(last);
        let mut rows = Vec::new();
        let mut unattributed = 0;
        for row in decode_rows(&last.columns, &last.flows) {
            match row {
                Ok(row) => {
                    if row.pid.is_none() || (row.remote_address.is_none() && row.local_address.is_some()) {
                        unattributed += row.rx_bytes.saturating_add(row.tx_bytes);
                    }
                    rows.push(seed(&row, namespace, identities));
                }
                // The bytes of a row that cannot be restored stay in the totals.
                Err(error) => {
                    tracing::warn!("a row of the report from before the restart is left out: {error}");
                }
            }
        }
        self.unattributed_before = (last.totals.unattributed_bytes - unattributed).max(0);
        let http = last.http.as_ref().map(|http| resume(http, namespace, identities));
        Resumed { totals: totals(&last.totals), rows, http }
    }

    /// Records an interruption that ended `now`. Traffic after `since` may be missing.
    pub(crate) fn interrupted(&mut self, reason: &str, since: Option<Timestamp>, now: Timestamp) {
        let interruption = Interruption {
            time: Time(now),
            since: since.map(Time),
            node_name: None,
            reason: reason.to_owned(),
        };
        push(&mut self.interruptions, interruption);
    }
}

/// Adds an interruption to a list, and drops the oldest ones beyond [`INTERRUPTIONS`].
pub(super) fn push(interruptions: &mut Vec<Interruption>, interruption: Interruption) {
    interruptions.push(interruption);
    let surplus = interruptions.len().saturating_sub(INTERRUPTIONS);
    interruptions.drain(..surplus);
}

fn totals(last: &crd::Totals) -> Totals {
    Totals {
        rx_bytes: positive(last.rx_bytes),
        tx_bytes: positive(last.tx_bytes),
        rx_calls: 0,
        tx_calls: 0,
        connections: positive(last.connections),
        connect_failures: positive(last.connect_failures),
        retransmits: positive(last.retransmits),
        unknown_direction_bytes: positive(last.unknown_direction_bytes),
    }
}

fn seed(row: &FlowRow, namespace: &str, identities: &mut Identities) -> Seed {
    let cgroup = identities.id_for(namespace, &row.pod, row.container.as_deref());
    let caller_cgroup = match &row.caller_container {
        Some(caller) => identities.id_for(namespace, &row.pod, Some(caller)),
        None => cgroup,
    };
    let command = kernel_command(row.command.as_deref());
    let address = |text: &Option<String>| text.as_deref().and_then(|text| text.parse().ok());
    Seed {
        key: Key {
            cgroup,
            caller_cgroup,
            pid: row.pid.unwrap_or(0),
            container_pid: row.container_pid.unwrap_or(0),
            command,
            protocol: row.protocol.into(),
            direction: row.direction.into(),
            local_address: address(&row.local_address),
            remote_address: address(&row.remote_address),
            local_port: row.local_port,
            remote_port: row.remote_port,
        },
        totals: Totals {
            rx_bytes: positive(row.rx_bytes),
            tx_bytes: positive(row.tx_bytes),
            rx_calls: positive(row.rx_calls),
            tx_calls: positive(row.tx_calls),
            connections: positive(row.connections),
            connect_failures: positive(row.connect_failures),
            retransmits: positive(row.retransmits),
            unknown_direction_bytes: 0,
        },
    }
}

/// Returns the name of a process as the kernel has it: at most 15 bytes, followed by zeros.
pub(super) fn kernel_command(name: Option<&str>) -> [u8; 16] {
    let mut command = [0; 16];
    let name = name.unwrap_or_default().as_bytes();
    let length = name.len().min(command.len() - 1);
    command[..length].copy_from_slice(&name[..length]);
    command
}

pub(super) fn positive(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}
