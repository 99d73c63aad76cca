//! The terminal's raw mode and alternate screen, which are left however the screen ends, even by a panic.

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

/// Holds the terminal in raw mode, on the alternate screen. Dropping the guard restores the terminal.
pub(super) struct Guard {
    /// True while the terminal is in raw mode.
    is_entered: Arc<AtomicBool>,
    hook: Hook,
}

impl Guard {
    /// Switches the terminal to raw mode and to the alternate screen. If any thread panics, the terminal is restored
    /// before the panic's message is printed.
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

    /// Switches the terminal to raw mode and to the alternate screen once more, after it was restored or another
    /// program changed it.
    pub(super) fn enter_again(&self) -> io::Result<()> {
        // A shell that continues a stopped process may have changed the mode, and enabling raw mode does nothing while
        // it counts as enabled.
        let _ = disable_raw_mode();
        enable_raw_mode()?;
        self.is_entered.store(true, Ordering::SeqCst);
        execute!(stdout(), EnterAlternateScreen, DisableLineWrap, Hide)
    }

    /// Restores the terminal until [`Guard::enter_again`], for example while the process is stopped.
    pub(super) fn leave(&self) {
        leave(&self.is_entered);
    }

    /// Returns true if the terminal was restored behind the screen's back: a thread has panicked and its message is
    /// on the terminal.
    pub(super) fn was_left(&self) -> bool {
        !self.is_entered.load(Ordering::SeqCst)
    }
}

fn leave(is_entered: &AtomicBool) {
    if is_entered.swap(false, Ordering::SeqCst) {
        // Errors are ignored: if the terminal is gone, there is nothing to restore.
        let _ = execute!(stdout(), ResetColor, EnableLineWrap, Show, LeaveAlternateScreen);
        let _ = disable_raw_mode();
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        leave(&self.is_entered);
        // The panic hook cannot be changed while a thread panics. The hook that is set does nothing more from here
        // on.
        if !std::thread::panicking() {
            let hook = Arc::clone(&self.hook);
            panic::set_hook(Box::new(move |info| hook(info)));
        }
    }
}
