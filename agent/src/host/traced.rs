//! What a command traces, and the engine that does it.

use std::time::{Duration, Instant};

use tokio::time::{sleep, sleep_until};
use traffictrace_view::{Snapshot, snapshot::State};

use super::{EngineArgs, HostError, Interruption, Printer, Target, TargetArgs, snapshot};
use crate::{
    engine::{Engine, SessionId, SessionSpec},
    flows::{Filter, GroupBy},
};

/// How often the kernel's flow table is looked at between two intervals.
const TICK: Duration = Duration::from_millis(200);
/// The only session here.
const SESSION: &str = "host";

/// Flows that a snapshot lists.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Listed {
    /// So many at most, those with the most bytes. Beside them are the sums of each process.
    Largest(usize),
    /// So many at most, those with the most bytes, and the others as one flow for each process, protocol and direction.
    Folded(usize),
}

/// When snapshots are made, and how large.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Time between two snapshots.
    pub(crate) interval: Duration,
    /// Number of snapshots after which the trace ends.
    pub(crate) count: Option<u64>,
    /// Time after which the trace ends.
    pub(crate) duration: Option<Duration>,
    /// Most flows that a snapshot lists.
    pub(crate) listed: usize,
}

/// A trace of this host with a row for each connection.
#[derive(Debug)]
pub(crate) struct Traced {
    engine: Engine,
    target: Target,
    session: SessionId,
    /// What is traced, in words.
    pub(crate) subject: String,
}

impl Traced {
    /// Begins to trace, and waits for the container if that is asked for. Nothing, if `stopped` came before.
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

    /// Waits until `until`, or until something that is traced may have come or gone.
    pub(crate) async fn wait(&mut self, until: Instant) -> Result<(), HostError> {
        tokio::select! {
            changed = self.target.changed() => changed,
            () = sleep_until(until.min(Instant::now() + TICK).into()) => Ok(()),
        }
    }

    /// Follows what is traced and reads the kernel's table; what is gone, if the trace has nothing left.
    pub(crate) fn follow(&mut self) -> Result<Option<String>, HostError> {
        let gone = self.target.follow(&mut self.engine, &self.session)?;
        self.engine.tick();
        Ok(gone)
    }

    /// The numbers now. The last ones have the last byte: others may go by a drain some milliseconds old.
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

    /// Prints a snapshot each interval and a last one when `stopped` comes, the plan is over or nothing is left to trace;
    /// then ends the trace and returns the last snapshot. The last one waits for a reader of the output that has stopped; when
    /// `stopped` comes again, nothing waits any more.
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
            // The last document waits for the one before; others are left out while the reader is slow.
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
            // After a stall, what was missed is not made up for with a burst of tables.
            if due < Instant::now() {
                due = Instant::now() + plan.interval;
            }
        }
        self.stop();
        Ok(newest)
    }
}
