//! The signals that ask a command to end.

use std::io;

use tokio::sync::watch;

/// Requests to end: Ctrl-C, and those of the system.
#[derive(Clone, Debug)]
pub(crate) struct Stop {
    requests: watch::Receiver<u32>,
    /// Requests that an earlier part of the command has obeyed.
    obeyed: u32,
}

impl Stop {
    /// Listens from now on. The process does not end by these signals any more.
    ///
    /// # Errors
    ///
    /// When the system refuses to tell of signals.
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

    /// The requests from now on, for a part of the command that those before do not end.
    pub(crate) fn anew(&self) -> Self {
        Self { requests: self.requests.clone(), obeyed: *self.requests.borrow() }
    }

    /// Waits until the user has asked.
    pub(crate) async fn asked(&mut self) {
        let obeyed = self.obeyed;
        // The sender lives as long as the runtime.
        let _ = self.requests.wait_for(|requests| *requests > obeyed).await;
    }

    /// Requests that the test makes with the sender.
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
    /// The terminal is gone. The kernel tells that and the shell does, too, so only the first of these is a request.
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
