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
    /// The pod or, for a row without a pod, the container.
    Pod,
    /// The same column with another heading, on a host without pods.
    Place,
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
    Connections, Container, Direction, Failed, Local, Namespace, Node, Open, Peer, Pid, Place, Pod, Process,
    Processes, Protocol, Retransmits, Rtt, Rx, RxRate, State, Tx, TxRate,
};

/// Columns of numbers that every view has.
const NUMBERS: [Column; 5] = [Open, RxRate, TxRate, Rx, Tx];
/// Columns of numbers of a wide table.
const MORE_NUMBERS: [Column; 9] = [Connections, Open, Failed, RxRate, TxRate, Rx, Tx, Retransmits, Rtt];

impl Column {
    /// Columns that a narrow table leaves out, the least important first. The first column of a view always stays.
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
        Place,
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
            Container | Place => "CONTAINER",
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

    /// Returns true if the column's cells are texts, which are aligned at the left.
    pub(super) fn is_text(self) -> bool {
        matches!(
            self,
            Process
                | Pod
                | Place
                | Container
                | Namespace
                | Node
                | Protocol
                | Direction
                | Local
                | Peer
                | State
        )
    }

    /// Returns the cell of a row; `None` if the column shows sums.
    pub(super) fn text(self, row: &Row) -> Option<String> {
        let owner = &row.owner;
        Some(match self {
            // If the row has both ends: the process that opened the connection, then the one that accepted it.
            Process => match &row.other_end {
                Some(other) => format!("{} → {}", names::process_of(row), names::process(other)),
                None => names::process_of(row),
            },
            Pid => owner.pid.map_or_else(|| names::NONE.to_owned(), |pid| pid.to_string()),
            Pod | Place => match (names::place(owner), row.other_end.as_ref().and_then(names::place)) {
                (place, Some(other)) => format!("{} → {other}", place.as_deref().unwrap_or(names::NONE)),
                (place, None) => place.unwrap_or_else(|| names::NONE.to_owned()),
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

    /// Returns the cell of sums; `-` if the column shows none.
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

/// Returns the columns of a view. The columns about pods are left out if no row has a pod, as on one host.
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
    let ends = || rows.iter().flat_map(|row| std::iter::once(&row.owner).chain(&row.other_end));
    let (has_pods, has_containers) =
        (ends().any(|owner| owner.pod.is_some()), ends().any(|owner| owner.container.is_some()));
    let is_known = |column: Column| match column {
        Pod => has_pods || has_containers,
        Container => has_containers,
        Namespace => ends().any(|owner| owner.namespace.is_some()),
        Node => ends().any(|owner| owner.node.is_some()),
        _ => true,
    };
    // On one host, a row stands for a container. With some pods, rows without a pod are containers.
    let of_host = |column: Column| if column == Pod && !has_pods { Place } else { column };
    let mut columns: Vec<Column> =
        first.iter().copied().filter(|column| is_known(*column)).map(of_host).collect();
    if view == View::Pod && !is_known(Pod) {
        columns.insert(0, Place);
    }
    if is_wide {
        let is_new =
            |column: &Column| is_known(*column) && !(*column == Container && columns.contains(&Place));
        let more: Vec<Column> = more.iter().copied().filter(is_new).collect();
        columns.extend(more);
        columns.extend(MORE_NUMBERS);
    } else {
        columns.extend(NUMBERS);
    }
    columns
}
