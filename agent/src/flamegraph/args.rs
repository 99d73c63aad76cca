//! The command line of `traffictrace flamegraph`.

use std::{path::PathBuf, time::Duration};

use clap::{ArgGroup, Args};
use traffictrace_profile::{By, Output};

use crate::host::{EngineArgs, TRACING, TargetArgs, TrafficArgs, some_time};

/// Draw a flame graph of the code of a container, cgroup or process that sends and receives its bytes.
///
/// The picture has two trees: bytes sent and bytes received. Each begins with the container, the process and the thread;
/// above them are the functions, each above its caller. The wider a function is, the more bytes it moved. The rows add up to
/// all bytes of that time: bytes whose own stack was not taken are spread over the stacks of the same process, or shown as
/// `[no stack: …]` with the reason. This needs Linux 6.3 or later.
#[derive(Debug, Clone, Args)]
#[command(
    mut_group("target", |group| group.required(false)),
    group = ArgGroup::new("source").required(true).args(["container", "all", "host", "cgroup", "pid", "from"]),
)]
pub(crate) struct FlamegraphArgs {
    #[command(flatten)]
    pub(super) target: TargetArgs,

    /// Instead of tracing, merge these profiles: .pb.gz files, or the output of `kubectl get traffictraceprofiles -o
    /// json` (or yaml); `-` is standard input.
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with_all = TRACING, conflicts_with_all = ["duration", "every_call", "kernel"])]
    pub(super) from: Vec<PathBuf>,

    /// Write to this file. Its name determines the format: .svg, a picture for every browser that searches and zooms;
    /// .folded, text with one stack per line; .pb.gz, a profile for `go tool pprof`, speedscope and --from. `-` writes
    /// .folded to standard output.
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Output,

    /// Number that the width of a stack stands for in .svg and .folded; .pb.gz has both.
    #[arg(long, value_enum, default_value_t = By::Bytes)]
    pub(super) by: By,

    /// Trace for this time, such as 30s or 5m. Ctrl-C ends earlier, and still writes the file.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = some_time)]
    pub(super) duration: Duration,

    /// Take the stack of every call. Without this, the calls of a program that calls very often are sampled, which costs less.
    #[arg(long)]
    pub(super) every_call: bool,

    /// Show the kernel's functions, too. Stacks of kernel threads always have them.
    #[arg(long)]
    pub(super) kernel: bool,

    #[command(flatten)]
    pub(super) engine: EngineArgs,

    // Must be the last field, since its heading would also apply to the options after it.
    #[command(flatten)]
    pub(super) filter: TrafficArgs,
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: FlamegraphArgs,
    }

    fn read(line: &str) -> Result<FlamegraphArgs, String> {
        let words = std::iter::once("flamegraph").chain(line.split(' '));
        Cli::try_parse_from(words).map(|cli| cli.args).map_err(|error| error.to_string())
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn traces_ten_seconds_by_bytes() {
        let args = read("--pid 1 -o out.svg").unwrap();
        assert_eq!((args.duration, args.by, args.every_call), (Duration::from_secs(10), By::Bytes, false));
        let args = read("--from a.pb.gz b.json --by calls -o -").unwrap();
        assert_eq!((args.from.len(), args.by), (2, By::Calls));
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        for (line, part) in [
            (
                "-o out.svg",
                "<--container <NAME|ID>|--all|--host|--cgroup <PATH>|--pid <PID>|--from <FILE>...>",
            ),
            ("--pid 1", "--output <FILE>"),
            ("--pid 1 --cgroup / -o out.svg", "cannot be used with"),
            ("--from a.pb.gz --pid 1 -o out.svg", "cannot be used with"),
            ("--from a.pb.gz --duration 5s -o out.svg", "cannot be used with"),
            ("--from a.pb.gz --every-call -o out.svg", "cannot be used with"),
            ("--from a.pb.gz --port 80 -o out.svg", "cannot be used with"),
            ("--from a.pb.gz --direction Inbound -o out.svg", "cannot be used with"),
            ("--pid 1 --duration 0s -o out.svg", "more than nothing"),
            ("--pid 1 -o out.png", ".svg, .folded or .pb.gz"),
        ] {
            let error = read(line).unwrap_err();
            assert!(error.contains(part), "{line}: {error}");
        }
    }
}
