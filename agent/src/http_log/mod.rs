//! `traffictrace http`: shows the HTTP requests of containers, a cgroup or a process, without Kubernetes.

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
    cell::Cell,
    collections::hash_map::Entry,
    pin::pin,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::{sleep, sleep_until, timeout};
use traffictrace_crd::human;

pub(crate) use self::args::HttpArgs;
use self::{
    args::Output,
    names::Containers,
    printer::{Page, Printer},
    summary::Summaries,
    tally::{Tally, by_class},
};
use crate::{
    engine::{Engine, HttpExchange, HttpSpec, SessionId, SessionSpec},
    flows::GroupBy,
    host::{HostError, Target, interruption},
    kernel::Readable,
    logging,
};

/// Maximum time between two reads of the kernel's records.
const TICK: Duration = Duration::from_millis(100);
/// Maximum time for which the command waits at its end until all processes that use TLS are examined.
const LAST_LOOK: Duration = Duration::from_secs(1);
/// Time for which the command waits, after a signal, for a reader of its output that reads nothing, before it gives up.
/// Without a signal it waits for as long as the reader takes.
const PATIENCE: Duration = Duration::from_secs(5);
/// The id of the engine's only session in this command.
const SESSION: &str = "http";
/// The protocol that carries HTTP.
const PROTOCOL: &str = "TCP";

/// Runs the command: shows requests until Ctrl-C, SIGTERM, the end of `--duration`, or the end of the target. Then
/// reports what was counted and what is missing. A second signal ends the command at once.
pub(crate) async fn run(args: HttpArgs) -> Result<(), HostError> {
    logging::init(logging::LevelFilter::WARN);
    let mut stopped = pin!(interruption()?);
    let filter = args.filter.read(&[PROTOCOL.to_owned()])?;
    let mut target = Target::find(&args.target)?;
    let mut engine = args.engine.engine(target.root().to_owned());
    let each = !args.summary || !args.selection.takes_all();
    let spec = SessionSpec {
        filter,
        group_by: GroupBy::Process,
        max_rows: args.engine.max_flows,
        http: Some(HttpSpec { each, tls: args.tls, ..HttpSpec::default() }),
        ..SessionSpec::default()
    };
    let session = SESSION.to_owned();
    target.start(&mut engine, &session, spec)?;
    if !target.wait(&mut engine, &session, stopped.as_mut()).await? {
        return Ok(());
    }
    eprintln!("Tracing {}. Ctrl-C ends.", target.heading());

    let mut log = Log::new(args, target, engine, session);
    log.printer.start(Page::Heading);
    let (mut records, mut ticked) = (Readable::default(), Instant::now());
    let end = log.args.duration.map(|duration| Instant::now() + duration);
    loop {
        let tick = ticked + TICK;
        let wake = end.map_or(tick, |end| end.min(tick));
        records.follow(log.engine.records_readable()).map_err(HostError::Wait)?;
        let mut has_changed = false;
        let mut last = tokio::select! {
            biased;
            () = stopped.as_mut() => {
                log.is_asked.set(true);
                true
            }
            readable = records.readable() => readable.map(|()| false).map_err(HostError::Wait)?,
            changed = log.target.changed() => changed.map(|()| has_changed = true).map(|()| false)?,
            () = sleep_until(wake.into()) => end.is_some_and(|end| Instant::now() >= end),
        };
        if has_changed || Instant::now() >= tick {
            ticked = Instant::now();
            if let Some(gone) = log.target.follow(&mut log.engine, &log.session)? {
                eprintln!("Tracing ends: {gone} is gone.");
                last = true;
            }
            log.engine.tick();
        } else {
            log.engine.read_records();
        }
        if let Some(summaries) = &mut log.summaries {
            summaries.record(&log.engine.take_exchanges(&log.session), &log.args.selection);
        }
        if log.printer.is_busy() && !last {
            continue;
        }
        if last {
            let is_asked = Rc::clone(&log.is_asked);
            let mut concluding = pin!(log.conclude());
            loop {
                tokio::select! {
                    biased;
                    concluded = concluding.as_mut() => break concluded?,
                    // The first signal limits the wait for the reader, the second one ends it.
                    () = stopped.as_mut() => {
                        if is_asked.replace(true) {
                            break;
                        }
                    }
                }
            }
            break;
        }
        if !log.printed().await? {
            break;
        }
        log.print();
    }
    log.engine.stop(&log.session);
    Ok(())
}

/// The session of the engine, and the state of its output.
#[derive(Debug)]
struct Log {
    args: Arc<HttpArgs>,
    target: Target,
    engine: Engine,
    session: SessionId,
    printer: Printer,
    /// The summaries; `None` without `--summary`.
    summaries: Option<Summaries>,
    /// End of the current interval of `--summary`.
    due: Instant,
    /// Set once a signal has asked the command to end.
    is_asked: Rc<Cell<bool>>,
}

impl Log {
    fn new(args: HttpArgs, target: Target, engine: Engine, session: SessionId) -> Self {
        let args = Arc::new(args);
        Self {
            printer: Printer::new(&args, target.has_names()),
            target,
            engine,
            session,
            summaries: args.summary.then(|| Summaries::new(&args.selection)),
            due: Instant::now() + args.interval,
            is_asked: Rc::default(),
            args,
        }
    }

