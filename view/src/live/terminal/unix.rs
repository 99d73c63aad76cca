//! Keys and signals of a Unix terminal.
//!
//! Keys are not read by crossterm, because its reader loops for ever once the terminal is gone.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use ratatui::crossterm::event::KeyEvent;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::BorrowedFd,
    io::{Errno, read},
    stdio::{stdin, stdout},
    termios::tcgetwinsize,
};
use signal_hook::{
    SigId,
    consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP},
    flag,
    low_level::{emulate_default_handler, unregister},
};

use super::{Exit, LiveError, decode::Decoder};

/// Maximum time to wait for the rest of an escape sequence. If none comes, the Escape byte counts as the Escape key.
const ESCAPE: Duration = Duration::from_millis(50);
/// Maximum number of bytes read at once.
const CHUNK: usize = 1024;

/// A result of reading the terminal.
#[derive(Debug)]
pub(super) enum Press {
    Keys(Vec<KeyEvent>),
    /// The terminal is gone.
    Gone,
}

/// Reads the keys and receives the signals.
#[derive(Debug)]
pub(super) struct Input {
    decoder: Decoder,
    escape_since: Option<Instant>,
    ended_by: Arc<AtomicUsize>,
    is_continued: Arc<AtomicBool>,
    is_suspended: Arc<AtomicBool>,
    registered: Vec<SigId>,
}

impl Input {
    pub(super) fn new() -> io::Result<Self> {
        let mut input = Self {
            decoder: Decoder::default(),
            escape_since: None,
            ended_by: Arc::default(),
            is_continued: Arc::default(),
            is_suspended: Arc::default(),
            registered: Vec::new(),
        };
        let is_ended = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGHUP, SIGINT, SIGQUIT] {
            // A second signal ends the process, even if this thread is blocked.
            let second = flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&is_ended))?;
            let first = flag::register(signal, Arc::clone(&is_ended))?;
            let which = flag::register_usize(signal, Arc::clone(&input.ended_by), signal as usize)?;
            input.registered.extend([second, first, which]);
        }
        input.registered.push(flag::register(SIGCONT, Arc::clone(&input.is_continued))?);
        input.registered.push(flag::register(SIGTSTP, Arc::clone(&input.is_suspended))?);
        Ok(input)
    }

    /// Returns the exit that a signal asks for.
    pub(super) fn end(&self) -> Option<Exit> {
        match self.ended_by.load(Ordering::SeqCst) as i32 {
            0 => None,
            SIGHUP => Some(Exit::TerminalGone),
            signal => Some(Exit::Signal(signal)),
        }
    }

    /// Converts an error of the terminal into an exit: a terminal that is gone is not an error.
    pub(super) fn end_of(&self, error: io::Error, action: &'static str) -> Result<Exit, LiveError> {
        if let Some(exit) = self.end() {
            return Ok(exit);
        }
        let is_gone =
            matches!(Errno::from_io_error(&error), Some(Errno::IO | Errno::PIPE | Errno::NXIO | Errno::BADF));
        if is_gone { Ok(Exit::TerminalGone) } else { Err(LiveError::Terminal { action, source: error }) }
    }

    /// Returns true if the process was stopped and continued since the last call.
    pub(super) fn was_continued(&self) -> bool {
        self.is_continued.swap(false, Ordering::SeqCst)
    }

    /// Stops the process until the shell continues it.
    pub(super) fn suspend(&self) -> io::Result<()> {
        emulate_default_handler(SIGTSTP)?;
        self.is_continued.store(false, Ordering::SeqCst);
        Ok(())
    }

    /// Returns true if the terminal accepts text, so that drawing does not block.
    pub(super) fn is_writable(&self) -> bool {
        wait_for(stdout(), PollFlags::OUT, Duration::ZERO).is_ok_and(|flags| flags.contains(PollFlags::OUT))
    }

    /// Returns the keys that are pressed within `wait`; `None` if there are none or a signal comes.
    pub(super) fn next(&mut self, wait: Duration) -> io::Result<Option<Press>> {
        if self.is_suspended.swap(false, Ordering::SeqCst) {
            let key = KeyEvent::new(ratatui::crossterm::event::KeyCode::Char('z'), CONTROL);
            return Ok(Some(Press::Keys(vec![key])));
        }
        let wait = self.escape_since.map_or(wait, |since| wait.min(ESCAPE.saturating_sub(since.elapsed())));
        let flags = wait_for(stdin(), PollFlags::IN, wait)?;
        if !flags.contains(PollFlags::IN) {
            if flags.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) {
                return Ok(Some(Press::Gone));
            }
            if self.escape_since.is_some_and(|since| since.elapsed() >= ESCAPE) {
                self.escape_since = None;
                return Ok(self.decoder.finish().map(|key| Press::Keys(vec![key])));
            }
            return Ok(None);
        }
        let mut bytes = [0; CHUNK];
        match read(stdin(), &mut bytes) {
            Ok(0) | Err(Errno::IO) => Ok(Some(Press::Gone)),
            Ok(number) => {
                let mut keys = Vec::new();
                bytes[..number].iter().for_each(|byte| keys.extend(self.decoder.push(*byte)));
                self.escape_since = self.decoder.is_waiting().then(Instant::now);
                Ok(Some(Press::Keys(keys)))
            }
            Err(Errno::INTR | Errno::AGAIN) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        for id in self.registered.drain(..) {
            unregister(id);
        }
    }
}

const CONTROL: ratatui::crossterm::event::KeyModifiers = ratatui::crossterm::event::KeyModifiers::CONTROL;

fn wait_for(fd: BorrowedFd<'_>, events: PollFlags, wait: Duration) -> io::Result<PollFlags> {
    let mut fds = [PollFd::from_borrowed_fd(fd, events)];
    let wait = Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: wait.subsec_nanos().into() };
    match poll(&mut fds, Some(&wait)) {
        Ok(_) => Ok(fds[0].revents()),
        Err(Errno::INTR) => Ok(PollFlags::empty()),
        Err(error) => Err(error.into()),
    }
}

/// Returns the size of the terminal in columns and lines.
pub(super) fn size() -> io::Result<(u16, u16)> {
    let size = tcgetwinsize(stdout())?;
    // The system reports an unknown size as 0.
    let known = |cells, usual| if cells == 0 { usual } else { cells };
    Ok((known(size.ws_col, 80), known(size.ws_row, 24)))
}
