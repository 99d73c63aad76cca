//! `tt-exact http`: compares every unusual form of HTTP with the output of `traffictrace http` for both ends. One
//! process has both ends of each connection, so it knows what was sent.
//!
//! The command needs no server and no client from a package, so it also runs in an initramfs. The exchanges of each
//! case are found by the address of their client; the product's last line is compared with all cases together.

mod dialogue;
mod disorder;
mod early;
mod forms;
mod frames;
pub(super) mod hostile;
mod known;
mod link;
mod play;

use std::{
    env,
    io::{self, Write as _},
    process::Command,
    time::Duration,
};

use known::{Played, Shown, compare_ending};

use super::{
    cli::{Options, PlayArgs},
    error::{CaseError, Done},
    runner::Ground,
    sys,
};
use crate::support::{
    Result, TestError,
    http::{HttpLog, Request},
    process::Process,
};

/// Time limit of all cases together; under emulation everything takes many times as long.
const LIMIT: Duration = Duration::from_secs(300);

/// A case: a function that plays connections and returns their exchanges.
struct Case {
    name: String,
    run: Box<dyn Fn(u64) -> Done<Played>>,
}

fn cases() -> Vec<Case> {
    let forms = forms::all().into_iter().map(|dialogue| Case {
        name: format!("forms/{}", dialogue.name),
        run: Box::new(move |_| Ok(Played { connections: vec![play::play(&dialogue)?], ..Played::default() })),
    });
    forms.chain(early::cases()).chain(disorder::cases()).collect()
}

fn is_wanted(only: &[String], name: &str) -> bool {
    only.is_empty() || only.iter().any(|part| name.contains(part.as_str()))
}

/// Plays the cases in this process, which joins the traced cgroup, and prints a line for each.
pub(super) fn play_all(args: &PlayArgs) -> Done {
    sys::end_with_parent(LIMIT)?;
    std::fs::write(args.selected.join("cgroup.procs"), "0")?;
    for case in cases().iter().filter(|case| is_wanted(&args.only, &case.name)) {
        let played = match (case.run)(args.seed) {
            Ok(played) => played,
            Err(CaseError::Unsupported(why)) => Played { unsupported: Some(why), ..Played::default() },
            Err(error) => Played { failure: Some(error.to_string()), ..Played::default() },
        };
        let played = Played { case: case.name.clone(), pid: std::process::id(), ..played };
        let line =
            serde_json::to_string(&played).map_err(|error| CaseError::unexpected(error.to_string()))?;
        writeln!(io::stdout().lock(), "{line}")?;
    }
    Ok(())
}

/// Runs the cases while one `traffictrace http` traces them; returns true if nothing differs.
pub(super) fn run(options: &Options) -> Result<bool> {
    let ground = Ground::new(options)?;
    let (selected, root) = (ground.selected.to_string_lossy(), ground.host.cgroup_root.to_string_lossy());
    let mut arguments = vec!["--cgroup", &selected, "--cgroup-root", &root];
    if let Some(tier) = &options.hook_tier {
        arguments.extend(["--hook-tier", tier]);
    }
    let log = HttpLog::start(&ground.host, &arguments)?;
    let program = env::current_exe().map_err(TestError::io("find this program"))?;
    let mut command = Command::new(program);
    command
        .arg("http-play")
        .arg("--selected")
        .arg(&ground.selected)
        .args(["--seed", &options.seed.to_string()]);
    for only in &options.only {
        command.args(["--only", only]);
    }
    let ended = Process::start(&mut command)?.wait(LIMIT)?;
    let cases: Vec<Played> = ended
        .lines
        .iter()
        .map(|line| {
            serde_json::from_str(line)
                .map_err(|error| TestError::unexpected("a case", format!("{error}: {line}")))
        })
        .collect::<Result<_>>()?;
    if cases.is_empty() || !ended.status.success() {
        return Err(TestError::unexpected(
            "the player of the cases",
            format!("{}: {}", ended.status, ended.stderr),
        ));
    }
    let (requests, ending) = log.interrupt::<Request>()?;
    let mut report = Report::default();
    let (mut shown, mut missing) = (Shown::new(requests), 0);
    for case in &cases {
        let (notes, absent) = shown.take(case);
        missing += if case.disordered { absent } else { 0 };
        report.case(case, notes, absent);
    }
    // If a case failed halfway, the addresses of its connections are unknown.
    if cases.iter().all(|case| case.failure.is_none()) {
        let mut notes: Vec<_> =
            shown.rest().map(|request| format!("belongs to no case: {request:?}")).collect();
        notes.extend(compare_ending(&cases, missing, &ending));
        report.line("totals", notes, None);
    }
    report.print(options.seed)
}

/// The lines of the report.
#[derive(Default)]
struct Report {
    text: String,
    ok: u32,
    skipped: u32,
    failed: u32,
}

impl Report {
    fn case(&mut self, case: &Played, mut notes: Vec<String>, absent: u64) {
        if let Some(why) = &case.unsupported {
            self.skipped += 1;
            self.text += &format!("SKIPPED: {}\n         {why}\n", case.case);
            return;
        }
        notes.extend(case.failure.iter().map(|why| format!("it did not come to its end: {why}")));
        let told = case.note.as_ref().map(|note| format!("{note}; {absent} not observed"));
        self.line(&case.case, notes, told);
    }

    fn line(&mut self, name: &str, notes: Vec<String>, told: Option<String>) {
        let verdict = if notes.is_empty() { "ok" } else { "FAIL" };
        *if notes.is_empty() { &mut self.ok } else { &mut self.failed } += 1;
        self.text += &format!("{verdict:<8} {name}\n");
        told.iter().chain(&notes).for_each(|note| self.text += &format!("         {note}\n"));
    }

    fn print(self, seed: u64) -> Result<bool> {
        let Self { text, ok, skipped, failed } = self;
        let text = format!("{text}{ok} ok, {skipped} skipped, {failed} failed; seed {seed}\n");
        io::stdout().lock().write_all(text.as_bytes()).map_err(TestError::io("print the report"))?;
        let all_must_run = env::var_os("CI").is_some_and(|ci| ci == "true");
        Ok(failed == 0 && !(all_must_run && skipped > 0))
    }
}
