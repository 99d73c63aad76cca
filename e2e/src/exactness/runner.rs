//! Running cases against one `top`.

use std::{
    env,
    io::Write as _,
    path::PathBuf,
    process::{Child, ChildStdin, Command, Stdio},
};

use super::{
    cases::{self, Case},
    cli::{Options, Output},
    leader::{LIMIT, Message},
    print,
    verdict::{self, Outcome},
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
    pub(super) fn top(&self, options: &Options) -> Result<Top> {
        let text = |path: &PathBuf| path.to_string_lossy().into_owned();
        let (selected, root) = (text(&self.selected), text(&self.host.cgroup_root));
        let mut arguments = vec!["--cgroup", &selected, "--cgroup-root", &root];
        if let Some(tier) = &options.hook_tier {
            arguments.extend(["--hook-tier", tier]);
        }
        Top::start(&self.host, &arguments)
    }
}

/// Runs the chosen cases; `true` when nothing failed.
pub(super) fn run(options: &Options) -> Result<bool> {
    let ground = Ground::new(options)?;
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..));
    let wanted = |case: &Case| {
        options.only.is_empty() || options.only.iter().any(|part| case.name.contains(part.as_str()))
    };
    let chosen: Vec<_> = cases::all().into_iter().filter(wanted).collect();
    if chosen.is_empty() {
        return Err(TestError::unexpected("--only", format!("no case has {:?} in its name", options.only)));
    }
    let (older, newer): (Vec<_>, Vec<_>) = chosen.into_iter().partition(|case| case.older);
    let waiting = older.iter().map(|case| Leader::start(case, &ground, seed)).collect::<Result<Vec<_>>>()?;
    let waiting = waiting.into_iter().map(Leader::ready).collect::<Result<Vec<_>>>()?;
    let top = ground.top(options)?;
    let mut outcomes = Vec::new();
    for leader in waiting {
        outcomes.push(leader.go()?);
    }
    for case in newer {
        outcomes.push(Leader::start(&case, &ground, seed)?.end()?);
    }
    let report = verdict::report(outcomes, &top.interrupt()?, seed);
    match options.output {
        Output::Table => print::table(&report),
        Output::Json => print::json(&report),
    }?;
    let all_must_run = env::var_os("CI").is_some_and(|ci| ci == "true");
    Ok(report.failed == 0 && !(all_must_run && report.skipped > 0))
}

/// A program of this workspace.
fn beside(name: &str) -> Result<PathBuf> {
    let own = env::current_exe().map_err(TestError::io("find this program"))?;
    Ok(own.with_file_name(name))
}

/// The process of a case.
struct Leader {
    case: String,
    process: Process,
    go: Option<ChildStdin>,
    ended: Option<Message>,
}

impl Leader {
    fn start(case: &Case, ground: &Ground, seed: u64) -> Result<Self> {
        let program = env::current_exe().map_err(TestError::io("find this program"))?;
        let mut command = Command::new(program);
        command.args(["case", &case.name, "--seed", &seed.to_string()]);
        command.arg("--selected").arg(&ground.selected).arg("--outside").arg(&ground.outside);
        command.stdin(Stdio::piped());
        let mut go = None;
        let process = Process::start_with(&mut command, |child: &mut Child| go = child.stdin.take())?;
        Ok(Self { case: case.name.clone(), process, go, ended: None })
    }

    /// Waits until everything is there that must be older than the trace; or until it has failed.
    fn ready(mut self) -> Result<Self> {
        match self.message() {
            Ok(Message::Ready) => Ok(self),
            Ok(ended) => {
                self.ended = Some(ended);
                Ok(self)
            }
            Err(error) => Err(error),
        }
    }

    /// Lets it go on, to its end.
    fn go(mut self) -> Result<Outcome> {
        // Where it has ended already, its outcome says why.
        if let Some(mut go) = self.go.take() {
            let _ = go.write_all(b"\n");
        }
        self.end()
    }

    fn end(mut self) -> Result<Outcome> {
        let message = self.ended.take().map_or_else(|| self.message(), Ok)?;
        let Message::Ended { counts, failure, unsupported } = message else {
            return Err(TestError::unexpected(&self.case, format!("{message:?} in place of its end")));
        };
        let ended = self.process.wait(LIMIT)?;
        let failure = failure.or_else(|| (!ended.status.success()).then(|| ended.stderr.clone()));
        Ok(Outcome { case: self.case, counts, failure, unsupported })
    }

    /// Its next line. A leader that ended without one has failed, and says why on standard error.
    fn message(&mut self) -> Result<Message> {
        match self.process.line(LIMIT)? {
            Some(line) => serde_json::from_str(&line)
                .map_err(|error| TestError::unexpected(&self.case, format!("{error}: {line}"))),
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
