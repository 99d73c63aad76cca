//! Tracing of one session with stacks, until its time is over.

use std::{
    path::{Path, PathBuf},
    pin::{Pin, pin},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::time::sleep_until;
use traffictrace_profile::{About, Graph, Place};

use super::{args::FlamegraphArgs, error::FlamegraphError, progress::Progress};
use crate::{
    engine::{Engine, SessionId, SessionSpec, StackSpec},
    flows::GroupBy,
    host::{HostError, Names, Target, interruption},
    kernel::{Readable, sees_all_processes},
};

/// Interval at which the kernel's records are read.
const TICK: Duration = Duration::from_millis(100);
/// Name of the only session.
const SESSION: &str = "flamegraph";

/// Traces until Ctrl-C, SIGTERM, `--duration`, or the end of the target. `None` if the tracing was ended before the awaited
/// container started.
pub(super) async fn trace(args: &FlamegraphArgs) -> Result<Option<Graph>, FlamegraphError> {
    if !sees_all_processes() {
        return Err(FlamegraphError::OtherProcessIds);
    }
    let mut stopped: Pin<&mut _> = pin!(interruption()?);
    let filter = args.filter.read()?;
    let mut target = Target::find(&args.target)?;
    let session = SESSION.to_owned();
    let mut engine = args.engine.engine(target.root().to_owned());
    let spec = SessionSpec {
        filter,
        group_by: GroupBy::Process,
        max_rows: args.engine.max_flows,
        stacks: Some(StackSpec { every_call: args.every_call, kernel: args.kernel }),
        ..SessionSpec::default()
    };
    target.start(&mut engine, &session, spec)?;
    if !target.wait(&mut engine, &session, stopped.as_mut()).await? {
        return Ok(None);
    }
    eprintln!("Tracing {}. Ctrl-C ends.", target.heading());

    let (began, begin) = (Timestamp::now(), Instant::now());
    let end = begin + args.duration;
    let mut progress = Progress::new(args.duration);
    let (mut records, mut ticked) = (Readable::default(), Instant::now());
    loop {
        let tick = ticked + TICK;
        records.follow(engine.records_readable()).map_err(HostError::Wait)?;
        let mut has_changed = false;
        let mut last = tokio::select! {
            biased;
            () = stopped.as_mut() => true,
            readable = records.readable() => readable.map(|()| false).map_err(HostError::Wait)?,
            changed = target.changed() => changed.map(|()| has_changed = true).map(|()| false)?,
            () = sleep_until(end.min(tick).into()) => Instant::now() >= end,
        };
        if !last && !has_changed && Instant::now() < tick {
            engine.read_records();
            continue;
        }
        ticked = Instant::now();
        if let Some(gone) = target.follow(&mut engine, &session)? {
            progress.end();
            eprintln!("Tracing ends: {gone} is gone.");
            last = true;
        }
        engine.tick();
        if last {
            break;
        }
        progress.show(begin.elapsed(), || counted(&engine, &session));
    }
    let lasted = begin.elapsed();
    progress.end();
    let mut place_of = |cgroup, folder: &dyn Fn() -> Option<String>| {
        let names = target.names_of(cgroup, || folder().map(PathBuf::from));
        Some(names.map_or_else(|| place(folder().as_deref()), named))
    };
    let mut graph = engine.graph(&session, &mut place_of).unwrap_or_default();
    engine.stop(&session);
    graph.about = About {
        what: target.heading(),
        began: began.as_nanosecond().try_into().unwrap_or_default(),
        lasted: lasted.as_nanos().try_into().unwrap_or(i64::MAX),
    };
    Ok(Some(graph))
}

/// Number of bytes moved and of stacks taken so far.
fn counted(engine: &Engine, session: &SessionId) -> (u64, u64) {
    let bytes = engine.processes(session).iter().map(|process| process.totals.bytes()).sum();
    (bytes, engine.stacks_taken(session))
}

/// Names a container as its runtime does.
fn named(names: Names) -> Place {
    let pod = Names { container: None, ..names.clone() };
    Place { pod: pod.to_string(), container: names.container.unwrap_or_default() }
}

/// Names a container by its cgroup's folder.
fn place(folder: Option<&str>) -> Place {
    let name = folder.map(Path::new).map(|folder| {
        crate::cgroups::container_of(folder)
            .map_or_else(|| folder.display().to_string(), |found| found.to_string())
    });
    Place { pod: String::new(), container: name.unwrap_or_default() }
}
