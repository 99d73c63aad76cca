//! `traffictrace top`: who uses the network in one container, cgroup or process, without Kubernetes.

mod args;
mod json;
mod printer;
mod table;

use std::time::{Duration, Instant};

use tokio::time::{timeout, timeout_at};

pub(crate) use self::args::TopArgs;
use self::printer::Printer;
use crate::{
    engine::SessionSpec,
    flows::GroupBy,
    host::{HostError, Target, interruption},
    logging,
};

/// How often the kernel's flow table is looked at between two tables on the screen.
const TICK: Duration = Duration::from_millis(200);
/// The only session here.
const SESSION: &str = "top";

/// Traces until Ctrl-C, SIGTERM, `--count` intervals, `--duration`, or the end of what is traced; then says a last time what
/// was counted.
pub(crate) async fn run(args: TopArgs) -> Result<(), HostError> {
    logging::init(logging::LevelFilter::WARN);
    let mut stopped = std::pin::pin!(interruption()?);
    let filter = args.filter.read(&args.protocol)?;
    let mut target = Target::find(&args.target)?;
    let session = SESSION.to_owned();
    let mut engine = args.engine.engine(target.root().to_owned());
    let max_rows = args.engine.max_flows;
    let spec = SessionSpec { filter, group_by: GroupBy::Connection, max_rows, ..SessionSpec::default() };
    target.start(&mut engine, &session, spec)?;
    let heading = target.heading();
    eprintln!("Tracing {heading}. Ctrl-C ends.");

    let (mut printed, mut due) = (0, Instant::now() + args.interval());
    let end = args.duration.map(|duration| Instant::now() + duration);
    let mut printer = Printer::new(&args, &heading);
    loop {
        let tick = Instant::now() + TICK;
        let wake = if printer.is_busy() { tick } else { due.min(tick) };
        let wake = end.map_or(wake, |end| end.min(wake));
        let mut last = timeout_at(wake.into(), stopped.as_mut()).await.is_ok();
        last |= end.is_some_and(|end| Instant::now() >= end);
        if let Some(gone) = target.follow(&mut engine, &session)? {
            eprintln!("Tracing ends: {gone} is gone.");
            last = true;
        }
        engine.tick();
        if printer.is_busy() && !last {
            continue;
        }
        // The last document waits for the one before; others are left out while the reader is slow.
        let wants_more = loop {
            match timeout(TICK, printer.finish()).await {
                Ok(result) => break result.map_err(HostError::Output)?,
                Err(_) => engine.tick(),
            }
        };
        if !wants_more {
            break;
        }
        if last || Instant::now() >= due {
            // A snapshot may go by a drain some milliseconds old; the last document must have the last byte.
            if last {
                engine.drain_fully();
            }
            let Some(snapshot) = engine.snapshot(&session, args.top()) else { break };
            printer.start(snapshot, engine.processes(&session));
            printed += 1;
            due += args.interval();
        }
        if last || args.count.is_some_and(|count| printed >= count) {
            printer.finish().await.map_err(HostError::Output)?;
            break;
        }
        // After a stall, what was missed is not made up for with a burst of tables.
        if due < Instant::now() {
            due = Instant::now() + args.interval();
        }
    }
    engine.stop(&session);
    Ok(())
}
