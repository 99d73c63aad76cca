//! The work of the [`super::Watcher`]'s thread: finds processes, examines them for TLS libraries, and attaches and
//! detaches probes.

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

/// Interval between searches for processes in the selected cgroups.
const SCAN_INTERVAL: Duration = Duration::from_secs(1);
/// Minimum pause after a scan, as a multiple of the scan's duration, so that scans take at most a fiftieth of the time.
const SCAN_SHARE: u32 = 50;
/// Times after the beginning of a process at which it is examined, because its libraries are loaded one by one.
const LOOKS: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_millis(3),
    Duration::from_millis(10),
    Duration::from_millis(40),
    Duration::from_millis(200),
    Duration::from_secs(1),
];
/// Maximum number of processes that are tracked.
const MOST_PROCESSES: usize = 16_384;
/// A finding about an ended process is kept this long after its last examination, since a connection may still show
/// that the process used TLS. If that is known, the finding is kept.
const KEPT_WITHOUT_CONNECTION: Duration = Duration::from_secs(10);
/// Maximum number of cgroup levels searched below a selected one.
const MOST_LEVELS: usize = 16;

/// A selected process.
#[derive(Debug)]
struct Tracked {
    /// Time when the process began to run its program, as far as that was seen.
    since: Instant,
    /// Number of examinations since `since`.
    looks: usize,
    /// The process's probes, by device and inode of the file.
    links: Vec<((u64, u64), TlsLinks)>,
    probed: Option<u64>,
    /// Time when the process itself began, in the kernel's clock ticks. It tells a process that runs another program
    /// from a later process with the same id. `None` if the process ended before the time was read.
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
    /// Probes that wait to be detached.
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

    /// Works until the thread's handle, the [`super::Watcher`], is dropped.
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
            // A panic of the thread was already printed.
            let _ = detacher.join();
        }
    }

    /// Detaches probes on another thread, because the kernel is slow to detach.
    fn detach(&mut self) {
        if self.detaching.is_empty() || self.detacher.as_ref().is_some_and(|detacher| !detacher.is_finished())
        {
            return;
        }
        let links = std::mem::take(&mut self.detaching);
        match thread::Builder::new().name("tls-detach".into()).spawn(|| TlsLinks::detach(links)) {
            Ok(detacher) => self.detacher = Some(detacher),
            // The closure that holds the links was dropped with the failed thread, which detaches the probes here.
            Err(error) => {
                tracing::debug!(%error, "no thread can be made to detach probes; it was waited for");
            }
        }
    }

    /// Waits until the [`super::Watcher`] wakes the thread, the kernel reports a new process, or an examination or scan
    /// is due.
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
        // Resets the eventfd. An error means that something else than the eventfd ended the wait.
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

    /// Begins to track the new processes that the kernel programs have reported. If single processes are selected, only
    /// those matter.
    fn take_news(&mut self) {
        let Some(probes) = &mut self.probes else { return };
        let pids = probes.new_processes();
        let all = self.wanted.processes.is_empty();
        for pid in pids {
            if all || self.wanted.processes.contains(&pid) || self.tracked.contains_key(&pid) {
                self.begin(pid);
            } else {
                // The new process may lie in a cgroup whose processes are all selected, so a scan follows soon.
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
                    // The kernel inserts the existing probes into the new program when it maps the file.
                    tracked.probed = tracked.probed.map(|_| now());
                } else {
                    // The probes belong to an earlier process with the same id, so they are detached.
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

    /// Begins to track processes that lie in the selected cgroups, and forgets those that have ended.
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
                    // Libraries are only expected here, and most processes do not map them, so errors are not reported.
                    let _ = self.attach(pid, &placed);
                }
            }
            self.look(pid, false);
            if let Some(tracked) = self.tracked.get_mut(&pid) {
                // Examinations that are overdue are left out: this one has found what they would find.
                tracked.looks = LOOKS.iter().filter(|after| tracked.since + **after <= now).count();
            }
        }
    }

    /// Examines a process, and attaches probes if it is selected. `speaks` is set if the process is known to use TLS.
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
            // The process has ended and shows nothing more, so the earlier finding stays.
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

/// Adds the processes of a cgroup and of the cgroups below it. A removed cgroup has none.
fn add_processes(folder: &Path, levels: usize, to: &mut BTreeSet<u32>) {
    let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    // Processes that are not visible in this pid namespace have the id 0.
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
