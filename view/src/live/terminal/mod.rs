//! The terminal around the screen: it is switched to raw mode, drawn on, and restored however the screen ends.

#[cfg(unix)]
mod decode;
mod guard;
#[cfg_attr(unix, path = "unix.rs")]
#[cfg_attr(not(unix), path = "other.rs")]
mod input;
#[cfg(test)]
mod tests;

use std::{
    io::{self, BufWriter, IsTerminal as _, Stdout, Write, stdin, stdout},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, TryRecvError},
    },
    time::{Duration, Instant},
};

use jiff::Timestamp;
use ratatui::{Terminal, TerminalOptions, Viewport, backend::CrosstermBackend, crossterm, layout::Rect};
use thiserror::Error;

use self::{
    guard::Guard,
    input::{Input, Press},
};
use super::{App, Event, Outcome, Settings};
use crate::Snapshot;

/// Interval at which the source of snapshots is polled.
const PAUSE: Duration = Duration::from_millis(100);
/// Interval of the clock on the screen.
const TICK: Duration = Duration::from_secs(1);
/// Size of the output buffer, in bytes: a frame is written in as few calls as possible.
const BUFFER: usize = 64 * 1024;

/// A message from the source of a screen's numbers.
#[derive(Debug)]
pub enum Update {
    /// New numbers.
    Snapshot(Box<Snapshot>),
    /// No more numbers will come. The sentence gives the reason; it is empty if the trace has simply ended. The screen stays
    /// until the user quits.
    End(String),
}

/// The way in which a screen ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The user quit.
    Quit,
    /// This signal asked the process to end. The caller should end soon.
    Signal(i32),
    /// The terminal is gone. The caller should end soon and write nothing to it.
    TerminalGone,
}

/// An error of the terminal.
#[derive(Debug, Error)]
pub enum LiveError {
    /// Standard input or output is not a terminal.
    #[error("the live screen needs a terminal, and standard {stream} is none; use --no-tui for plain lines")]
    NotATerminal {
        /// `input` or `output`.
        stream: &'static str,
    },
    /// Switching, reading or drawing on the terminal failed.
    #[error("cannot {action} the terminal: {source}")]
    Terminal {
        /// The action that failed, such as `draw on`.
        action: &'static str,
        /// The operating system's error.
        source: io::Error,
    },
}

impl LiveError {
    fn of(action: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::Terminal { action, source }
    }
}

/// Shows the live screen until the user quits, a signal asks the process to end, or the terminal is gone. The call blocks:
/// run it on a thread of its own, and write nothing to standard output and error meanwhile. If `source` is closed, the
/// trace has ended; the screen stays.
///
/// When the call returns, even by an error or a panic, the terminal is restored and the last screen is in its scrollback.
///
/// # Errors
///
/// [`LiveError::NotATerminal`] before anything is written; [`LiveError::Terminal`] if the operating system refuses an
/// action.
pub fn run(settings: Settings, source: &Receiver<Update>) -> Result<Exit, LiveError> {
    if !stdin().is_terminal() {
        return Err(LiveError::NotATerminal { stream: "input" });
    }
    if !stdout().is_terminal() {
        return Err(LiveError::NotATerminal { stream: "output" });
    }
    let mut input = Input::new().map_err(LiveError::of("watch the signals of"))?;
    let guard = Guard::enter().map_err(LiveError::of("take over"))?;
    let screen = Screen::new(settings).map_err(LiveError::of("draw on"))?;
    screen.run(&mut input, source, guard)
}

/// Standard output, which discards everything once the terminal is gone: ratatui shows the cursor again when it is dropped,
/// and panics if neither that nor its error message can be written.
struct Output {
    stdout: BufWriter<Stdout>,
    is_gone: Arc<AtomicBool>,
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_gone.load(Ordering::SeqCst) { Ok(bytes.len()) } else { self.stdout.write(bytes) }
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.is_gone.load(Ordering::SeqCst) { Ok(()) } else { self.stdout.flush() }
    }
}

struct Screen {
    app: App,
    terminal: Terminal<CrosstermBackend<Output>>,
    is_gone: Arc<AtomicBool>,
    is_stale: bool,
}

impl Screen {
    fn new(settings: Settings) -> io::Result<Self> {
        let is_gone = Arc::new(AtomicBool::new(false));
        let stdout = BufWriter::with_capacity(BUFFER, stdout());
        let backend = CrosstermBackend::new(Output { stdout, is_gone: Arc::clone(&is_gone) });
        // The viewport has a fixed size because ratatui would use the size that the system reports, which can be 0.
        let viewport = Viewport::Fixed(Rect::default());
        let terminal = Terminal::with_options(backend, TerminalOptions { viewport })?;
        let app = App::new(settings, Timestamp::now());
        let mut screen = Self { app, terminal, is_gone, is_stale: true };
        screen.measure()?;
        screen.clear()?;
        Ok(screen)
    }

