//! The protocol of the workload, and the only place that moves and counts bytes.
//!
//! A connection is a sequence of rounds. In each, the client sends a header of 16 bytes with the number of bytes that
//! it will send and the number that it wants back (two big-endian 64-bit numbers), and then its bytes; the server reads
//! all of them and answers. A connection that is closed between two rounds has ended properly. The header is counted
//! like all other bytes.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::TcpStream,
    sync::Arc,
};

use super::{
    count::{Count, Ledger},
    stop::{CALL_TIMEOUT, Stop},
};

const HEADER_BYTES: usize = 16;
const BUFFER_BYTES: usize = 64 << 10;

/// One request and its answer, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Round {
    pub(super) send: u64,
    pub(super) want: u64,
}

impl Round {
    /// Number of bytes that the round moves, both directions together.
    pub(super) fn total(self) -> u64 {
        (HEADER_BYTES as u64).saturating_add(self.send).saturating_add(self.want)
    }
}

/// The reason why a connection has ended.
#[derive(Debug)]
pub(super) enum End {
    /// The other end closed the connection between two rounds.
    Closed,
    /// This process was stopped.
    Stopped,
    /// The connection broke, or the other end closed it inside a round.
    Broken(io::Error),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

/// One connection with its counts.
#[derive(Debug)]
pub(super) struct Connection<'a> {
    stream: TcpStream,
    count: Arc<Count>,
    stop: &'a Stop,
    buffer: Vec<u8>,
    sizes: fastrand::Rng,
}

impl<'a> Connection<'a> {
    pub(super) fn new(stream: TcpStream, ledger: &Ledger, stop: &'a Stop) -> io::Result<Self> {
        stream.set_read_timeout(Some(CALL_TIMEOUT))?;
        stream.set_write_timeout(Some(CALL_TIMEOUT))?;
        stream.set_nodelay(true)?;
        let (local, remote) = (stream.local_addr()?, stream.peer_addr()?);
        let seed = u64::from(local.port()) << 16 | u64::from(remote.port());
        Ok(Self {
            count: ledger.open(local, remote),
            stream,
            stop,
            buffer: vec![0x5a; BUFFER_BYTES],
            sizes: fastrand::Rng::with_seed(seed),
        })
    }

    /// Plays the client's side of a round.
    pub(super) fn ask(&mut self, round: Round) -> Result<(), End> {
        let mut header = [0; HEADER_BYTES];
        header[..8].copy_from_slice(&round.send.to_be_bytes());
        header[8..].copy_from_slice(&round.want.to_be_bytes());
        self.send_bytes(&header)?;
        self.send(round.send)?;
        self.receive(round.want)
    }

    /// Plays the server's side: answers rounds until the client closes.
    pub(super) fn answer_all(&mut self) -> End {
        loop {
            if let Err(end) = self.answer() {
                return end;
            }
        }
    }

    fn answer(&mut self) -> Result<(), End> {
        let mut header = [0; HEADER_BYTES];
        let mut filled = 0;
        while filled < HEADER_BYTES {
            match self.receive_some(&mut header[filled..])? {
                0 if filled == 0 => return Err(End::Closed),
                0 => return Err(End::Broken(ErrorKind::UnexpectedEof.into())),
                bytes => filled += bytes,
            }
        }
        let (send, want) = header.split_at(8);
        let number = |bytes: &[u8]| bytes.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        self.receive(number(send))?;
        self.send(number(want))
    }

    /// Tells the other end that no round follows, and waits until it has closed too: both ends' counts are complete
    /// then.
    pub(super) fn finish(mut self) -> Result<(), End> {
        self.stream.shutdown(std::net::Shutdown::Write)?;
        let mut rest = [0; 1];
        match self.receive_some(&mut rest)? {
            0 => Ok(()),
            _ => Err(End::Broken(ErrorKind::InvalidData.into())),
        }
    }

    fn send(&mut self, mut bytes: u64) -> Result<(), End> {
        let buffer = std::mem::take(&mut self.buffer);
        let mut outcome = Ok(());
        while bytes > 0 && outcome.is_ok() {
            let size = self.call_size(bytes);
            outcome = self.send_bytes(&buffer[..size]);
            bytes -= size as u64;
        }
        self.buffer = buffer;
        outcome
    }

    fn receive(&mut self, mut bytes: u64) -> Result<(), End> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut outcome = Ok(());
        while bytes > 0 {
            let size = self.call_size(bytes);
            match self.receive_some(&mut buffer[..size]) {
                Ok(0) => outcome = Err(End::Broken(ErrorKind::UnexpectedEof.into())),
                Ok(received) => bytes -= received as u64,
                Err(end) => outcome = Err(end),
            }
            if outcome.is_err() {
                break;
            }
        }
        self.buffer = buffer;
        outcome
    }

    /// Returns the size of the next call. Sizes vary and are often small, so that a transfer takes many calls, and even
    /// a rare error of one byte shows.
    fn call_size(&mut self, remaining: u64) -> usize {
        let most = 1_usize << self.sizes.u32(0..=16);
        usize::try_from(remaining).unwrap_or(usize::MAX).min(most).min(BUFFER_BYTES)
    }

    fn send_bytes(&mut self, mut bytes: &[u8]) -> Result<(), End> {
        while !bytes.is_empty() {
            if self.stop.is_set() {
                return Err(End::Stopped);
            }
            match self.stream.write(bytes) {
                Ok(sent) => {
                    self.count.sent(sent);
                    bytes = &bytes[sent..];
                }
                Err(error) if is_timeout(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn receive_some(&mut self, buffer: &mut [u8]) -> Result<usize, End> {
        loop {
            if self.stop.is_set() {
                return Err(End::Stopped);
            }
            match self.stream.read(buffer) {
                Ok(received) => {
                    self.count.received(received);
                    return Ok(received);
                }
                Err(error) if is_timeout(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
