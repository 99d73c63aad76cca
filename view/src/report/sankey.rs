//! The diagram of who talks to whom: clients at the left, servers at the right, and bands between them whose
//! thickness is proportional to their bytes.

use std::collections::{BTreeMap, HashMap};

use traffictrace_crd::{flow::Direction, human};

use super::format;
use crate::{
    Snapshot, names,
    rows::{Choice, Owner, Row, Sums, View, rows},
    snapshot::Flow,
};

/// Maximum number of ends on each side, not counting the end of all others.
const ENDS: usize = 8;
/// Height in pixels of all bytes together, minimum height of an end (for its two lines of text), and the gap between
/// two ends.
const BYTES: f64 = 230.0;
const PLACE: f64 = 36.0;
const GAP: f64 = 8.0;
/// Width of the drawing in units of its `viewBox`, before it is stretched to the page.
const WIDTH: f64 = 1000.0;
/// Maximum length of a label in characters, on a wide and on a narrow screen.
const LABEL: usize = 42;
const SHORT: usize = 19;

/// The drawing. Heights are in pixels from the top.
pub(super) struct Sankey {
    pub(super) height: f64,
    pub(super) bands: Vec<Band>,
    pub(super) clients: Vec<End>,
    pub(super) servers: Vec<End>,
    /// Sums of connections with both ends traced, which are drawn only once; `None` if there are none.
    pub(super) other_ends: Option<String>,
    /// Sums of flows that are not listed; `None` if there are none.
    pub(super) unlisted: Option<String>,
}

/// An end of connections: a traced process, or a peer.
pub(super) struct End {
    pub(super) y: f64,
    pub(super) height: f64,
    pub(super) label_y: f64,
    pub(super) name: String,
    pub(super) short: String,
    pub(super) detail: String,
    pub(super) short_detail: String,
    pub(super) is_traced: bool,
}

/// The bytes between two ends.
pub(super) struct Band {
    pub(super) path: String,
    /// Number of the band's colour; [`ENDS`] for bands of the end that stands for all others.
    pub(super) color: usize,
    pub(super) bytes: u64,
    pub(super) title: String,
}

/// The name of an end, and the second line below it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Name {
    name: String,
    detail: String,
    is_traced: bool,
}

/// Bytes from the client to the server, and from the server to the client.
#[derive(Clone, Copy, Default)]
struct Bytes {
    there: u64,
    back: u64,
}

impl Bytes {
    fn sum(self) -> u64 {
        self.there.saturating_add(self.back)
    }

    fn add(&mut self, other: Self) {
        self.there = self.there.saturating_add(other.there);
        self.back = self.back.saturating_add(other.back);
    }
}

impl Sankey {
    /// Draws a snapshot; `None` if it lists no bytes.
    pub(super) fn new(snapshot: &Snapshot) -> Option<Self> {
        let shown = rows(snapshot, &Choice { view: View::Connection, ..Choice::default() });
        let mut links: BTreeMap<(Name, Name), Bytes> = BTreeMap::new();
        for row in &shown.rows {
            let flow = snapshot.flows.get(*row.flows.first()?)?;
            let (client, server, bytes) = ends(row, flow);
            if bytes.sum() > 0 {
                links.entry((client, server)).or_default().add(bytes);
            }
        }
        let clients = ranked(links.iter().map(|((client, _), bytes)| (client, *bytes)));
        let servers = ranked(links.iter().map(|((_, server), bytes)| (server, *bytes)));
        // Links between the shown ends. The last end of each side stands for all others.
        let mut between: BTreeMap<(usize, usize), Bytes> = BTreeMap::new();
        for ((client, server), bytes) in &links {
            let place =
                |ranks: &HashMap<&Name, usize>, name| ranks.get(name).copied().unwrap_or(ENDS).min(ENDS);
            between.entry((place(&clients, client), place(&servers, server))).or_default().add(*bytes);
        }
        let all = between.values().map(|bytes| bytes.sum() as f64).sum::<f64>();
        if all <= 0.0 {
            return None;
        }
        let scale = BYTES / all;
        let (clients, clients_height) = placed(&clients, "clients", &between, |ends| ends.0, scale);
        let (servers, servers_height) = placed(&servers, "servers", &between, |ends| ends.1, scale);
        let height = clients_height.max(servers_height);
        let center = |mut ends: BTreeMap<usize, End>, own: f64| {
            let shift = (height - own) / 2.0;
            ends.values_mut().for_each(|end| {
                end.y += shift;
                end.label_y += shift;
            });
            ends
        };
        let (clients, servers) = (center(clients, clients_height), center(servers, servers_height));
        let bands = bands(&between, &clients, &servers, scale);
        let told = |sums: Sums| (sums.bytes() > 0).then(|| human::bytes(sums.bytes()));
        Some(Self {
            height: height.ceil(),
            bands,
            clients: clients.into_values().collect(),
            servers: servers.into_values().collect(),
            other_ends: told(shown.other_ends),
            unlisted: told(shown.unlisted),
        })
    }
}

