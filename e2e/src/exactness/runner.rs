//! The runner: runs cases while one `traffictrace top` traces them.

use std::{
    env,
    path::PathBuf,
    time::{Duration, Instant},
};

use super::{
    cases::{self, Case, When},
    cli::Options,
    leading::{Leader, Task, lead},
    print,
    screen::Screen,
    tally::Detail,
    verdict::{self, Report},
};
use crate::support::{
    Result, TestError,
    cgroup::Cgroup,
    needs::{self, Host},
    top::Top,
};

/// Duration of a case from which the runner reports it as slow on standard error.
const SLOW: Duration = Duration::from_secs(20);

/// The environment of a run: the host and the cgroups.
pub(super) struct Ground {
    pub(super) host: Host,
    pub(super) selected: PathBuf,
    pub(super) outside: PathBuf,
    /// The folder with both cgroups, which is removed last.
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

    /// Starts a `top` on the selected cgroup and waits until it traces.
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

/// Runs the chosen cases; returns true if nothing failed.
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

/// Runs cases under one `top`, which is asked for `protocol`, or for all protocols.
fn run_group(
    cases: &[Case],
    protocol: Option<&'static str>,
    ground: &Ground,
    options: &Options,
) -> Result<Report> {
    let start = |case: &Case| {
        let task = Task { case: case.name.clone(), seed: options.seed, ..Task::default() };
        Leader::start(task, ground)
    };
    let of = |when| cases.iter().filter(move |case| case.when == when);
    let older = of(When::Before).map(start).collect::<Result<Vec<_>>>()?;
    let mut leaders = older.into_iter().map(Leader::ready).collect::<Result<Vec<_>>>()?;
    let asked: Vec<_> = protocol.iter().flat_map(|name| ["--protocol", name]).collect();
    let screen = Screen::new(ground.top(options, &asked)?);
    leaders.iter_mut().for_each(Leader::go_on);
    for case in of(When::Together) {
        leaders.push(start(case)?);
    }
    let mut outcomes = lead(leaders, &screen)?;
    for case in of(When::Alone) {
        let begin = Instant::now();
        outcomes.push(start(case)?.end()?);
        if begin.elapsed() > SLOW {
            eprintln!("{} took {} s", case.name, begin.elapsed().as_secs());
        }
    }
    let mut top = screen.stop()?;
    let (left, open) = top.await_free_slots()?;
    let mut report = verdict::report(outcomes, &top.interrupt()?, Detail::Flows);
    report.slots_left(left, &open);
    Ok(report)
}

/// Returns the path of a program that was built beside this one.
fn beside(name: &str) -> Result<PathBuf> {
    let own = env::current_exe().map_err(TestError::io("find this program"))?;
    Ok(own.with_file_name(name))
}
