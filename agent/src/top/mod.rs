//! `traffictrace top`: who uses the network in one container, cgroup or process, without Kubernetes.

mod args;
mod printer;
mod screen;
mod snapshot;

use std::time::{Duration, Instant};

use tokio::time::{timeout, timeout_at};
use traffictrace_view::{Snapshot, live, losses};

pub(crate) use self::args::TopArgs;
use self::{args::Output, printer::Printer};
use crate::{
    engine::{Engine, SessionId, SessionSpec},
    flows::GroupBy,
    host::{HostError, Target, interruption},
    logging,
};

/// How often the kernel's flow table is looked at between two intervals.
const TICK: Duration = Duration::from_millis(200);
/// The only session here.
const SESSION: &str = "top";

/// Traces until Ctrl-C, SIGTERM, `--count` intervals, `--duration`, or the end of what is traced; then says a last time what
/// was counted. On a terminal it shows the live screen, unless plain output is asked for.
pub(crate) async fn run(args: TopArgs) -> Result<(), HostError> {
    logging::init(logging::LevelFilter::WARN);
    let stopped = std::pin::pin!(interruption()?);
    let mut traced = Traced::start(&args)?;
    if args.wants_screen() && live::is_possible() {
        return screen::run(&args, &mut traced, stopped).await;
    }
    eprintln!("Tracing {}. Ctrl-C ends.", traced.subject);
    print(&args, &mut traced, stopped).await
}

/// Prints each interval.
async fn print(
    args: &TopArgs,
    traced: &mut Traced,
    mut stopped: impl Future<Output = ()> + Unpin,
) -> Result<(), HostError> {
    let (mut printed, mut due) = (0, Instant::now() + args.interval());
    let end = args.duration.map(|duration| Instant::now() + duration);
    let mut printer = Printer::new(args);
    loop {
        let tick = Instant::now() + TICK;
        let wake = if printer.is_busy() { tick } else { due.min(tick) };
        let wake = end.map_or(wake, |end| end.min(wake));
        let mut last = timeout_at(wake.into(), &mut stopped).await.is_ok();
        last |= end.is_some_and(|end| Instant::now() >= end);
        if let Some(gone) = traced.follow()? {
            eprintln!("Tracing ends: {gone} is gone.");
            last = true;
        }
        if printer.is_busy() && !last {
            continue;
        }
        // The last document waits for the one before; others are left out while the reader is slow.
        let wants_more = loop {
            match timeout(TICK, printer.finish()).await {
                Ok(result) => break result.map_err(HostError::Output)?,
                Err(_) => traced.engine.tick(),
            }
        };
        if !wants_more {
            break;
        }
        let is_due = last || Instant::now() >= due;
        if is_due {
            let Some(snapshot) = traced.snapshot(args.listed(), args.interval(), last) else { break };
            printed += 1;
            due += args.interval();
            last |= args.count.is_some_and(|count| printed >= count);
            // CSV has no line for what is in no flow.
            if last && args.output == Output::Csv {
                losses::in_words(&snapshot).iter().for_each(|loss| eprintln!("{loss}"));
            }
            printer.start(snapshot);
        }
        if last {
            printer.finish().await.map_err(HostError::Output)?;
            break;
        }
        // After a stall, what was missed is not made up for with a burst of tables.
        if due < Instant::now() {
            due = Instant::now() + args.interval();
        }
    }
    traced.stop();
    Ok(())
}

/// What is traced, and the engine that does it.
struct Traced {
    engine: Engine,
    target: Target,
    session: SessionId,
    /// What is traced, in words.
    subject: String,
}

impl Traced {
    fn start(args: &TopArgs) -> Result<Self, HostError> {
        let filter = args.filter.read(&args.protocol)?;
        let target = Target::find(&args.target)?;
        let session = SESSION.to_owned();
        let mut engine = args.engine.engine(target.root().to_owned());
        let max_rows = args.engine.max_flows;
        let spec = SessionSpec { filter, group_by: GroupBy::Connection, max_rows, ..SessionSpec::default() };
        target.start(&mut engine, &session, spec)?;
        let subject = target.heading();
        Ok(Self { engine, target, session, subject })
    }

    /// Follows what is traced and reads the kernel's table; what is gone, if the trace has nothing left.
    fn follow(&mut self) -> Result<Option<String>, HostError> {
        let gone = self.target.follow(&mut self.engine, &self.session)?;
        self.engine.tick();
        Ok(gone.map(|gone| gone.to_string()))
    }

    /// The numbers now, with so many flows at most. The last ones have the last byte: others may go by a drain some milliseconds old.
    fn snapshot(&mut self, listed: usize, interval: Duration, is_last: bool) -> Option<Snapshot> {
        if is_last {
            self.engine.drain_fully();
        }
        let snapshot = self.engine.snapshot(&self.session, listed)?;
        let processes = self.engine.processes(&self.session);
        Some(snapshot::of(&snapshot, &processes, &self.subject, interval))
    }

    fn stop(&mut self) {
        self.engine.stop(&self.session);
    }
}
