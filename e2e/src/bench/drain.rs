//! CPU time and memory that the process which reads and ranks flows uses when there are many.

use std::time::Duration;

use super::{Bench, child, interrupt, load::Kind, stats::Estimate, table, usage, worker::LoadWorker};
use crate::support::{Result, TestError, bpf, cgroup::Cgroup, process::Process};

const LIMIT: Duration = Duration::from_secs(120);
/// Number of one-second intervals that are measured.
const INTERVALS: u32 = 10;
const SIZES: [u32; 4] = [1_000, 10_000, 100_000, 1_000_000];

pub(super) fn run(bench: &Bench, most: u32) -> Result<()> {
    let mut rows = Vec::new();
    for flows in SIZES.into_iter().filter(|flows| *flows <= most) {
        eprintln!("drain: {flows} flows");
        rows.push(measure(bench, flows)?);
    }
    table::print(
        "CPU time of `traffictrace top` for one interval (drain, rank, print 20 rows), medians in ms [95 % interval]; memory \
         in MiB.",
        &["live flows", "all idle", "all moved", "anonymous", "resident", "kernel maps"],
        &rows,
    );
    Ok(())
}

fn measure(bench: &Bench, flows: u32) -> Result<Vec<String>> {
    let cgroup = Cgroup::new(&bench.host.cgroup_root)?;
    let mut command = child::command(&bench.host.traffictrace);
    command.args(["top", "-o", "json", "--top", "20", "--interval", "1s", "--cgroup"]).arg(cgroup.path());
    // The flow table stays less than half full, as in normal use: the product reads a fuller table more often, which
    // would cost more CPU.
    let top = Process::start(command.args(["--max-flows", &(flows * 2 + flows / 4 + 1000).to_string()]))?;
    next(&top)?;
    let mut peers = LoadWorker::start_cold(Kind::Peers, cgroup.path(), Some(bench.cpu), flows)?;
    peers.work(1)?;
    // Waits until all flows are known and ranked.
    for _ in 0..3 {
        next(&top)?;
    }
    let idle = cpu_of_intervals(&top, |_| Ok(()))?;
    // The sender uses each flow once an interval, which it manages for up to 100,000 flows.
    let moved =
        if flows <= 100_000 { Some(cpu_of_intervals(&top, |_| peers.work(1).map(drop))?) } else { None };
    let resident = |name| usage::memory(top.pid(), name).map(|kib| format!("{:.0}", kib / 1024.0));
    let (anonymous, all) = (resident("RssAnon")?, resident("VmRSS")?);
    let held = bpf::held_by(top.pid())?.maps;
    let maps = bpf::show("map")?;
    let kernel: f64 = maps
        .iter()
        .filter(|map| map["id"].as_u64().is_some_and(|id| held.contains(&id)))
        .map(|map| map["bytes_memlock"].as_f64().unwrap_or(0.0))
        .sum();
    top.signal(rustix::process::Signal::INT)?;
    top.wait(LIMIT)?;
    Ok(vec![
        flows.to_string(),
        format!("{idle:.1}"),
        moved.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1}")),
        anonymous,
        all,
        format!("{:.0}", kernel / 1048576.0),
    ])
}

/// Measures the milliseconds of CPU that a process uses in one interval.
fn cpu_of_intervals(top: &Process, mut between: impl FnMut(u32) -> Result<()>) -> Result<Estimate> {
    // Skips the snapshots that `top` has printed already, so that the intervals below begin with a new one.
    while top.line(Duration::ZERO).is_ok_and(|line| line.is_some()) {}
    next(top)?;
    let mut used = Vec::new();
    let mut before = usage::cpu(top.pid())?;
    for interval in 0..INTERVALS {
        between(interval)?;
        next(top)?;
        let after = usage::cpu(top.pid())?;
        used.push(after - before);
        before = after;
    }
    Ok(Estimate::of(&used))
}

fn next(top: &Process) -> Result<()> {
    interrupt::check()?;
    top.line(LIMIT)?.map(drop).ok_or_else(|| TestError::unexpected("top", "it ended"))
}
