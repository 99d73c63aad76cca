//! `traffictrace flamegraph`: the bytes of each function, compared with what the programs count by function.

use std::path::Path;

use traffictrace_e2e::support::{
    Result,
    server::installed,
    stacks::{ANSWER, FlameGraph, Moved, Sender, Shown, Sink},
};

use crate::setup::{self, text};

/// Number of rounds of two sends each: few enough that the default budget (`BURST` in the agent) allows the stacks of
/// all of them.
const FEW: u32 = 100;
/// Number of rounds for about ten seconds, far more than the budget has stacks for.
const MANY: u32 = 2_000_000;
/// Maximum relative difference of a function's bytes beyond the budget. In ten seconds a function has some thousand
/// samples, so that a difference of 4 % is usual; in a minute it is 1 to 2 %.
const WITHIN: f64 = 0.16;

/// Pairs of a function's name in C, and in the flame graph.
type Names<'a> = [(&'a str, &'a str); 3];

const C: Names<'_> =
    [("send_small", "send_small"), ("send_large", "send_large"), ("receive_all", "receive_all")];
const CPP: Names<'_> = [
    ("send_small", "proof::Sender::send_small"),
    ("send_large", "proof::Sender::send_large<int>"),
    ("receive_all", "proof::Sender::receive_all"),
];
const GO: Names<'_> =
    [("send_small", "main.sendSmall"), ("send_large", "main.sendLarge"), ("receive_all", "main.receiveAll")];
/// Senders only: Node receives in its event loop, in a library function without a name.
const NODE: &[(&str, &str)] = &[("send_small", "sendSmall"), ("send_large", "sendLarge")];

/// Runs a sender that is traced from its first byte on; returns the flame graph and the sender's counts.
fn trace(sender: &Sender, rounds: u32, arguments: &[&str]) -> Result<Option<(Shown, Moved)>> {
    let Some((host, cgroup)) = setup::cgroup() else { return Ok(None) };
    let (sink, go) = (Sink::start()?, setup::Go::new()?);
    let graph = FlameGraph::start(&host, &[&["--cgroup", text(cgroup.path())], arguments].concat())?;
    let running = sender.start(cgroup.path(), &sink, &go.file(), rounds, fastrand::u32(..))?;
    go.release()?;
    let moved = running.moved()?;
    Ok(Some((graph.interrupt()?, moved)))
}

/// Asserts that each function has exactly the bytes that it counted, with and without a budget.
fn assert_exact(sender: &Sender, names: &[(&str, &str)]) -> Result<()> {
    for arguments in [&["--every-call"][..], &[]] {
        let Some((shown, moved)) = trace(sender, FEW, arguments)? else { return Ok(()) };
        assert_eq!(shown.total("sent"), moved["send_small"] + moved["send_large"], "{shown:#?}");
        assert_eq!((shown.total("received"), moved["receive_all"]), (ANSWER, ANSWER), "{shown:#?}");
        for (function, name) in names {
            let way = if function.starts_with("send") { "sent" } else { "received" };
            assert_eq!(shown.bytes(way, name), moved[*function], "{name} {arguments:?}: {shown:#?}");
        }
    }
    Ok(())
}

#[test]
fn in_c_without_frame_pointers() -> Result<()> {
    let flags = ["cc", "-O2", "-fomit-frame-pointer", "-fno-optimize-sibling-calls"];
    assert_exact(&Sender::compiled("sender.c", &flags)?, &C)
}

#[test]
fn in_c_with_frame_pointers_alone() -> Result<()> {
    let flags = [
        "cc",
        "-O2",
        "-fno-omit-frame-pointer",
        "-fno-optimize-sibling-calls",
        "-fno-asynchronous-unwind-tables",
    ];
    assert_exact(&Sender::compiled("sender.c", &flags)?, &C)
}

#[test]
fn in_cpp() -> Result<()> {
    if !installed(&["g++"]) {
        return Ok(());
    }
    let flags = ["g++", "-O2", "-fno-optimize-sibling-calls"];
    assert_exact(&Sender::compiled("sender.cpp", &flags)?, &CPP)
}

#[test]
fn in_rust() -> Result<()> {
    if !installed(&["rustc"]) {
        return Ok(());
    }
    assert_exact(&Sender::compiled("sender.rs", &["rustc", "-O", "--edition", "2024"])?, &C)
}

