//! Printing in the background, so that a slow reader of the output does not stop the reading of the kernel's records.
//! While a page is being printed, requests wait in the engine, which counts those that it cannot keep.

use std::{
    env,
    io::{self, BufWriter, IsTerminal as _, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use jiff::tz::TimeZone;
use tokio::task::{JoinHandle, spawn_blocking};

use super::{
    args::{HttpArgs, Output},
    clock::Clock,
    json,
    names::Containers,
    summary::Summary,
    tally::Tally,
    text::Lines,
};
use crate::engine::HttpExchange;

/// Size in bytes of the buffer for output.
const BUFFER: usize = 256 << 10;
/// Maximum number of bytes in one write to the output: that of a page of a pipe. A larger write into a full pipe returns
/// only when all of it has been read, and [`Printer::taken`] would stand still while a slow reader still reads.
const PIECE: usize = 4 << 10;

/// A unit of output, printed as a whole.
#[derive(Debug)]
pub(super) enum Page {
    /// The names of the columns; empty with JSON or `--summary`.
    Heading,
    /// Requests, of which those that pass the filters are printed, and the names of their containers.
    Requests(Vec<HttpExchange>, Containers),
    /// The summary of an interval.
    Summary(Box<Summary>, Box<Tally>),
    /// The end: with `--summary`, the endpoints' counts since the session began; with JSON, the last line.
    Ending(Option<Box<Summary>>, Box<Tally>),
    /// Sentences about the whole session, which go to standard error.
    Sentences(Vec<String>),
}

/// Prints one page at a time in the background.
#[derive(Debug)]
pub(super) struct Printer {
    /// The writer; `None` while a task has it and prints a page.
    writer: Option<Writer>,
    /// The task that prints a page, which returns the writer.
    running: Option<JoinHandle<(Writer, io::Result<()>)>>,
    /// Number of bytes that were written to the output so far.
    taken: Arc<AtomicU64>,
}

impl Printer {
    /// Creates a printer. If `has_containers`, text has the column CONTAINER.
    pub(super) fn new(args: &Arc<HttpArgs>, has_containers: bool) -> Self {
        Self { writer: Some(Writer::new(args, has_containers)), running: None, taken: Arc::default() }
    }

    /// Returns the number of bytes that were written to the output so far. During a page, the number grows as long as
    /// the reader of the output reads.
    pub(super) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Returns true while a page is being printed.
    pub(super) fn is_busy(&self) -> bool {
        self.running.as_ref().is_some_and(|running| !running.is_finished())
    }

    /// Begins to print a page. The caller waits for the previous one with [`Self::finish`] before; otherwise the page
    /// is dropped.
    pub(super) fn start(&mut self, page: Page) {
        if let Some(mut writer) = self.writer.take() {
            let taken = Arc::clone(&self.taken);
            self.running = Some(spawn_blocking(move || {
                let result = writer.print(&page, &mut Counted { out: io::stdout().lock(), taken });
                (writer, result)
            }));
        }
    }

    /// Waits until the current page is printed. Returns false if the reader of the output has closed it.
    pub(super) async fn finish(&mut self) -> io::Result<bool> {
        let Some(running) = &mut self.running else { return Ok(true) };
        let (writer, result) = running.await.map_err(io::Error::other)?;
        self.running = None;
        self.writer = Some(writer);
        match result {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            other => other.map(|()| true),
        }
    }
}

/// An output that counts the bytes written to it, at most [`PIECE`] at once.
#[derive(Debug)]
struct Counted<W> {
    out: W,
    taken: Arc<AtomicU64>,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.out.write(bytes.get(..PIECE).unwrap_or(bytes))?;
        self.taken.fetch_add(taken as u64, Ordering::Relaxed);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Formats and writes pages.
#[derive(Debug)]
struct Writer {
    args: Arc<HttpArgs>,
    clock: Clock,
    lines: Lines,
    zone: TimeZone,
}

impl Writer {
    fn new(args: &Arc<HttpArgs>, has_containers: bool) -> Self {
        // Colours are off if NO_COLOR is set and not empty (https://no-color.org).
        let no_color = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let zone = TimeZone::system();
        Self {
            args: Arc::clone(args),
            clock: Clock::new(),
            lines: Lines::new(io::stdout().is_terminal() && !no_color, has_containers, zone.clone()),
            zone,
        }
    }

    fn print(&mut self, page: &Page, out: &mut impl Write) -> io::Result<()> {
        let mut out = BufWriter::with_capacity(BUFFER, out);
        self.clock.follow();
        match (page, self.args.output) {
            (Page::Heading, Output::Text) if !self.args.summary => self.lines.heading(&mut out)?,
            (Page::Requests(requests, containers), output) => {
                for request in requests {
                    if !self.args.selection.takes(&request.exchange) {
                        continue;
                    }
                    match output {
                        Output::Text => self.lines.request(request, containers, &self.clock, &mut out)?,
                        Output::Json => json::request(request, containers, &self.clock, &mut out)?,
                    }
                }
            }
            (Page::Summary(summary, tally), Output::Text) => {
                out.write_all(summary.text(tally, &self.zone).as_bytes())?;
            }
            (Page::Summary(summary, tally), Output::Json) => json::summary(summary, tally, &mut out)?,
            (Page::Ending(Some(whole), _), Output::Text) => out.write_all(whole.whole_text().as_bytes())?,
            (Page::Ending(whole, tally), Output::Json) => json::ending(whole.as_deref(), tally, &mut out)?,
            (Page::Sentences(sentences), _) => {
                // A failure to write to standard error has nowhere to be reported.
                let _ = sentences.iter().try_for_each(|sentence| writeln!(io::stderr(), "{sentence}"));
            }
            (Page::Heading | Page::Ending(None, _), _) => {}
        }
        out.flush()
    }
}
