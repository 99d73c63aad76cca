//! `traffictrace top`: who uses the network in one container, cgroup or process, without Kubernetes.

mod args;
mod error;
mod filter;
mod json;
mod printer;
mod table;
mod target;

use std::time::{Duration, Instant};

use tokio::{
    signal::unix::{SignalKind, signal},
    time::{timeout, timeout_at},
};

pub(crate) use self::args::TopArgs;
use self::{error::TopError, printer::Printer, target::Target};
use crate::{
    engine::{Engine, EngineOptions},
    logging,
};

/// How often the kernel's flow table is looked at between two tables on the screen.
const TICK: Duration = Duration::from_millis(200);
/// The only session here.
const SESSION: &str = "top";

/// Traces until Ctrl-C, SIGTERM, `--count` intervals, or the end of what is traced; then says a last time what was
/// counted.
pub(crate) async fn run(args: TopArgs) -> Result<(), TopError> {
    logging::init(logging::LevelFilter::WARN);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(TopError::Signal)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(TopError::Signal)?;
    let filter = args.filter.read()?;
    let mut target = Target::find(&args)?;
    let session = SESSION.to_owned();
    let mut engine = Engine::new(EngineOptions {
        slots: args.max_flows,
        cgroup_root: target.root().to_owned(),
        hook_tier: args.hook_tier,
    });
    target.start(&mut engine, &session, filter, args.max_flows)?;
    let heading = target.heading();
    eprintln!("Tracing {heading}. Ctrl-C ends.");

    let mut stopped = std::pin::pin!(async {
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
    });
    let (mut printed, mut due) = (0, Instant::now() + args.interval());
    let mut printer = Printer::new(&args, &heading);
    loop {
        let tick = Instant::now() + TICK;
        let wake = if printer.is_busy() { tick } else { due.min(tick) };
        let mut last = timeout_at(wake.into(), stopped.as_mut()).await.is_ok();
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
                Ok(result) => break result.map_err(TopError::Output)?,
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
            printer.finish().await.map_err(TopError::Output)?;
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
