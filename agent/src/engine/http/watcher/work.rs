//! What the thread does.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    path::Path,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use procfs::process::Process;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::read,
};

use super::{super::connections::now, Finding, Shared, Wanted};
use crate::{
    kernel::{KernelError, TlsLinks, TlsProbes},
    tls::{Finder, Placed},
};

/// Time between two looks for processes in the selected cgroups.
const SCAN_INTERVAL: Duration = Duration::from_secs(1);
/// A scan may take one part in so many of the time.
const SCAN_SHARE: u32 = 50;
/// Times after the beginning of a process at which it is looked at: its libraries come one by one.
const LOOKS: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_millis(3),
    Duration::from_millis(10),
    Duration::from_millis(40),
    Duration::from_millis(200),
    Duration::from_secs(1),
];
/// Processes that are looked at.
const MOST_PROCESSES: usize = 16_384;
/// Time for which a process that has ended is remembered without being known to speak TLS: that may come to be known still.
const KEPT_WITHOUT_CONNECTION: Duration = Duration::from_secs(10);
/// Levels of cgroups below a selected one that are looked into.
const MOST_LEVELS: usize = 16;

/// A selected process.
#[derive(Debug)]
struct Tracked {
    /// When it began to run its program, as far as that was seen.
    since: Instant,
    /// Looks at it since then.
    looks: usize,
    /// Its probes, by the device and inode of the file.
    links: Vec<((u64, u64), TlsLinks)>,
    probed: Option<u64>,
    /// When the process itself began, in the kernel's clock ticks: another one can have its id later, the same one runs
    /// several programs. None if it ended before that was read.
    began: Option<u64>,
}

impl Tracked {
    fn next_look(&self) -> Option<Instant> {
        LOOKS.get(self.looks).map(|after| self.since + *after)
    }
}

/// The state of the thread.
pub(super) struct Work {
    shared: Arc<Shared>,
    probes: Option<TlsProbes>,
    finder: Finder,
    wanted: Wanted,
    tracked: HashMap<u32, Tracked>,
    next_scan: Instant,
    /// Probes that are to be detached.
    detaching: Vec<TlsLinks>,
    detacher: Option<JoinHandle<()>>,
}

impl Work {
    pub(super) fn new(shared: Arc<Shared>, probes: Option<TlsProbes>) -> Self {
        Self {
            shared,
            probes,
            finder: Finder::default(),
            wanted: Wanted::default(),
            tracked: HashMap::new(),
            next_scan: Instant::now() + SCAN_INTERVAL,
            detaching: Vec::new(),
            detacher: None,
        }
    }

    /// Works until the owner ends it.
    pub(super) fn run(mut self) {
        loop {
            self.wait();
            let (asked, wanted) = {
                let mut state = self.shared.lock();
                if state.ends {
                    break;
                }
                state.is_busy = !state.asked.is_empty();
                (
                    std::mem::take(&mut state.asked),
                    (state.wanted != self.wanted).then(|| state.wanted.clone()),
                )
            };
            if let Some(wanted) = wanted {
                self.select(wanted);
            }
            self.take_news();
            if Instant::now() >= self.next_scan {
                self.scan();
            }
            for pid in asked {
                self.look(pid, true);
            }
            self.shared.lock().is_busy = false;
            self.look_at_due();
        }
        let tracked = self.tracked.into_values().flat_map(|tracked| tracked.links).map(|(_, links)| links);
        TlsLinks::detach(self.detaching.into_iter().chain(tracked).collect());
        if let Some(detacher) = self.detacher {
            // What it says of a panic was printed.
            let _ = detacher.join();
        }
    }

    /// Detaches probes aside, as the kernel takes its time.
    fn detach(&mut self) {
        if self.detaching.is_empty() || self.detacher.as_ref().is_some_and(|detacher| !detacher.is_finished())
        {
            return;
        }
        let links = std::mem::take(&mut self.detaching);
        match thread::Builder::new().name("tls-detach".into()).spawn(|| TlsLinks::detach(links)) {
            Ok(detacher) => self.detacher = Some(detacher),
            // The links were closed with what was to become the thread, which detaches the probes.
            Err(error) => {
                tracing::debug!(%error, "no thread can be made to detach probes; it was waited for");
            }
        }
    }

    /// Waits for the owner, for a new process, or for what is due.
    fn wait(&mut self) {
        let looks = self.tracked.values().filter_map(Tracked::next_look);
        let due = looks.chain([self.next_scan]).min().unwrap_or(self.next_scan);
        let left = due.saturating_duration_since(Instant::now());
        let timeout =
            Timespec { tv_sec: left.as_secs().try_into().unwrap_or(1), tv_nsec: left.subsec_nanos().into() };
        let mut descriptors = vec![PollFd::new(&self.shared.wake, PollFlags::IN)];
        if let Some(probes) = &self.probes {
            descriptors.push(PollFd::from_borrowed_fd(probes.news(), PollFlags::IN));
        }
        // A signal only ends the wait early.
        let _ = poll(&mut descriptors, Some(&timeout));
        // Nothing to read means that something else ended it.
        let _ = read(&self.shared.wake, &mut [0; 8]);
    }

    fn select(&mut self, wanted: Wanted) {
        if let Some(probes) = &mut self.probes
            && let Err(error) = probes.select(&wanted.around)
        {
            tracing::warn!(%error, "new processes are found by looking alone");
        }
        self.wanted = wanted;
        self.next_scan = Instant::now();
    }

