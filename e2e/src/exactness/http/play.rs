//! The player of scripts: one process has both ends of the connection.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use rustix::net::sockopt::set_socket_linger;

use super::{
    dialogue::{Dialogue, End, Turn},
    known::Connection,
};
use crate::exactness::error::{CaseError, Done};

/// Timeout of a call that waits for the other end.
const LIMIT: Duration = Duration::from_secs(30);

/// Both ends of a connection; `None` for an end that has reset it.
pub(super) struct Ends {
    client: Option<TcpStream>,
    server: Option<TcpStream>,
}

impl Ends {
    /// Opens a connection over the loopback interface.
    pub(super) fn connect() -> Done<(Self, Connection)> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let client = TcpStream::connect(listener.local_addr()?)?;
        Self::of(client, listener.accept()?.0)
    }

    /// Wraps two ends, and returns them with their connection, which has no exchanges yet.
    pub(super) fn of(client: TcpStream, server: TcpStream) -> Done<(Self, Connection)> {
        for end in [&client, &server] {
            end.set_nodelay(true)?;
            end.set_read_timeout(Some(LIMIT))?;
            end.set_write_timeout(Some(LIMIT))?;
        }
        let connection = Connection {
            ends: (client.local_addr()?, client.peer_addr()?),
            exchanges: Vec::new(),
            unobserved: std::collections::BTreeMap::new(),
        };
        Ok((Self { client: Some(client), server: Some(server) }, connection))
    }

    fn end(&mut self, end: End) -> &mut Option<TcpStream> {
        match end {
            End::Client => &mut self.client,
            End::Server => &mut self.server,
        }
    }

    /// Sends bytes from one end, in writes of at most `piece` bytes, while the other end reads them.
    pub(super) fn say(&mut self, by: End, bytes: &[u8], piece: usize) -> Done {
        let (Some(client), Some(server)) = (&self.client, &self.server) else {
            return Err(CaseError::unexpected("an end that is closed is to send or to read"));
        };
        let (mut from, mut to) = if by == End::Client { (client, server) } else { (server, client) };
        thread::scope(|scope| {
            let reads = scope.spawn(move || to.read_exact(&mut vec![0; bytes.len()]));
            for part in bytes.chunks(piece) {
                from.write_all(part)?;
            }
            reads.join().map_err(|_| CaseError::unexpected("the reading end panicked"))??;
            Ok(())
        })
    }

    fn play(&mut self, turn: &Turn) -> Done {
        match turn {
            Turn::Say { by, bytes, piece } => self.say(*by, bytes, *piece),
            Turn::Shut(end) => {
                if let Some(stream) = self.end(*end) {
                    stream.shutdown(Shutdown::Write)?;
                }
                // Waits for the FIN, so that later turns follow it.
                let other = if *end == End::Client { End::Server } else { End::Client };
                match self.end(other).as_mut().map(|stream| stream.read(&mut [0])) {
                    Some(Ok(0)) => Ok(()),
                    other => Err(CaseError::unexpected(format!("{other:?} in place of the end"))),
                }
            }
            Turn::Reset(end) => {
                if let Some(stream) = self.end(*end).take() {
                    set_socket_linger(&stream, Some(Duration::ZERO))?;
                }
                Ok(())
            }
        }
    }
}

/// Plays a script over the loopback interface.
pub(super) fn play(dialogue: &Dialogue) -> Done<Connection> {
    let (mut ends, connection) = Ends::connect()?;
    for (number, turn) in dialogue.turns.iter().enumerate() {
        ends.play(turn).map_err(|error| CaseError::unexpected(format!("turn {number}: {error}")))?;
    }
    let Dialogue { exchanges, unobserved, .. } = dialogue.clone();
    Ok(Connection { exchanges, unobserved, ..connection })
}