    /// Waits until the current page is printed, and keeps reading the kernel's records meanwhile. Returns false if the
    /// reader of the output has closed it. Fails if the reader reads nothing for [`PATIENCE`] after a signal.
    async fn printed(&mut self) -> Result<bool, HostError> {
        let (mut taken, mut since) = (self.printer.taken(), Instant::now());
        loop {
            match timeout(TICK, self.printer.finish()).await {
                Ok(result) => return result.map_err(HostError::Output),
                Err(_) => self.engine.tick(),
            }
            let now = self.printer.taken();
            if now != taken || !self.is_asked.get() {
                (taken, since) = (now, Instant::now());
            } else if since.elapsed() >= PATIENCE {
                return Err(HostError::NotRead(PATIENCE));
            }
        }
    }

    /// Begins to print the requests that have arrived or, with `--summary`, the table if its interval is over.
    fn print(&mut self) {
        if self.summaries.is_some() {
            if Instant::now() >= self.due {
                self.print_summary();
            }
            return;
        }
        let requests = self.engine.take_exchanges(&self.session);
        if !requests.is_empty() {
            let page = self.page(requests);
            self.printer.start(page);
        }
    }

    /// Makes a page of these requests, with the names of their containers.
    fn page(&mut self, requests: Vec<HttpExchange>) -> Page {
        let cgroups = requests.iter().map(|request| request.owner.cgroup);
        let containers = containers(&mut self.target, &self.engine, cgroups);
        Page::Requests(requests, containers)
    }

    fn print_summary(&mut self) {
        let Self { args, target, engine, session, .. } = self;
        let (Some(summaries), Some((mut tally, _))) = (&mut self.summaries, Tally::read(engine, session, 0))
        else {
            return;
        };
        summaries.record(&engine.take_exchanges(session), &args.selection);
        if let Some(mut summary) = summaries.take(engine, session, args.top(), &mut tally) {
            summary.containers = containers(target, engine, summary.rows.iter().map(|row| row.owner.cgroup));
            self.printer.start(Page::Summary(Box::new(summary), Box::new(tally)));
        }
        // If printing was late, the next interval begins now, and missed tables are not printed.
        self.due = (self.due + args.interval).max(Instant::now());
    }

    /// Prints the remaining requests, and then the totals and losses of the whole session.
    async fn conclude(&mut self) -> Result<(), HostError> {
        if !self.printed().await? {
            return Ok(());
        }
        // Reads all flows once more, so that the last requests have their process.
        self.engine.drain_fully();
        let end = Instant::now() + LAST_LOOK;
        while self.engine.looks_at_processes() && Instant::now() < end {
            sleep(TICK / 10).await;
        }
        if self.summaries.is_some() {
            self.print_summary();
        }
        let Some((tally, snapshot)) = Tally::read(&mut self.engine, &self.session, self.args.top()) else {
            return Ok(());
        };
        // Requests that are read from here on are neither in these totals nor in `rest`, so every request in the totals
        // gets its line.
        let mut rest = self.engine.take_exchanges(&self.session);
        let whole = self.summaries.as_mut().map(|summaries| {
            summaries.record(&std::mem::take(&mut rest), &self.args.selection);
            let mut whole = summaries.whole(snapshot, self.args.top());
            let cgroups = whole.rows.iter().map(|row| row.owner.cgroup);
            whole.containers = containers(&mut self.target, &self.engine, cgroups);
            Box::new(whole)
        });
        let sentences = self.sentences(&tally);
        let rest = self.page(rest);
        for page in [rest, Page::Ending(whole, Box::new(tally)), Page::Sentences(sentences)] {
            if !self.printed().await? {
                return Ok(());
            }
            self.printer.start(page);
        }
        self.printed().await.map(drop)
    }

    /// Returns the sentences about the whole session that follow text output: the totals, and what is missing.
    fn sentences(&self, tally: &Tally) -> Vec<String> {
        if self.args.output != Output::Text {
            return Vec::new();
        }
        // An unfiltered summary has these counts already.
        let has_counts = self.args.summary && self.args.selection.takes_all();
        let sums = &tally.totals.sums;
        let counts = || format!("{}{}.", human::number_of(sums.requests(), "request"), by_class(sums));
        let counts = (!has_counts).then(counts);
        let missing = tally.sentences().into_iter().chain(tally.under_way()).chain(tally.tls_sentences());
        counts.into_iter().chain(missing).collect()
    }
}

/// Returns the names of the containers and services to which these cgroups belong; none if the target is a cgroup or a
/// process.
fn containers(target: &mut Target, engine: &Engine, cgroups: impl Iterator<Item = u64>) -> Containers {
    let mut containers = Containers::new();
    for cgroup in cgroups {
        if let Entry::Vacant(place) = containers.entry(cgroup)
            && let Some(names) = target.names_of(cgroup, || engine.cgroup_path(cgroup))
        {
            place.insert(names);
        }
    }
    containers
}
