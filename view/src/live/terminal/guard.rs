//! Raw mode and the alternate screen, which are left on every way out.

use std::{
    io::{self, stdout},
    panic,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use ratatui::crossterm::{
    cursor::{Hide, Show},
    execute,
    style::ResetColor,
    terminal::{
        DisableLineWrap, EnableLineWrap, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode,
        enable_raw_mode,
    },
};

type Hook = Arc<dyn Fn(&panic::PanicHookInfo<'_>) + Send + Sync>;

/// The terminal while it is taken over. Dropping it gives the terminal back.
pub(super) struct Guard {
    /// Whether the terminal is taken over now.
    is_entered: Arc<AtomicBool>,
    hook: Hook,
}

impl Guard {
    /// Takes the terminal over. A panic on any thread gives it back before the message is printed.
    pub(super) fn enter() -> io::Result<Self> {
        let is_entered = Arc::new(AtomicBool::new(false));
        let hook: Hook = Arc::from(panic::take_hook());
        let (before, flag) = (Arc::clone(&hook), Arc::clone(&is_entered));
        panic::set_hook(Box::new(move |info| {
            leave(&flag);
            before(info);
        }));
        let guard = Self { is_entered, hook };
        guard.enter_again()?;
        Ok(guard)
    }

    /// Takes the terminal over after it was given back, or after something else has changed it.
    pub(super) fn enter_again(&self) -> io::Result<()> {
        // A shell that continues a stopped process may have changed the mode, and what is on is not switched on again.
        let _ = disable_raw_mode();
        enable_raw_mode()?;
        self.is_entered.store(true, Ordering::SeqCst);
        execute!(stdout(), EnterAlternateScreen, DisableLineWrap, Hide)
    }

    /// Gives the terminal back for a while.
    pub(super) fn leave(&self) {
        leave(&self.is_entered);
    }

    /// Whether the terminal was given back: a thread has panicked and its message is on the screen.
    pub(super) fn was_left(&self) -> bool {
        !self.is_entered.load(Ordering::SeqCst)
    }
}

fn leave(is_entered: &AtomicBool) {
    if is_entered.swap(false, Ordering::SeqCst) {
        // Where the terminal is gone, nothing can be given back.
        let _ = execute!(stdout(), ResetColor, EnableLineWrap, Show, LeaveAlternateScreen);
        let _ = disable_raw_mode();
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        leave(&self.is_entered);
        // A hook cannot be changed while a thread panics. The one that is set does nothing more here.
        if !std::thread::panicking() {
            let hook = Arc::clone(&self.hook);
            panic::set_hook(Box::new(move |info| hook(info)));
        }
    }
}
