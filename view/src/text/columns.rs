//! The columns of a table.

use crate::{
    names,
    rows::{Row, Sums, View},
    units::{self, Units},
};

/// A column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Process,
    Pid,
    Pod,
    Container,
    Namespace,
    Node,
    Processes,
    Protocol,
    Direction,
    Local,
    Peer,
    State,
    Connections,
    Open,
    Failed,
    RxRate,
    TxRate,
    Rx,
    Tx,
    Retransmits,
    Rtt,
}

use Column::{
    Connections, Container, Direction, Failed, Local, Namespace, Node, Open, Peer, Pid, Pod, Process,
    Processes, Protocol, Retransmits, Rtt, Rx, RxRate, State, Tx, TxRate,
};

/// The numbers that every view has.
const NUMBERS: [Column; 5] = [Open, RxRate, TxRate, Rx, Tx];
/// The numbers of a wide table.
const MORE_NUMBERS: [Column; 9] = [Connections, Open, Failed, RxRate, TxRate, Rx, Tx, Retransmits, Rtt];

impl Column {
    /// Columns that a narrow table goes without, the least important first. A view's first column always stays.
    pub(super) const SPARE: &'static [Self] = &[
        Rtt,
        Failed,
        Connections,
        Retransmits,
        State,
        Namespace,
        Container,
        Node,
        Local,
        Processes,
        Direction,
        Protocol,
        Pod,
        Open,
        Pid,
        Rx,
        Tx,
        Peer,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Process => "PROCESS",
            Pid => "PID",
            Pod => "POD",
            Container => "CONTAINER",
            Namespace => "NAMESPACE",
            Node => "NODE",
            Processes => "PROCESSES",
            Protocol => "PROTO",
            Direction => "DIR",
            Local => "LOCAL",
            Peer => "PEER",
            State => "STATE",
            Connections => "CONNS",
            Open => "OPEN",
            Failed => "FAILED",
            RxRate => "RECV/s",
            TxRate => "SENT/s",
            Rx => "RECV",
            Tx => "SENT",
            Retransmits => "RETX",
            Rtt => "RTT",
        }
    }

    /// Whether its cells are texts, aligned at the left.
    pub(super) fn is_text(self) -> bool {
        matches!(
            self,
            Process | Pod | Container | Namespace | Node | Protocol | Direction | Local | Peer | State
        )
    }

    /// The cell of a row, but for sums.
    pub(super) fn text(self, row: &Row) -> Option<String> {
        let owner = &row.owner;
        Some(match self {
            // One row with both ends: the process that opened the connection, and the one that was asked.
            Process => match &row.other_end {
                Some(other) => format!("{} → {}", names::process_of(row), names::process(other)),
                None => names::process_of(row),
            },
            Pid => owner.pid.map_or_else(|| names::NONE.to_owned(), |pid| pid.to_string()),
            Pod => match row.other_end.as_ref().and_then(|other| other.pod.as_deref()) {
                Some(other) => {
                    format!("{} → {}", names::shown(owner.pod.as_deref()), names::shown(Some(other)))
                }
                None => names::shown(owner.pod.as_deref()),
            },
            Container => names::shown(owner.container.as_deref()),
            Namespace => names::shown(owner.namespace.as_deref()),
            Node => names::shown(owner.node.as_deref()),
            Processes => row.processes.to_string(),
            Protocol => names::protocol(row.protocol).to_owned(),
            Direction => names::direction(row.direction).to_owned(),
            Local => names::shown(row.local.as_deref()),
            Peer => names::shown(row.peer.as_deref()),
            State => names::flow_state(row.state).to_owned(),
            Rtt => row
                .rtt_microseconds
                .map_or_else(|| names::NONE.to_owned(), |microseconds| units::duration(microseconds.into())),
            _ => return None,
        })
    }

    /// The cell of sums; `-` where the column has none.
    pub(super) fn number(self, sums: &Sums, units: Units) -> String {
        match self {
            Connections => sums.connections.to_string(),
            Open => sums.connections_open.to_string(),
            Failed => sums.connect_failures.to_string(),
            RxRate => units.rate(sums.rx_rate),
            TxRate => units.rate(sums.tx_rate),
            Rx => units.amount(sums.rx_bytes),
            Tx => units.amount(sums.tx_bytes),
            Retransmits => sums.retransmits.to_string(),
            _ => names::NONE.to_owned(),
        }
    }
}

/// The columns of a view. Those of pods are left out where no row has any: on one host.
pub(super) fn chosen(view: View, is_wide: bool, rows: &[Row]) -> Vec<Column> {
    let (first, more): (&[Column], &[Column]) = match view {
        View::Process => (&[Process, Pid, Pod], &[Container, Namespace, Node, Peer]),
        View::Pod => (&[Pod, Processes], &[Container, Namespace, Node]),
        View::Peer => (&[Peer, Process], &[Protocol]),
        View::Endpoint => (&[Process, Pid, Pod, Direction, Peer], &[Container, Namespace, Node, Protocol]),
        View::Connection => {
            (&[Process, Pid, Pod, Protocol, Direction, Peer, State], &[Container, Namespace, Node, Local])
        }
    };
    let has = |of: fn(&Row) -> bool| rows.iter().any(of);
    let is_known = |column: Column| match column {
        // On one host a row stands for a container.
        Pod if view == View::Pod => has(|row| row.owner.pod.is_some()),
        Pod => {
            has(|row| row.owner.pod.is_some() || row.other_end.as_ref().is_some_and(|end| end.pod.is_some()))
        }
        Container => has(|row| row.owner.container.is_some()),
        Namespace => has(|row| row.owner.namespace.is_some()),
        Node => has(|row| row.owner.node.is_some()),
        _ => true,
    };
    let mut columns: Vec<Column> = first.iter().copied().filter(|column| is_known(*column)).collect();
    if view == View::Pod && columns.first() != Some(&Pod) {
        columns.insert(0, Container);
    }
    if is_wide {
        let is_new = |column: &Column| is_known(*column) && columns.first() != Some(column);
        let more: Vec<Column> = more.iter().copied().filter(is_new).collect();
        columns.extend(more);
        columns.extend(MORE_NUMBERS);
    } else {
        columns.extend(NUMBERS);
    }
    columns
}
