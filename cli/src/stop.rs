//! Signals that ask a command to end.

use std::io;

use tokio::sync::watch;

/// Requests to end: Ctrl-C and termination signals.
#[derive(Clone, Debug)]
pub(crate) struct Stop {
    requests: watch::Receiver<u32>,
    /// Number of requests that an earlier part of the command has handled.
    obeyed: u32,
}

impl Stop {
    /// Starts listening. These signals no longer end the process by themselves.
    ///
    /// # Errors
    ///
    /// Errors of the operating system while the signal handlers are installed.
    pub(crate) fn listen() -> io::Result<Self> {
        let mut signals = Signals::new()?;
        let (sender, receiver) = watch::channel(0);
        tokio::spawn(async move {
            loop {
                signals.next().await;
                sender.send_modify(|times| *times += 1);
            }
        });
        Ok(Self::of(receiver))
    }

    fn of(requests: watch::Receiver<u32>) -> Self {
        Self { requests, obeyed: 0 }
    }

    /// Returns a listener for later requests only, for a part of the command that must not be ended by earlier ones.
    pub(crate) fn anew(&self) -> Self {
        Self { requests: self.requests.clone(), obeyed: *self.requests.borrow() }
    }

    /// Waits for a request.
    pub(crate) async fn asked(&mut self) {
        let obeyed = self.obeyed;
        // An error is impossible: the sender lives as long as the runtime.
        let _ = self.requests.wait_for(|requests| *requests > obeyed).await;
    }

    /// Requests that a test makes through the sender.
    #[cfg(test)]
    pub(crate) fn by_hand() -> (watch::Sender<u32>, Self) {
        let (sender, receiver) = watch::channel(0);
        (sender, Self::of(receiver))
    }
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    /// SIGHUP, sent when the terminal is gone. The kernel and the shell each send one, so only the first is a
    /// request.
    hangup: tokio::signal::unix::Signal,
    has_hung_up: bool,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            has_hung_up: false,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv(), if !self.has_hung_up => self.has_hung_up = true,
        }
    }
}

#[cfg(windows)]
struct Signals {
    interrupt: tokio::signal::windows::CtrlC,
    r#break: tokio::signal::windows::CtrlBreak,
    close: tokio::signal::windows::CtrlClose,
    shutdown: tokio::signal::windows::CtrlShutdown,
}

#[cfg(windows)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::windows::{ctrl_break, ctrl_c, ctrl_close, ctrl_shutdown};
        Ok(Self {
            interrupt: ctrl_c()?,
            r#break: ctrl_break()?,
            close: ctrl_close()?,
            shutdown: ctrl_shutdown()?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.r#break.recv() => {}
            _ = self.close.recv() => {}
            _ = self.shutdown.recv() => {}
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::{process::Command, time::Duration};

    use tokio::time::timeout;

    use super::*;

    fn raise(signal: &str) {
        let own = std::process::id().to_string();
        assert!(Command::new("kill").args([signal, &own]).status().is_ok_and(|status| status.success()));
    }

    #[tokio::test]
    async fn a_part_begins_without_earlier_requests_and_a_terminal_is_gone_once() {
        let mut first = Stop::listen().unwrap();
        raise("-HUP");
        first.asked().await;
        let mut second = first.anew();
        raise("-HUP");
        assert!(timeout(Duration::from_millis(300), second.asked()).await.is_err(), "gone twice");
        raise("-TERM");
        second.asked().await;
        first.asked().await;
        assert_eq!(*first.requests.borrow(), 2);
    }
}
