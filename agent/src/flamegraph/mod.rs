//! `traffictrace flamegraph`: the code that moves the bytes of one container, cgroup or process, without Kubernetes.

mod args;
mod error;
mod from;
mod live;
mod progress;

use traffictrace_crd::human;

pub(crate) use self::args::FlamegraphArgs;
use self::error::FlamegraphError;
use crate::logging;

/// Traces or reads profiles, writes the requested file, and describes it in one line.
pub(crate) async fn run(args: FlamegraphArgs) -> Result<(), FlamegraphError> {
    logging::init(logging::LevelFilter::WARN);
    args.output.check()?;
    let graph = if args.from.is_empty() {
        let Some(graph) = live::trace(&args).await? else { return Ok(()) };
        graph
    } else {
        let (graph, count) = from::read(&args.from)?;
        eprintln!("{} read.", human::number_of(count as u64, "profile"));
        graph
    };
    args.output.write(&graph, args.by)?;
    eprintln!("{}", args.output.conclusion(&graph));
    Ok(())
}
