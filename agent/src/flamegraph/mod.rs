//! `traffictrace flamegraph`: which code of one container, cgroup or process moves its bytes, without Kubernetes.

mod args;
mod error;
mod from;
mod live;
mod output;
mod progress;

use traffictrace_crd::human;

pub(crate) use self::args::FlamegraphArgs;
use self::{
    error::FlamegraphError,
    output::{Format, Output},
};
use crate::{
    logging,
    stacks::{
        Way,
        profile::{By, Graph, share},
    },
};

/// Traces, or reads profiles, and writes what was asked for; then says in one line what that is.
pub(crate) async fn run(args: FlamegraphArgs) -> Result<(), FlamegraphError> {
    logging::init(logging::LevelFilter::WARN);
    args.output.check()?;
    let graph = if args.from.is_empty() {
        live::trace(&args).await?
    } else {
        let (graph, count) = from::read(&args.from)?;
        eprintln!("{} read.", human::number_of(count as u64, "profile"));
        graph
    };
    args.output.write(&graph, args.by)?;
    eprintln!("{}", conclusion(&graph, &args.output));
    Ok(())
}

/// What was counted, how much of it is known, and where to look.
fn conclusion(graph: &Graph, output: &Output) -> String {
    let (sent, received) = (graph.total(Way::Sent, By::Bytes), graph.total(Way::Received, By::Bytes));
    let (coverage, all) = (&graph.coverage, graph.coverage.bytes());
    let counted = format!(
        "{} sent and {} received; {}: {} of the bytes at their own call, {} without a full stack.",
        human::bytes(sent),
        human::bytes(received),
        human::number_of(coverage.stacks, "stack"),
        share(coverage.own, all),
        share(coverage.cut.saturating_add(coverage.without_stack()), all),
    );
    match output {
        Output::Standard => counted,
        Output::File(path, format) => {
            let path = path.display();
            let next = match format {
                Format::Svg => format!("Open {path} in a browser."),
                Format::Folded => {
                    format!("{path} has a stack a line, for flamegraph.pl, inferno or speedscope.")
                }
                Format::Pprof => format!("Look at it with `go tool pprof {path}` or speedscope."),
            };
            format!("{counted} {next}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_says_how_much_is_known_and_where_to_look() {
        let mut graph = Graph::default();
        graph.coverage.own = 900;
        graph.coverage.whole = 800;
        graph.coverage.cut = 100;
        graph.coverage.stacks = 12;
        graph.coverage.missing.insert("lost".into(), 100);
        let line = conclusion(&graph, &"out.svg".parse().unwrap());
        assert_eq!(
            line,
            "0 B sent and 0 B received; 12 stacks: 90.0 % of the bytes at their own call, 20.0 % without a full stack. \
             Open out.svg in a browser."
        );
        assert!(
            conclusion(&graph, &"a.pb.gz".parse().unwrap())
                .ends_with("`go tool pprof a.pb.gz` or speedscope.")
        );
    }
}
