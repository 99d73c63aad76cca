//! The target of a command, and the engine that traces it.

use std::time::{Duration, Instant};

use tokio::time::{sleep, sleep_until};
use traffictrace_view::{Snapshot, snapshot::State};

use super::{EngineArgs, HostError, Interruption, Printer, Target, TargetArgs, snapshot};
use crate::{
    engine::{Engine, SessionId, SessionSpec},
    flows::{Filter, GroupBy},
};

/// Interval at which the kernel's flow table is drained between two snapshots.
const TICK: Duration = Duration::from_millis(200);
/// Name of the only session.
const SESSION: &str = "host";

/// The flows that a snapshot lists.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Listed {
    /// At most this many flows, those with the most bytes. The snapshot also has the sums of each process.
    Largest(usize),
    /// At most this many flows, those with the most bytes. The others are folded into one flow for each process, protocol and
    /// direction.
    Folded(usize),
}

/// The times of snapshots, and their size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Time between two snapshots.
    pub(crate) interval: Duration,
    /// Number of snapshots after which the trace ends.
    pub(crate) count: Option<u64>,
    /// Time after which the trace ends.
    pub(crate) duration: Option<Duration>,
    /// Maximum number of flows that a snapshot lists.
    pub(crate) listed: usize,
}

/// A trace of this host, with one row for each connection.
#[derive(Debug)]
pub(crate) struct Traced {
    engine: Engine,
    target: Target,
    session: SessionId,
    /// Description of the target.
    pub(crate) subject: String,
}

impl Traced {
    /// Starts the trace and, if requested, waits for the container. `None` if `stopped` came first.
    pub(crate) async fn start(
        target: &TargetArgs,
        engine: &EngineArgs,
        filter: Filter,
        stopped: impl Future<Output = ()> + Unpin,
    ) -> Result<Option<Self>, HostError> {
        let mut target = Target::find(target)?;
        let session = SESSION.to_owned();
        let max_rows = engine.max_flows;
        let mut engine = engine.engine(target.root().to_owned());
        let spec = SessionSpec { filter, group_by: GroupBy::Connection, max_rows, ..SessionSpec::default() };
        target.start(&mut engine, &session, spec)?;
        if !target.wait(&mut engine, &session, stopped).await? {
            engine.stop(&session);
            return Ok(None);
        }
        let subject = target.heading();
        Ok(Some(Self { engine, target, session, subject }))
    }

    /// Waits until `until`, or until a part of the target may have started or ended.
    pub(crate) async fn wait(&mut self, until: Instant) -> Result<(), HostError> {
        tokio::select! {
            changed = self.target.changed() => changed,
            () = sleep_until(until.min(Instant::now() + TICK).into()) => Ok(()),
        }
    }

    /// Follows the target and drains the kernel's table. If nothing is left to trace, returns a description of what
    /// has ended.
    pub(crate) fn follow(&mut self) -> Result<Option<String>, HostError> {
        let gone = self.target.follow(&mut self.engine, &self.session)?;
        self.engine.tick();
        Ok(gone)
    }

    /// Returns the current numbers. The last snapshot includes every byte; others may be from a drain some milliseconds ago.
    pub(crate) fn snapshot(&mut self, listed: Listed, interval: Duration, is_last: bool) -> Option<Snapshot> {
        if is_last {
            self.engine.drain_fully();
        }
        let (counted, processes) = match listed {
            Listed::Largest(most) => {
                (self.engine.snapshot(&self.session, most)?, self.engine.processes(&self.session))
            }
            Listed::Folded(most) => (self.engine.snapshot_folded(&self.session, most)?, Vec::new()),
        };
        let Self { engine, target, .. } = self;
        let mut names_of = |cgroup| target.names_of(cgroup, || engine.cgroup_path(cgroup));
        Some(snapshot::of(&counted, &processes, &self.subject, interval, &mut names_of))
    }

    /// Ends the trace.
    pub(crate) fn stop(&mut self) {
        self.engine.stop(&self.session);
    }

    /// Prints a snapshot each interval, and a last one when `stopped` comes, the plan is over or nothing is left to trace.
    /// Then ends the trace and returns the last snapshot. The last one is printed even if the reader of the output is slow;
    /// when `stopped` comes a second time, this stops waiting.
    pub(crate) async fn each_interval(
        &mut self,
        plan: &Plan,
        mut printer: Printer,
        stopped: &mut Interruption,
    ) -> Result<Option<Snapshot>, HostError> {
        let (mut printed, mut due) = (0, Instant::now() + plan.interval);
        let end = plan.duration.map(|duration| Instant::now() + duration);
        let mut newest = None;
        loop {
            let tick = Instant::now() + TICK;
            let wake = if printer.is_busy() { tick } else { due.min(tick) };
            let wake = end.map_or(wake, |end| end.min(wake));
            let mut last = tokio::select! {
                biased;
                () = &mut *stopped => true,
                waited = self.wait(wake) => waited.map(|()| false)?,
            };
            last |= end.is_some_and(|end| Instant::now() >= end);
            if let Some(gone) = self.follow()? {
                eprintln!("Tracing ends: {gone} is gone.");
                last = true;
            }
            if printer.is_busy() && !last {
                continue;
            }
            // The last snapshot waits until the one before is printed. Others are skipped while the reader is slow.
            let wants_more = loop {
                tokio::select! {
                    biased;
                    finished = printer.finish() => break finished.map_err(HostError::Output)?,
                    () = &mut *stopped, if last => break false,
                    () = sleep(TICK) => self.engine.tick(),
                }
            };
            if !wants_more {
                break;
            }
            if last || Instant::now() >= due {
                let listed = Listed::Largest(plan.listed);
                let Some(mut snapshot) = self.snapshot(listed, plan.interval, last) else { break };
                printed += 1;
                due += plan.interval;
                last |= plan.count.is_some_and(|count| printed >= count);
                if last {
                    snapshot.state = State::Completed;
                    newest = Some(snapshot.clone());
                }
                printer.start(snapshot);
            }
            if last {
                tokio::select! {
                    biased;
                    finished = printer.finish() => finished.map_err(HostError::Output).map(drop)?,
                    () = &mut *stopped => {}
                }
                break;
            }
            // If this loop was delayed by more than an interval, the missed snapshots are left out.
            if due < Instant::now() {
                due = Instant::now() + plan.interval;
            }
        }
        self.stop();
        Ok(newest)
    }
}