/// Returns the client, the server and the bytes of a row.
fn ends(row: &Row, flow: &Flow) -> (Name, Name, Bytes) {
    let own = |owner: &Owner| Name {
        name: names::process(owner),
        detail: names::place(owner).unwrap_or_default(),
        is_traced: true,
    };
    let is_server = flow.direction == Direction::Inbound;
    let other = match &row.other_end {
        Some(other) => own(other),
        None => peer(flow, is_server),
    };
    let (rx, tx) = (row.sums.rx_bytes, row.sums.tx_bytes);
    if is_server {
        (other, own(&row.owner), Bytes { there: rx, back: tx })
    } else {
        (own(&row.owner), other, Bytes { there: tx, back: rx })
    }
}

/// Names the peer of a flow. The port is shown for servers only, since it tells which service they offer; a client's
/// port says nothing.
fn peer(flow: &Flow, is_client: bool) -> Name {
    let address = flow.remote_address.map(|address| address.to_string());
    let name = names::shown(flow.peer.as_deref().or(address.as_deref()));
    let port = flow.remote_port.filter(|_| !is_client).map(|port| format!("port {port}"));
    let address = address.filter(|_| flow.peer.is_some());
    let detail = [address, port].into_iter().flatten().collect::<Vec<_>>().join(" · ");
    Name {
        name: if name == names::NONE { "(unknown peer)".to_owned() } else { name },
        detail,
        is_traced: false,
    }
}

/// Returns the ranks of the ends of one side; the end with the most bytes has rank 0.
fn ranked<'a>(ends: impl Iterator<Item = (&'a Name, Bytes)>) -> HashMap<&'a Name, usize> {
    let mut sums: BTreeMap<&Name, u64> = BTreeMap::new();
    for (name, bytes) in ends {
        let sum = sums.entry(name).or_default();
        *sum = sum.saturating_add(bytes.sum());
    }
    let mut ranked: Vec<_> = sums.into_iter().collect();
    ranked.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
    ranked.into_iter().enumerate().map(|(rank, (name, _))| (name, rank)).collect()
}

/// Returns the positions of one side's ends, and the height of the side.
fn placed(
    ranks: &HashMap<&Name, usize>,
    what: &str,
    between: &BTreeMap<(usize, usize), Bytes>,
    side: fn(&(usize, usize)) -> usize,
    scale: f64,
) -> (BTreeMap<usize, End>, f64) {
    let mut sums: BTreeMap<usize, Bytes> = BTreeMap::new();
    for (ends, bytes) in between {
        sums.entry(side(ends)).or_default().add(*bytes);
    }
    let by_rank: HashMap<usize, &Name> = ranks.iter().map(|(name, rank)| (*rank, *name)).collect();
    let (mut y, mut ends) = (0.0, BTreeMap::new());
    for (rank, bytes) in sums {
        let height = (bytes.sum() as f64 * scale).max(2.0);
        let place = height.max(PLACE);
        let count = ranks.len().saturating_sub(ENDS);
        let name = by_rank.get(&rank).filter(|_| rank < ENDS || count == 1);
        let others = Name { name: format!("{count} other {what}"), detail: String::new(), is_traced: false };
        let name = name.map_or(&others, |name| *name);
        let size = human::bytes(bytes.sum());
        let detail = if name.detail.is_empty() { size.clone() } else { format!("{size} · {}", name.detail) };
        let top = y + (place - height) / 2.0;
        ends.insert(
            rank,
            End {
                y: top,
                height,
                label_y: y + place / 2.0,
                name: format::short(&name.name, LABEL),
                short: format::short(&name.name, SHORT),
                detail: format::short(&detail, LABEL),
                short_detail: format::short(&size, SHORT),
                is_traced: name.is_traced,
            },
        );
        y += place + GAP;
    }
    (ends, (y - GAP).max(0.0))
}