#[test]
fn in_go() -> Result<()> {
    if !installed(&["go"]) {
        return Ok(());
    }
    assert_exact(&Sender::compiled("sender.go", &["go", "build"])?, &GO)
}

#[test]
fn in_go_without_symbols() -> Result<()> {
    if !installed(&["go"]) {
        return Ok(());
    }
    assert_exact(&Sender::compiled("sender.go", &["go", "build", "-ldflags", "-s -w"])?, &GO)
}

#[test]
fn in_node() -> Result<()> {
    if !installed(&["node"]) {
        return Ok(());
    }
    let flags = ["node", "--perf-basic-prof", "--interpreted-frames-native-stack"];
    assert_exact(&Sender::interpreted("sender.js", &flags)?, NODE)
}

/// Debian's Python does not expose the names of Python functions; the interpreter's own functions are seen, from the
/// first one on.
#[test]
fn in_python() -> Result<()> {
    const PYTHON: &str = "/usr/bin/python3";
    if !installed(&["python3"]) || !Path::new(PYTHON).exists() {
        return Ok(());
    }
    let Some((shown, moved)) = trace(&Sender::interpreted("sender.py", &[PYTHON])?, FEW, &[])? else {
        return Ok(());
    };
    let sent = moved["send_small"] + moved["send_large"];
    assert_eq!((shown.total("sent"), shown.total("received")), (sent, ANSWER), "{shown:#?}");
    assert_eq!(shown.bytes("sent", "_PyEval_EvalFrameDefault"), sent, "{shown:#?}");
    assert_eq!(shown.bytes("received", "_PyEval_EvalFrameDefault"), ANSWER, "{shown:#?}");
    Ok(())
}

/// Beyond the budget the sum is exact, and each function has about its share.
#[test]
fn beyond_the_budget() -> Result<()> {
    let sender = Sender::compiled("sender.c", &["cc", "-O2", "-fno-optimize-sibling-calls"])?;
    let Some((shown, moved)) = trace(&sender, MANY, &[])? else { return Ok(()) };
    assert_eq!(shown.total("sent"), moved["send_small"] + moved["send_large"], "{:?}", shown.printed);
    for function in ["send_small", "send_large"] {
        let (is, was) = (shown.bytes("sent", function) as f64, moved[function] as f64);
        assert!((is / was - 1.0).abs() < WITHIN, "{function}: {is}, not {was}; {:?}", shown.printed);
    }
    Ok(())
}

/// Several short-lived processes run at a time: the sum is that of what all of them moved.
#[test]
fn many_short_processes() -> Result<()> {
    let Some((host, cgroup)) = setup::cgroup() else { return Ok(()) };
    let sender = Sender::compiled("sender.c", &["cc", "-O2", "-fno-optimize-sibling-calls"])?;
    let (sink, go) = (Sink::start()?, setup::Go::new()?);
    go.release()?;
    let graph = FlameGraph::start(&host, &["--cgroup", text(cgroup.path())])?;
    let (mut sent, mut received) = (0, 0);
    for _ in 0..25 {
        let start = |_| sender.start(cgroup.path(), &sink, &go.file(), 20, fastrand::u32(..));
        for running in (0..4).map(start).collect::<Result<Vec<_>>>()? {
            let moved = running.moved()?;
            sent += moved["send_small"] + moved["send_large"];
            received += moved["receive_all"];
        }
    }
    let shown = graph.interrupt()?;
    assert_eq!((shown.total("sent"), shown.total("received")), (sent, received), "{:?}", shown.printed);
    Ok(())
}

/// Processes fork, execute programs with an open connection, and start threads, some of which outlive the first thread:
/// the sum is that of what all of them moved. A good part of it has names, although the processes live for some 20 ms,
/// of which a busy machine leaves little for looking at them.
#[test]
fn a_soak_of_forks_execs_and_threads() -> Result<()> {
    const GENERATIONS: u32 = 60;
    let sender = Sender::compiled("soak.c", &["cc", "-O2", "-pthread", "-fno-optimize-sibling-calls"])?;
    let Some((shown, moved)) = trace(&sender, GENERATIONS, &[])? else { return Ok(()) };
    assert_eq!((shown.total("sent"), shown.total("received")), (moved["sent"], moved["received"]));
    let named = shown.bytes("sent", "transmit") + shown.bytes("received", "finish");
    assert!(named > (moved["sent"] + moved["received"]) / 5, "{named} of {moved:?}: {:?}", shown.printed);
    Ok(())
}
