//! `traffictrace http`: the HTTP requests of one container, cgroup or process, without Kubernetes.

mod args;
mod clock;
mod json;
mod names;
mod printer;
mod selection;
mod summary;
mod tally;
#[cfg(test)]
mod testing;
mod text;

use std::{
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::{sleep_until, timeout};

pub(crate) use self::args::HttpArgs;
use self::{
    args::Output,
    printer::{Page, Printer},
    summary::Summaries,
    tally::{Tally, by_class, counted},
};
use crate::{
    engine::{HttpSpec, SessionSpec},
    flows::GroupBy,
    host::{HostError, Target, interruption},
    kernel::Readable,
    logging,
};

/// Longest time between two looks at what the kernel has handed over.
const TICK: Duration = Duration::from_millis(100);
/// The only session here.
const SESSION: &str = "http";
/// The protocol that carries HTTP.
const PROTOCOL: &str = "TCP";

/// Shows requests until Ctrl-C, SIGTERM, `--duration`, or the end of what is traced; then says what was counted and what
/// is missing.
pub(crate) async fn run(args: HttpArgs) -> Result<(), HostError> {
    logging::init(logging::LevelFilter::WARN);
    let mut stopped = pin!(interruption()?);
    let filter = args.filter.read(&[PROTOCOL.to_owned()])?;
    let mut target = Target::find(&args.target)?;
    let session = SESSION.to_owned();
    let mut engine = args.engine.engine(target.root().to_owned());
    let mut summaries = args.summary.then(|| Summaries::new(&args.selection));
    let each = summaries.as_ref().is_none_or(Summaries::needs_each);
    let spec = SessionSpec {
        filter,
        group_by: GroupBy::Process,
        max_rows: args.engine.max_flows,
        http: Some(HttpSpec { each, ..HttpSpec::default() }),
        ..SessionSpec::default()
    };
    target.start(&mut engine, &session, spec)?;
    eprintln!("Tracing {}. Ctrl-C ends.", target.heading());

    let args = Arc::new(args);
    let mut printer = Printer::new(&args);
    printer.start(Page::Heading);
    let (mut records, mut ticked) = (Readable::default(), Instant::now());
    let end = args.duration.map(|duration| Instant::now() + duration);
    let mut due = Instant::now() + args.interval;
    loop {
        let tick = ticked + TICK;
        let wake = end.map_or(tick, |end| end.min(tick));
        records.follow(engine.http_readable()).map_err(HostError::Wait)?;
        let mut last = tokio::select! {
            biased;
            () = stopped.as_mut() => true,
            readable = records.readable() => readable.map(|()| false).map_err(HostError::Wait)?,
            () = sleep_until(wake.into()) => end.is_some_and(|end| Instant::now() >= end),
        };
        if Instant::now() >= tick {
            ticked = Instant::now();
            if let Some(gone) = target.follow(&mut engine, &session)? {
                eprintln!("Tracing ends: {gone} is gone.");
                last = true;
            }
            engine.tick();
        } else {
            engine.tick_http();
        }
        if let Some(summaries) = &mut summaries {
            summaries.record(&engine.take_exchanges(&session), &args.selection);
        }
        if printer.is_busy() && !last {
            continue;
        }
        // At the end, what is printed last waits for what is being printed.
        let wants_more = loop {
            match timeout(TICK, printer.finish()).await {
                Ok(result) => break result.map_err(HostError::Output)?,
                Err(_) => engine.tick(),
            }
        };
        if !wants_more {
            break;
        }
        if last {
            // The last requests must have their process, and the last records be read.
            engine.drain_fully();
        }
        match &mut summaries {
            None => {
                let requests = engine.take_exchanges(&session);
                if !requests.is_empty() {
                    printer.start(Page::Requests(requests));
                }
            }
            Some(summaries) if last || Instant::now() >= due => {
                summaries.record(&engine.take_exchanges(&session), &args.selection);
                let tally = Tally::read(&mut engine, &session);
                if let Some(summary) = summaries.take(&mut engine, &session) {
                    printer.start(Page::Summary(summary, tally));
                }
                // After a stall, what was missed is not made up for with a burst of tables.
                due = (due + args.interval).max(Instant::now());
            }
            Some(_) => {}
        }
        if last {
            let tally = Tally::read(&mut engine, &session);
            if printer.finish().await.map_err(HostError::Output)? {
                printer.start(Page::Ending(tally));
                printer.finish().await.map_err(HostError::Output)?;
            }
            if args.output == Output::Text {
                conclude(&tally);
            }
            break;
        }
    }
    engine.stop(&session);
    Ok(())
}

/// Says on standard error what was seen and what is missing.
fn conclude(tally: &Tally) {
    let sums = &tally.totals.sums;
    eprintln!("{}{}.", counted(sums.requests(), "request"), by_class(sums));
    for sentence in tally.sentences() {
        eprintln!("{sentence}");
    }
}
