//! Nanoseconds for each event, by the kernel's own statistics (`kernel.bpf_stats_enabled`).

use std::{collections::BTreeMap, fs};

use super::{
    Effort,
    load::{self, Kind},
    setting::{Setting, Stage},
    table,
};
use crate::support::{Result, TestError, bpf, needs::Host};

const SYSCTL: &str = "/proc/sys/kernel/bpf_stats_enabled";

const LOADS: [(Kind, &str); 3] = [
    (Kind::PingPong, "TCP ping-pong"),
    (Kind::Connect, "connect, ask, close"),
    (Kind::UdpPingPong, "UDP ping-pong"),
];

/// The kernel's statistics, switched back to what they were at the end.
struct Statistics {
    before: String,
}

impl Statistics {
    fn on() -> Result<Self> {
        let before = fs::read_to_string(SYSCTL).map_err(TestError::io(format!("read {SYSCTL}")))?;
        fs::write(SYSCTL, "1").map_err(TestError::io(format!("write {SYSCTL}")))?;
        Ok(Self { before })
    }
}

impl Drop for Statistics {
    fn drop(&mut self) {
        if let Err(error) = fs::write(SYSCTL, self.before.trim()) {
            eprintln!("cannot set {SYSCTL} back to {}: {error}", self.before.trim());
        }
    }
}

/// Time and runs of each program of a process, by name.
fn counters(pid: u32) -> Result<BTreeMap<String, (f64, f64)>> {
    let held = bpf::held_by(pid)?.programs;
    let programs = bpf::show("prog")?;
    let held = programs.iter().filter(|program| program["id"].as_u64().is_some_and(|id| held.contains(&id)));
    Ok(held
        .filter_map(|program| {
            let number = |field: &str| program[field].as_f64().unwrap_or(0.0);
            Some((program["name"].as_str()?.to_owned(), (number("run_time_ns"), number("run_cnt"))))
        })
        .collect())
}

/// Which empty program stands for each of the product's: the hook's own.
fn hook(program: &str) -> &str {
    program.trim_start_matches("tt_").trim_start_matches("empty_")
}

pub(super) fn run(host: &Host, effort: Effort) -> Result<()> {
    let stage = Stage::new(host)?;
    let _statistics = Statistics::on()?;
    let settings = [Setting::Empty, Setting::NotSelected, Setting::Selected];
    // (load, setting, program) -> ns of each round
    let mut measured: BTreeMap<(usize, usize, String), Vec<f64>> = BTreeMap::new();
    for round in 0..effort.rounds {
        eprintln!("events: round {} of {}", round + 1, effort.rounds);
        let mut order: Vec<usize> = (0..settings.len()).collect();
        fastrand::shuffle(&mut order);
        for at in order {
            let attached = settings[at].attach(host, &stage)?;
            let pid = attached.pid().unwrap_or_else(std::process::id);
            for (number, (kind, _)) in LOADS.iter().enumerate() {
                let before = counters(pid)?;
                load::rate(*kind, effort.millis, stage.load())?;
                for (program, (time, runs)) in counters(pid)? {
                    let (time_before, runs_before) = before.get(&program).copied().unwrap_or_default();
                    let runs = runs - runs_before;
                    // Programs of other hooks run now and then as well; their figures mean little.
                    if runs >= 1000.0 {
                        let list = measured.entry((number, at, hook(&program).to_owned())).or_default();
                        list.push((time - time_before) / runs);
                    }
                }
            }
            attached.end()?;
        }
    }
    let value = |load: usize, setting: usize, hook: &str| {
        measured.get(&(load, setting, hook.to_owned())).map(|values| table::median(values))
    };
    let mut rows = Vec::new();
    for (number, (_, load)) in LOADS.iter().enumerate() {
        let hooks: Vec<&String> = measured
            .keys()
            .filter(|(load, setting, _)| *load == number && *setting == 2)
            .map(|(.., hook)| hook)
            .collect();
        for hook in hooks {
            let Some(empty) = value(number, 0, hook) else { continue };
            let cell = |setting: usize| {
                value(number, setting, hook)
                    .map_or_else(String::new, |ns| format!("{ns:.0} ({:+.0})", ns - empty))
            };
            rows.push(vec![(*load).to_owned(), hook.clone(), format!("{empty:.0}"), cell(1), cell(2)]);
        }
    }
    table::print(
        "Run time of each program in ns, in brackets against an empty program on the same hook (medians):",
        &["load", "program", "empty", "not selected", "selected"],
        &rows,
    );
    Ok(())
}