    /// Takes the processes that have begun. Where single processes are selected, only those are of interest.
    fn take_news(&mut self) {
        let Some(probes) = &mut self.probes else { return };
        let pids = probes.new_processes();
        let all = self.wanted.processes.is_empty();
        for pid in pids {
            if all || self.wanted.processes.contains(&pid) || self.tracked.contains_key(&pid) {
                self.begin(pid);
            } else {
                // In a selected cgroup all processes are.
                self.next_scan = self.next_scan.min(Instant::now() + LOOKS[1]);
            }
        }
    }

    fn begin(&mut self, pid: u32) {
        let (since, has_room) = (Instant::now(), self.tracked.len() < MOST_PROCESSES);
        let began = start_of(pid);
        match self.tracked.get_mut(&pid) {
            Some(tracked) => {
                (tracked.since, tracked.looks) = (since, 0);
                if tracked.began == began {
                    // The kernel puts the probes into the program that the process runs now, as it maps the file.
                    tracked.probed = tracked.probed.map(|_| now());
                } else {
                    // The probes are those of the process that had the id before.
                    tracked.began = began;
                    tracked.probed = None;
                    self.detaching.extend(tracked.links.drain(..).map(|(_, links)| links));
                }
            }
            None if has_room => {
                self.tracked.insert(pid, Tracked { since, looks: 0, links: Vec::new(), probed: None, began });
            }
            None => {}
        }
    }

    /// Looks for processes that have come and for those that are gone.
    fn scan(&mut self) {
        let begin = Instant::now();
        let mut there = BTreeSet::new();
        if self.probes.is_some() {
            for folder in self.wanted.cgroups.values() {
                add_processes(folder, MOST_LEVELS, &mut there);
            }
            there.extend(&self.wanted.processes);
        }
        let gone = self.tracked.extract_if(|pid, _| !there.contains(pid) || !is_alive(*pid));
        self.detaching.extend(gone.flat_map(|(_, tracked)| tracked.links).map(|(_, links)| links));
        self.detach();
        for pid in there {
            if !self.tracked.contains_key(&pid) && is_alive(pid) {
                self.begin(pid);
            }
        }
        let tracked = &self.tracked;
        let findings = &mut self.shared.lock().findings;
        let is_full = findings.len() > MOST_PROCESSES;
        findings.retain(|pid, finding| {
            tracked.contains_key(pid)
                || !is_full && (finding.speaks || finding.looked.elapsed() < KEPT_WITHOUT_CONNECTION)
        });
        self.next_scan = Instant::now() + SCAN_INTERVAL.max(begin.elapsed() * SCAN_SHARE);
    }

    fn look_at_due(&mut self) {
        let now = Instant::now();
        let is_due = |tracked: &Tracked| tracked.next_look().is_some_and(|next| next <= now);
        let due: Vec<u32> =
            self.tracked.iter().filter(|(_, tracked)| is_due(tracked)).map(|(pid, _)| *pid).collect();
        for pid in due {
            if self.tracked.get(&pid).is_some_and(|tracked| tracked.looks == 0) {
                for placed in self.finder.expect(pid) {
                    // Most processes do not map the library; nothing is said of them.
                    let _ = self.attach(pid, &placed);
                }
            }
            self.look(pid, false);
            if let Some(tracked) = self.tracked.get_mut(&pid) {
                // Looks that were missed are not made up for.
                tracked.looks = LOOKS.iter().filter(|after| tracked.since + **after <= now).count();
            }
        }
    }

    /// Looks at a process, and attaches probes if it is selected. `speaks`: it is known to speak TLS.
    fn look(&mut self, pid: u32, speaks: bool) {
        let found = self.finder.look(pid);
        let mut refused = String::new();
        for placed in &found.placed {
            if let Err(error) = self.attach(pid, placed)
                && is_alive(pid)
            {
                refused = format!("The probes were refused: {error}.");
            }
        }
        let probed = self.tracked.get(&pid).and_then(|tracked| tracked.probed);
        let probed = probed.filter(|_| !found.placed.is_empty());
        let findings = &mut self.shared.lock().findings;
        let is_over = found.library.is_empty() && !is_alive(pid);
        let looked = Instant::now();
        let speaks = speaks || findings.get(&pid).is_some_and(|known| known.speaks);
        match findings.get_mut(&pid) {
            // What it was before it ended is known better.
            Some(known) if is_over => (known.looked, known.speaks) = (looked, speaks),
            _ => {
                let reason = if refused.is_empty() { found.reason } else { refused };
                findings.insert(pid, Finding { library: found.library, reason, probed, looked, speaks });
            }
        }
    }

    fn attach(&mut self, pid: u32, placed: &Placed) -> Result<(), KernelError> {
        let (Some(probes), Some(tracked)) = (&mut self.probes, self.tracked.get_mut(&pid)) else {
            return Ok(());
        };
        if tracked.links.iter().any(|(identity, _)| *identity == placed.identity) {
            return Ok(());
        }
        let links = probes.attach(pid, placed)?;
        tracked.links.push((placed.identity, links));
        tracked.probed.get_or_insert_with(now);
        Ok(())
    }
}

/// Adds the processes of a cgroup and of those below it. One that is gone has none.
fn add_processes(folder: &Path, levels: usize, to: &mut BTreeSet<u32>) {
    let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    // Processes that are not visible here have the number 0.
    to.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()).filter(|pid| *pid != 0));
    let Some(levels) = levels.checked_sub(1) else { return };
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            add_processes(&entry.path(), levels, to);
        }
    }
}

fn start_of(pid: u32) -> Option<u64> {
    let process = Process::new(i32::try_from(pid).ok()?).ok()?;
    process.stat().ok().map(|stat| stat.starttime)
}

fn is_alive(pid: u32) -> bool {
    fs::exists(format!("/proc/{pid}/exe")).unwrap_or(true)
}
