//! Tests of the screen in a real pseudo-terminal, in which the test program runs itself.

#![cfg(unix)]

use std::{
    env,
    os::fd::OwnedFd,
    process::{Child, Command, ExitStatus},
    sync::mpsc::sync_channel,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{Mode, OFlags, open},
    io::{read, write},
    process::{Pid, Signal, kill_process},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize},
};

use super::*;
use crate::live::testing::plain;

/// Environment variable that makes the test program show the screen.
const CHILD: &str = "TRAFFICTRACE_TEST_SCREEN";
const LIMIT: Duration = Duration::from_secs(20);

/// The screen in a terminal of 80 columns and 24 rows.
struct Fixture {
    /// The controlling side of the pseudo-terminal; `None` once it is closed, which hangs up the terminal.
    outer: Option<OwnedFd>,
    /// The terminal side, from which the mode is read.
    inside: OwnedFd,
    child: Child,
    seen: String,
}

impl Fixture {
    fn new(way: &str) -> Self {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let name = ptsname(&terminal, Vec::new()).unwrap();
        let inside = open(&name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        tcsetwinsize(&inside, size).unwrap();
        let end = || inside.try_clone().unwrap();
        let child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "live::terminal::tests::child", "--nocapture"])
            .env(CHILD, way)
            .env("LANG", "C.UTF-8")
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .unwrap();
        Self { outer: Some(terminal), inside, child, seen: String::new() }
    }

    fn outer(&self) -> &OwnedFd {
        self.outer.as_ref().unwrap()
    }

    /// Reads until a text has appeared.
    fn await_text(&mut self, text: &str) {
        let end = Instant::now() + LIMIT;
        let found = loop {
            if let Some(at) = self.seen.find(text) {
                break at + text.len();
            }
            assert!(Instant::now() < end, "{text:?} did not come: {:?}", self.seen);
            let mut fds = [PollFd::new(self.outer(), PollFlags::IN)];
            poll(&mut fds, Some(&Timespec { tv_sec: 1, tv_nsec: 0 })).unwrap();
            if fds[0].revents().contains(PollFlags::IN) {
                let mut bytes = [0; 4096];
                let number = read(self.outer(), &mut bytes).unwrap();
                self.seen.push_str(&String::from_utf8_lossy(&bytes[..number]));
            }
        };
        self.seen.drain(..found);
    }

    fn press(&self, keys: &str) {
        assert_eq!(write(self.outer(), keys.as_bytes()), Ok(keys.len()));
    }

    fn is_raw(&self) -> bool {
        !tcgetattr(&self.inside).unwrap().local_modes.contains(LocalModes::ICANON)
    }

    fn end(&mut self) -> ExitStatus {
        let end = Instant::now() + LIMIT;
        loop {
            match self.child.try_wait().unwrap() {
                Some(status) => return status,
                None => assert!(Instant::now() < end, "it lives on: {:?}", self.seen),
            }
            std::thread::yield_now();
        }
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The screen itself, in the process that a fixture has started. The exit status tells how the screen ended.
#[test]
fn child() {
    let Ok(way) = env::var(CHILD) else { return };
    // Sending returns once the screen runs and has taken the snapshot.
    let (updates, source) = sync_channel(0);
    std::thread::spawn(move || {
        updates.send(Update::Snapshot(Box::new(plain()))).unwrap();
        assert_ne!(way, "panic", "a thread has panicked");
        let _ = updates.send(Update::End(String::new()));
    });
    let exit = run(Settings::default(), &source).unwrap();
    let code = match exit {
        Exit::Quit => 10,
        Exit::TerminalGone => 11,
        Exit::Signal(signal) => 100 + signal,
    };
    std::process::exit(code);
}

#[test]
fn quitting_gives_the_terminal_back_and_leaves_the_last_screen() {
    let mut fixture = Fixture::new("quit");
    fixture.await_text("\x1b[?1049h");
    fixture.await_text("nginx 412");
    assert!(fixture.is_raw());
    fixture.press("\x1b[Bq");
    fixture.await_text("\x1b[?1049l");
    // The down arrow before `q` was handled: the second row is selected.
    fixture.await_text("▌▸ mysqld 77");
    fixture.await_text("(other, 4 flows)");
    assert_eq!(fixture.end().code(), Some(10));
    assert!(!fixture.is_raw() && !fixture.seen.contains("?help"));
}

#[test]
fn a_new_size_is_drawn_at_once() {
    let mut fixture = Fixture::new("resize");
    fixture.await_text("nginx 412");
    let size = Winsize { ws_row: 3, ws_col: 20, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&fixture.inside, size).unwrap();
    fixture.await_text("20x3");
    fixture.press("\x03");
    assert_eq!(fixture.end().code(), Some(10));
}

#[test]
fn a_terminal_that_is_gone_ends_the_screen() {
    let mut fixture = Fixture::new("gone");
    fixture.await_text("nginx 412");
    let start = Instant::now();
    fixture.outer = None;
    assert_eq!(fixture.end().code(), Some(11));
    // On an idle machine, this takes a tenth of a second.
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn a_signal_ends_the_screen_and_gives_the_terminal_back() {
    let mut fixture = Fixture::new("signal");
    fixture.await_text("nginx 412");
    kill_process(Pid::from_child(&fixture.child), Signal::TERM).unwrap();
    assert_eq!(fixture.end().code(), Some(115));
    assert!(!fixture.is_raw());
}

#[test]
fn the_message_of_a_panic_stays_readable_and_the_screen_comes_back() {
    let mut fixture = Fixture::new("panic");
    fixture.await_text("a thread has panicked");
    fixture.await_text("\x1b[?1049h");
    fixture.await_text("nginx 412");
    assert!(fixture.is_raw());
    fixture.press("q");
    assert_eq!(fixture.end().code(), Some(10));
}
