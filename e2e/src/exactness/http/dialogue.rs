//! The script of a connection: the bytes that each end sends, and the exchanges that they form.

use std::collections::BTreeMap;

use super::known::Known;

/// Host of the requests, unless a request names another one.
pub(super) const HOST: &str = "odd.example";

/// An end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Client,
    Server,
}

/// One step of a script.
#[derive(Clone, Debug)]
pub(super) enum Turn {
    /// An end sends bytes, in writes of at most `piece` bytes; the other end reads all of them.
    Say { by: End, bytes: Vec<u8>, piece: usize },
    /// An end sends its FIN and goes on reading.
    Shut(End),
    /// An end closes the connection with a RST.
    Reset(End),
}

/// A script with the exchanges that a trace of either end must show.
#[derive(Clone, Debug)]
pub(super) struct Dialogue {
    pub(super) name: &'static str,
    pub(super) turns: Vec<Turn>,
    pub(super) exchanges: Vec<Known>,
    /// Number of exchanges that neither side can observe, by the product's name for the reason.
    pub(super) unobserved: BTreeMap<String, u64>,
    /// Index of the oldest exchange without an answer.
    answered: usize,
}

impl Dialogue {
    pub(super) fn new(name: &'static str) -> Self {
        let (turns, exchanges, unobserved) = (Vec::new(), Vec::new(), BTreeMap::new());
        Self { name, turns, exchanges, unobserved, answered: 0 }
    }

    /// Adds a request of the client; `line` is its method and path.
    pub(super) fn ask(&mut self, line: &str, bytes: impl AsRef<[u8]>) -> &mut Self {
        let (method, path) = line.split_once(' ').unwrap_or((line, ""));
        let bytes = bytes.as_ref();
        self.exchanges.push(Known::asked(method, HOST, path, bytes.len() as u64));
        self.say(End::Client, bytes)
    }

    /// Adds more bytes of the client's last request.
    pub(super) fn ask_on(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let bytes = bytes.as_ref();
        if let Some(Known { request_bytes: Some(count), .. }) = self.exchanges.last_mut() {
            *count += bytes.len() as u64;
        }
        self.say(End::Client, bytes)
    }

    /// Adds bytes of the server that count for its next answer, such as a 1xx response.
    pub(super) fn interim(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let at = self.answered;
        self.add_answer(at, bytes.as_ref())
    }

    /// Adds the server's answer to the oldest open request.
    pub(super) fn answer(&mut self, status: u16, bytes: impl AsRef<[u8]>) -> &mut Self {
        let at = self.answered;
        self.exchanges[at].answer(status);
        self.answered += 1;
        self.add_answer(at, bytes.as_ref())
    }

    /// Adds more bytes of the server's last answer.
    pub(super) fn answer_on(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let at = self.answered - 1;
        self.add_answer(at, bytes.as_ref())
    }

    fn add_answer(&mut self, at: usize, bytes: &[u8]) -> &mut Self {
        if let Some(count) = &mut self.exchanges[at].response_bytes {
            *count += bytes.len() as u64;
        }
        self.say(End::Server, bytes)
    }

    /// Makes an end send bytes that belong to no exchange, or to one that the script adds by [`Dialogue::know`].
    pub(super) fn say(&mut self, by: End, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.turns.push(Turn::Say { by, bytes: bytes.as_ref().to_vec(), piece: usize::MAX });
        self
    }

    /// Adds an exchange whose bytes [`Dialogue::say`] adds.
    pub(super) fn know(&mut self, known: Known) -> &mut Self {
        self.exchanges.push(known);
        self.answered = self.exchanges.len();
        self
    }

    /// Splits the bytes of the last turn into writes of at most `of` bytes.
    pub(super) fn in_pieces(&mut self, of: usize) -> &mut Self {
        if let Some(Turn::Say { piece, .. }) = self.turns.last_mut() {
            *piece = of;
        }
        self
    }

    /// Joins the last `count` turns, all of one end, into one write.
    pub(super) fn in_one_write(&mut self, count: usize) -> &mut Self {
        let mut all = Vec::new();
        let mut sender = End::Client;
        for turn in self.turns.drain(self.turns.len() - count..) {
            if let Turn::Say { by, bytes, .. } = turn {
                sender = by;
                all.extend(bytes);
            }
        }
        self.say(sender, all)
    }

    pub(super) fn shut(&mut self, end: End) -> &mut Self {
        self.turns.push(Turn::Shut(end));
        self
    }

    pub(super) fn reset(&mut self, end: End) -> &mut Self {
        self.turns.push(Turn::Reset(end));
        self
    }

    /// Changes the expectation of the last exchange.
    pub(super) fn but(&mut self, change: impl FnOnce(&mut Known)) -> &mut Self {
        if let Some(known) = self.exchanges.last_mut() {
            change(known);
        }
        self
    }

    /// Marks the last request as one that cannot be observed, with the product's name for the reason.
    pub(super) fn unobserved(&mut self, reason: &str) -> &mut Self {
        self.exchanges.pop();
        self.answered = self.answered.min(self.exchanges.len());
        *self.unobserved.entry(reason.to_owned()).or_default() += 1;
        self
    }
}

/// Formats a request without a body.
pub(super) fn request(line: &str) -> String {
    format!("{line} HTTP/1.1\r\nHost: {HOST}\r\n\r\n")
}

/// Formats a response with a body of `length` bytes.
pub(super) fn response(status: u16, length: usize) -> String {
    format!("HTTP/1.1 {status} Words\r\nContent-Length: {length}\r\n\r\n{}", "x".repeat(length))
}
