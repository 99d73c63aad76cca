//! The text output: one line for each request, in columns.

use std::{
    fmt::Write as _,
    io::{self, Write},
    net::SocketAddr,
};

use jiff::tz::TimeZone;
use traffictrace_crd::human;
use traffictrace_http::{
    Status,
    endpoint::{Class, redact},
};

use super::{
    clock::Clock,
    names::{Containers, command, side},
};
use crate::engine::{HttpExchange, HttpOwner};

/// All columns except the last one, which is not padded: name, initial width, and maximum width, in characters. A
/// column grows with its values up to the maximum width; a longer value moves only the rest of its own line.
const COLUMNS: [(&str, usize, usize); 13] = [
    ("TIME", 12, 12),
    ("SIDE", 6, 6),
    ("CONTAINER", 16, 32),
    ("PROCESS", 16, 26),
    ("PEER", 18, 26),
    ("TLS", 3, 3),
    ("METHOD", 6, 8),
    ("STATUS", 11, 11),
    ("FIRST", 8, 8),
    ("TOTAL", 8, 8),
    ("REQUEST", 8, 8),
    ("RESPONSE", 8, 8),
    ("HOST", 18, 32),
];
/// The name of the last column. It has the paths, which are long.
const LAST: &str = "PATH";
/// Indexes of the columns with numbers and units, which are right-aligned.
const NUMBERS: std::ops::RangeInclusive<usize> = 8..=11;
/// Index of the coloured column, STATUS.
const COLOURED: usize = 7;
/// Index of the column CONTAINER, which is left out if the target is a cgroup or a process.
const CONTAINER: usize = 2;
/// The text for a value that is unknown or absent.
const NONE: &str = "-";

/// Formats and writes the heading and the lines of requests.
#[derive(Debug)]
pub(super) struct Lines {
    /// The current width of each column.
    widths: [usize; COLUMNS.len()],
    colours: bool,
    has_containers: bool,
    zone: TimeZone,
    /// Buffer for the line that is being written.
    line: String,
}

impl Lines {
    pub(super) fn new(colours: bool, has_containers: bool, zone: TimeZone) -> Self {
        let widths = COLUMNS.map(|(_, width, _)| width);
        Self { widths, colours, has_containers, zone, line: String::new() }
    }

    /// Writes the names of the columns.
    pub(super) fn heading(&mut self, out: &mut impl Write) -> io::Result<()> {
        let names = COLUMNS.map(|(name, ..)| name.to_owned());
        self.write(&names, LAST, None, out)
    }

    /// Writes the line of a request.
    pub(super) fn request(
        &mut self,
        request: &HttpExchange,
        containers: &Containers,
        clock: &Clock,
        out: &mut impl Write,
    ) -> io::Result<()> {
        let exchange = &request.exchange;
        let time = clock.time_of(exchange.began).to_zoned(self.zone.clone());
        let cells = [
            time.strftime("%H:%M:%S%.3f").to_string(),
            side(exchange.side).to_owned(),
            container(&request.owner, containers),
            process(request),
            SocketAddr::from(request.remote).to_string(),
            if request.tls { "TLS" } else { NONE }.to_owned(),
            known(&exchange.method),
            status(exchange.status, exchange.grpc_status),
            exchange.first_byte.map_or_else(|| NONE.to_owned(), |first| nanoseconds(first, exchange.began)),
            nanoseconds(exchange.ended, exchange.began),
            human::bytes(exchange.request_bytes),
            human::bytes(exchange.response_bytes),
            known(&exchange.host),
        ];
        let colour = colour(exchange.status, exchange.grpc_status);
        self.write(&cells, &known(&redact(&exchange.path)), Some(colour), out)
    }

    fn write(
        &mut self,
        cells: &[String; COLUMNS.len()],
        last: &str,
        colour: Option<&str>,
        out: &mut impl Write,
    ) -> io::Result<()> {
        self.line.clear();
        for (at, cell) in cells.iter().enumerate().filter(|(at, _)| self.has_containers || *at != CONTAINER) {
            let length = cell.chars().count();
            let width = self.widths[at].max(length.min(COLUMNS[at].2));
            self.widths[at] = width;
            let padding = width.saturating_sub(length);
            let colour = colour.filter(|_| self.colours && at == COLOURED);
            let (before, after) = if NUMBERS.contains(&at) { (padding, 0) } else { (0, padding) };
            let (begin, end) = colour.map_or(("", ""), |colour| (colour, "\x1b[0m"));
            // Writing to a string cannot fail.
            let _ = write!(self.line, "{:before$}{begin}{cell}{end}{:after$}  ", "", "");
        }
        self.line.push_str(last);
        self.line.push('\n');
        out.write_all(self.line.as_bytes())
    }
}

/// Formats the names of the container or service of an owner; `-` if there are none.
pub(super) fn container(owner: &HttpOwner, containers: &Containers) -> String {
    containers.get(&owner.cgroup).map_or_else(|| NONE.to_owned(), ToString::to_string)
}

/// Formats the name and the id of the process: `nginx(4711)`.
fn process(request: &HttpExchange) -> String {
    if request.pid == 0 {
        return NONE.to_owned();
    }
    format!("{}({})", command(&request.owner).unwrap_or_default(), request.pid)
}

/// Returns a text from traffic without control characters, or `-` if it is empty.
fn known(text: &str) -> String {
    if text.is_empty() { NONE.to_owned() } else { human::printable(text).into_owned() }
}

/// Formats an HTTP status. With gRPC, the `grpc-status` follows: `200/14`.
fn status(status: Status, grpc_status: Option<u32>) -> String {
    let http = match status {
        Status::Code(code) => code.to_string(),
        Status::NoResponse => "no response".to_owned(),
        Status::Unknown => "unknown".to_owned(),
    };
    match grpc_status {
        Some(grpc) => format!("{http}/{grpc}"),
        None => http,
    }
}

/// Returns the colour of a status as an escape sequence (SGR of ECMA-48). A failed gRPC call has that of a server
/// error.
fn colour(status: Status, grpc_status: Option<u32>) -> &'static str {
    match Class::of(status) {
        Class::Success if grpc_status.is_some_and(|status| status != 0) => "\x1b[31m",
        Class::Informational | Class::Success => "\x1b[32m",
        Class::Redirection => "\x1b[36m",
        Class::ClientError => "\x1b[33m",
        Class::ServerError | Class::NoResponse => "\x1b[31m",
        Class::Unknown => "\x1b[35m",
    }
}

fn nanoseconds(end: u64, begin: u64) -> String {
    microseconds(end.saturating_sub(begin) / 1000)
}

/// Formats a duration with the most readable unit: `999 µs`, `12.3 ms`, `4.56 s`.
pub(super) fn microseconds(microseconds: u64) -> String {
    match microseconds {
        0..1_000 => format!("{microseconds} µs"),
        1_000..1_000_000 => format!("{:.1} ms", microseconds as f64 / 1e3),
        _ => format!("{:.2} s", microseconds as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests;