/// Returns the bands, each from its position on the client's side to its position on the server's side.
fn bands(
    between: &BTreeMap<(usize, usize), Bytes>,
    clients: &BTreeMap<usize, End>,
    servers: &BTreeMap<usize, End>,
    scale: f64,
) -> Vec<Band> {
    let mut used_left: HashMap<usize, f64> = HashMap::new();
    let mut used_right: HashMap<usize, f64> = HashMap::new();
    let mut bands = Vec::new();
    for ((client, server), bytes) in between {
        let (Some(left), Some(right)) = (clients.get(client), servers.get(server)) else { continue };
        let thick = bytes.sum() as f64 * scale;
        let from = used_left.entry(*client).or_insert(left.y);
        let to = used_right.entry(*server).or_insert(right.y);
        // A band is drawn at least one pixel thick, to be visible, but takes up only its real thickness.
        let (a, b, shown) = (*from, *to, thick.max(1.0));
        *from += thick;
        *to += thick;
        let middle = WIDTH / 2.0;
        let path = format!(
            "M0 {a:.1}C{middle} {a:.1} {middle} {b:.1} {WIDTH} {b:.1}V{:.1}C{middle} {:.1} {middle} {:.1} 0 {:.1}Z",
            b + shown,
            b + shown,
            a + shown,
            a + shown
        );
        let title = format!(
            "{} → {}: {}\nsent by the client {}, by the server {}",
            left.name,
            right.name,
            human::bytes(bytes.sum()),
            human::bytes(bytes.there),
            human::bytes(bytes.back)
        );
        bands.push(Band { path, color: (*client).min(ENDS), bytes: bytes.sum(), title });
    }
    bands
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{flow, snapshot};

    #[test]
    fn the_one_who_opened_a_connection_is_at_the_left() {
        let mut snapshot = snapshot();
        snapshot.flows[1].direction = Direction::Inbound;
        snapshot.flows[1].peer = Some("pod shop/gateway".to_owned());
        let sankey = Sankey::new(&snapshot).unwrap();
        let names = |ends: &[End]| ends.iter().map(|end| end.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&sankey.clients), ["nginx", "pod shop/gateway", "curl", "(unattributed)"]);
        assert_eq!(names(&sankey.servers), ["10.1.1.156", "php-fpm", "10.1.0.33", "10.1.0.5"]);
        assert_eq!(sankey.bands.len(), 4);
        assert!(sankey.bands[0].title.contains("sent by the client 40.2 KiB, by the server 402 KiB"));
        assert_eq!(sankey.unlisted.as_deref(), Some("500 B"));
    }

    #[test]
    fn many_ends_are_one_and_everything_is_inside_the_drawing() {
        let flows: Vec<_> = (1..500).map(|pid| flow(&format!("worker-{pid}"), pid)).collect();
        let sankey = Sankey::new(&Snapshot { flows, ..Snapshot::default() }).unwrap();
        assert_eq!((sankey.clients.len(), sankey.servers.len()), (ENDS + 1, ENDS + 1));
        assert_eq!(sankey.clients[ENDS].name, "491 other clients");
        for end in sankey.clients.iter().chain(&sankey.servers) {
            assert!(end.y >= 0.0 && end.y + end.height <= sankey.height, "{} {}", end.y, sankey.height);
        }
    }

    #[test]
    fn nothing_is_drawn_of_nothing() {
        assert!(Sankey::new(&Snapshot::default()).is_none());
        let mut silent = flow("nginx", 0);
        (silent.rx_bytes, silent.tx_bytes) = (0, 0);
        assert!(Sankey::new(&Snapshot { flows: vec![silent], ..Snapshot::default() }).is_none());
        let mut loud = flow("nginx", 1);
        (loud.rx_bytes, loud.tx_bytes) = (u64::MAX, u64::MAX);
        assert!(Sankey::new(&Snapshot { flows: vec![loud; 3], ..Snapshot::default() }).is_some());
    }
}
