//! Running cases against one `top`.

use std::{
    env,
    io::Write as _,
    path::PathBuf,
    process::{Child, ChildStdin, Command, Stdio},
    time::Duration,
};

use super::{
    cases::{self, Case},
    cli::Options,
    leader::{LIMIT, Message},
    print,
    tally::Detail,
    verdict::{self, Outcome, Report},
};
use crate::support::{
    Result, TestError,
    cgroup::Cgroup,
    needs::{self, Host},
    process::Process,
    top::Top,
};

/// The cgroups of a run.
pub(super) struct Ground {
    pub(super) host: Host,
    pub(super) selected: PathBuf,
    pub(super) outside: PathBuf,
    /// Holds both; goes last.
    _cgroup: Cgroup,
}

impl Ground {
    pub(super) fn new(options: &Options) -> Result<Self> {
        let cgroup_root = options.cgroup_root.clone().map_or_else(needs::cgroup2_mount, Ok)?;
        let traffictrace = options.product.clone().map_or_else(|| beside("traffictrace"), Ok)?;
        let cgroup = Cgroup::new(&cgroup_root)?;
        let (selected, outside) = (cgroup.child("selected")?, cgroup.child("outside")?);
        Ok(Self { host: Host { cgroup_root, traffictrace }, selected, outside, _cgroup: cgroup })
    }

    /// A `top` on the selected cgroup, armed.
    pub(super) fn top(&self, options: &Options, more: &[&str]) -> Result<Top> {
        let text = |path: &PathBuf| path.to_string_lossy().into_owned();
        let (selected, root) = (text(&self.selected), text(&self.host.cgroup_root));
        let mut arguments = vec!["--cgroup", &selected, "--cgroup-root", &root];
        if let Some(tier) = &options.hook_tier {
            arguments.extend(["--hook-tier", tier]);
        }
        arguments.extend(more);
        Top::start(&self.host, &arguments)
    }
}

/// Runs the chosen cases; `true` when nothing failed.
pub(super) fn run(options: &Options) -> Result<bool> {
    let ground = Ground::new(options)?;
    let seed = options.seed;
    let wanted = |case: &Case| {
        options.only.is_empty() || options.only.iter().any(|part| case.name.contains(part.as_str()))
    };
    let chosen: Vec<_> = cases::all().into_iter().filter(wanted).collect();
    if chosen.is_empty() {
        return Err(TestError::unexpected("--only", format!("no case has {:?} in its name", options.only)));
    }
    let (any, asked): (Vec<_>, Vec<_>) = chosen.into_iter().partition(|case| case.protocol.is_none());
    let mut report = Report { seed, ..Report::default() };
    for group in [any, asked] {
        if let Some(first) = group.first() {
            report.add(run_group(&group, first.protocol, &ground, options)?);
        }
    }
    print::print(&report, options.output)?;
    let all_must_run = env::var_os("CI").is_some_and(|ci| ci == "true");
    Ok(report.failed == 0 && !(all_must_run && report.skipped > 0))
}

/// Runs cases against one `top`.
fn run_group(
    cases: &[Case],
    protocol: Option<&'static str>,
    ground: &Ground,
    options: &Options,
) -> Result<Report> {
    let task = |case: &Case| Task { case: case.name.clone(), seed: options.seed, ..Task::default() };
    let (older, newer): (Vec<_>, Vec<_>) = cases.iter().partition(|case| case.older);
    let waiting = older.iter().map(|case| Leader::start(task(case), ground)).collect::<Result<Vec<_>>>()?;
    let waiting = waiting.into_iter().map(Leader::ready).collect::<Result<Vec<_>>>()?;
    let asked: Vec<_> = protocol.iter().flat_map(|name| ["--protocol", name]).collect();
    let mut top = ground.top(options, &asked)?;
    let mut outcomes = Vec::new();
    for leader in waiting {
        outcomes.push(leader.go()?);
    }
    for case in newer {
        outcomes.push(Leader::start(task(case), ground)?.end()?);
    }
    let (left, open) = top.await_free_slots()?;
    let mut report = verdict::report(outcomes, &top.interrupt()?, Detail::Flows);
    report.slots_left(left, &open);
    Ok(report)
}

/// A program of this workspace.
fn beside(name: &str) -> Result<PathBuf> {
    let own = env::current_exe().map_err(TestError::io("find this program"))?;
    Ok(own.with_file_name(name))
}

/// What a leader is to do.
#[derive(Clone, Debug, Default)]
pub(super) struct Task {
    pub(super) case: String,
    pub(super) seed: u64,
    pub(super) seconds: u64,
    pub(super) detail: Detail,
}

/// The process of a case.
pub(super) struct Leader {
    task: Task,
    process: Process,
    go: Option<ChildStdin>,
    ended: Option<Message>,
}

impl Leader {
    pub(super) fn start(task: Task, ground: &Ground) -> Result<Self> {
        let program = env::current_exe().map_err(TestError::io("find this program"))?;
        let mut command = Command::new(program);
        command.args(["case", &task.case, "--seed", &task.seed.to_string()]);
        command.args(["--seconds", &task.seconds.to_string(), "--detail", task.detail.name()]);
        command.arg("--selected").arg(&ground.selected).arg("--outside").arg(&ground.outside);
        command.stdin(Stdio::piped());
        let mut go = None;
        let process = Process::start_with(&mut command, |child: &mut Child| go = child.stdin.take())?;
        Ok(Self { task, process, go, ended: None })
    }

    /// Waits until everything is there that must be older than the trace; or until it has failed.
    fn ready(mut self) -> Result<Self> {
        match self.message(LIMIT)? {
            Message::Ready => {}
            ended => self.ended = Some(ended),
        }
        Ok(self)
    }

    /// Lets it go on, to its end.
    fn go(mut self) -> Result<Outcome> {
        // Where it has ended already, its outcome says why.
        if let Some(mut go) = self.go.take() {
            let _ = go.write_all(b"\n");
        }
        self.end()
    }

    /// Whether it has said its last word.
    pub(super) fn has_ended(&mut self) -> Result<bool> {
        if self.ended.is_none() {
            self.ended = match self.message(Duration::ZERO) {
                Err(TestError::Deadline { .. }) => None,
                message => Some(message?),
            };
        }
        Ok(self.ended.is_some())
    }

    /// Its outcome, when it has come to its end.
    pub(super) fn end(mut self) -> Result<Outcome> {
        let message = self.ended.take().map_or_else(|| self.message(LIMIT), Ok)?;
        let Message::Ended { counts, failure, unsupported } = message else {
            return Err(TestError::unexpected(&self.task.case, format!("{message:?} in place of its end")));
        };
        let ended = self.process.wait(LIMIT)?;
        let failure = failure.or_else(|| (!ended.status.success()).then(|| ended.status.to_string()));
        Ok(Outcome { case: self.task.case, counts, failure, unsupported, told: ended.stderr })
    }

    /// Its next line. A leader that ended without one has failed, and says why on standard error.
    fn message(&self, limit: Duration) -> Result<Message> {
        match self.process.line(limit)? {
            Some(line) => serde_json::from_str(&line)
                .map_err(|error| TestError::unexpected(&self.task.case, format!("{error}: {line}"))),
            None => Ok(Message::Ended {
                counts: Vec::new(),
                failure: Some(
                    "its process ended without a word; it may have run into its time limit".to_owned(),
                ),
                unsupported: None,
            }),
        }
    }
}