    fn run(mut self, input: &mut Input, source: &Receiver<Update>, guard: Guard) -> Result<Exit, LiveError> {
        let exit = self.watch(input, source, &guard);
        let is_there = matches!(exit, Ok(Exit::Quit | Exit::Signal(_)));
        drop(guard);
        self.is_gone.store(!is_there, Ordering::SeqCst);
        if is_there {
            // The error is ignored: a terminal that takes no more text must not keep the process from ending.
            let _ = self.leave_text();
        }
        exit
    }

    fn watch(
        &mut self,
        input: &mut Input,
        source: &Receiver<Update>,
        guard: &Guard,
    ) -> Result<Exit, LiveError> {
        let mut is_open = true;
        let mut next_tick = Instant::now();
        loop {
            if let Some(exit) = input.end() {
                return Ok(exit);
            }
            if guard.was_left() || input.was_continued() {
                self.enter_again(guard)?;
            }
            while is_open {
                match source.try_recv() {
                    Ok(Update::Snapshot(snapshot)) => self.tell(Event::Snapshot(snapshot)),
                    Ok(Update::End(reason)) => {
                        self.tell(Event::End(reason));
                        is_open = false;
                    }
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => {
                        self.tell(Event::End(String::new()));
                        is_open = false;
                    }
                }
            }
            if Instant::now() >= next_tick {
                next_tick = Instant::now() + TICK;
                self.tell(Event::Tick(Timestamp::now()));
            }
            self.measure().map_err(LiveError::of("measure"))?;
            if self.is_stale && input.is_writable() {
                if let Err(error) = self.draw() {
                    return input.end_of(error, "draw on");
                }
                self.is_stale = false;
            }
            let wait = PAUSE.min(next_tick.saturating_duration_since(Instant::now()));
            match input.next(wait) {
                Ok(None) => {}
                Ok(Some(Press::Gone)) => return Ok(Exit::TerminalGone),
                Ok(Some(Press::Keys(keys))) => {
                    for key in keys {
                        match self.app.apply(Event::Key(key)) {
                            Outcome::Nothing => {}
                            Outcome::Draw => self.is_stale = true,
                            Outcome::Repaint => self.enter_again(guard)?,
                            Outcome::Suspend => {
                                guard.leave();
                                input.suspend().map_err(LiveError::of("suspend"))?;
                                self.enter_again(guard)?;
                            }
                            Outcome::Quit => return Ok(Exit::Quit),
                        }
                    }
                }
                Err(error) => return input.end_of(error, "read"),
            }
        }
    }

    fn tell(&mut self, event: Event) {
        self.is_stale |= self.app.apply(event) != Outcome::Nothing;
    }

    /// Adopts the terminal's current size.
    fn measure(&mut self) -> io::Result<()> {
        let (columns, rows) = input::size()?;
        if (columns, rows) != self.app.size {
            self.tell(Event::Resize { columns, rows });
            self.clear()?;
        }
        Ok(())
    }

    /// Draws a frame; terminals that support synchronised updates show it at once.
    fn draw(&mut self) -> io::Result<()> {
        use crossterm::{
            QueueableCommand as _,
            terminal::{BeginSynchronizedUpdate, EndSynchronizedUpdate},
        };
        self.terminal.backend_mut().queue(BeginSynchronizedUpdate)?;
        let app = &self.app;
        self.terminal.draw(|frame| app.draw(frame))?;
        self.terminal.backend_mut().queue(EndSynchronizedUpdate)?;
        Write::flush(self.terminal.backend_mut())
    }

    fn enter_again(&mut self, guard: &Guard) -> Result<(), LiveError> {
        guard.enter_again().map_err(LiveError::of("take over"))?;
        self.clear().map_err(LiveError::of("draw on"))?;
        self.is_stale = true;
        Ok(())
    }

    /// Clears the terminal, so that the next frame is drawn as a whole. Ratatui's own method asks the terminal for its
    /// cursor position and would swallow pressed keys while it waits for the response.
    fn clear(&mut self) -> io::Result<()> {
        let (width, height) = self.app.size;
        self.terminal.resize(Rect { x: 0, y: 0, width, height })
    }

    /// Writes the last screen as plain text.
    fn leave_text(&self) -> io::Result<()> {
        let (columns, rows) = self.app.size;
        let text = self.app.text(columns, rows);
        let mut stdout = stdout().lock();
        writeln!(stdout, "{text}")?;
        stdout.flush()
    }
}
