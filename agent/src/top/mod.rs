//! `traffictrace top`: who uses the network in containers, a cgroup, a process or on the whole host, without Kubernetes; and
//! what a recording has of it.

mod args;
mod print;
mod replay;
mod screen;

use traffictrace_view::{live, losses};

use self::args::Output;
pub(crate) use self::args::TopArgs;
use crate::{
    host::{HostError, Plan, Traced, interruption},
    logging,
};

/// Traces until Ctrl-C, SIGTERM, `--count` intervals, `--duration`, or the end of what is traced; then says a last time what
/// was counted. On a terminal it shows the live screen, unless plain output is asked for.
pub(crate) async fn run(args: TopArgs) -> Result<(), HostError> {
    logging::init(logging::LevelFilter::WARN);
    let mut stopped = interruption()?;
    let has_screen = args.wants_screen() && live::is_possible();
    if let Some(file) = &args.from {
        return replay::run(&args, file, has_screen, &mut stopped).await;
    }
    let filter = args.filter.read()?;
    let Some(mut traced) = Traced::start(&args.target, &args.engine, filter, &mut stopped).await? else {
        return Ok(());
    };
    if has_screen {
        return screen::run(&args, &mut traced, &mut stopped).await;
    }
    eprintln!("Tracing {}. Ctrl-C ends.", traced.subject);
    let plan =
        Plan { interval: args.interval(), count: args.count, duration: args.duration, listed: args.listed() };
    let last = traced.each_interval(&plan, print::printer(&args), &mut stopped).await?;
    // CSV has no line for what is in no flow.
    if args.output == Output::Csv
        && let Some(last) = last
    {
        losses::in_words(&last).iter().for_each(|loss| eprintln!("{loss}"));
    }
    Ok(())
}
