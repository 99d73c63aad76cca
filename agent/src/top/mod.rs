//! `traffictrace top`: the network use of containers, a cgroup, a process or the whole host, without Kubernetes, or the one
//! in a recording.

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

/// Traces until Ctrl-C, SIGTERM, `--count` intervals, `--duration`, or the end of the target; then prints the last numbers.
/// On a terminal it shows the live screen, unless plain output is requested.
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
    // CSV has no line for losses, which belong to no flow.
    if args.output == Output::Csv
        && let Some(last) = last
    {
        losses::in_words(&last).iter().for_each(|loss| eprintln!("{loss}"));
    }
    Ok(())
}
