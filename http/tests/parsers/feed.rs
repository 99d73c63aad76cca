//! Passes bytes to this crate's parser, and collects its reports.

use traffictrace_http::{Beginning, Connection, Exchange, Piece, Reason, Side, Sink, Start, Way};

/// The reports of a connection.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) exchanges: Vec<Exchange>,
    /// Number of exchanges that were not observed.
    pub(crate) unobserved: u64,
}

impl Sink for Told {
    fn exchange(&mut self, exchange: Exchange) {
        self.exchanges.push(exchange);
    }

    fn unobserved(&mut self, _side: Side, _reason: Reason, count: u64) {
        self.unobserved += count;
    }
}

/// Passes bytes to a new connection in the given order, and then ends both directions. The traced socket is the
/// server's.
pub(crate) fn feed<'a>(passed: impl IntoIterator<Item = (Way, &'a [u8])>) -> Told {
    let mut told = Told::default();
    let mut connection = Connection::begin(Beginning { start: Start::Whole, first: [Some(0); 2] });
    let (mut sequence, mut time) = ([0_u32; 2], 0);
    for (way, bytes) in passed {
        time += 1;
        let length = u32::try_from(bytes.len()).expect("pieces are short");
        let at = sequence[way.index()];
        let piece = Piece { way, time, sequence: at, length, bytes, starts: false, lost_before: false };
        connection.piece(&piece, &mut told);
        sequence[way.index()] += length;
    }
    for way in Way::BOTH {
        connection.fin(way, sequence[way.index()], time + 1, &mut told);
    }
    connection.close(time + 2, false, &mut told);
    told
}
