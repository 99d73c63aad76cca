//! `traffictrace flamegraph`: which function moves which bytes, against what the programs themselves count by function.

use std::path::Path;

use traffictrace_e2e::support::{
    Result,
    server::installed,
    stacks::{ANSWER, FlameGraph, Moved, Sender, Shown, Sink},
};

use crate::setup::{self, text};

/// Rounds of two sends each, all of whose stacks are taken without any budget being lifted.
const FEW: u32 = 100;
/// Rounds far beyond what the budget has stacks for, about ten seconds of them.
const MANY: u32 = 2_000_000;
/// Part by which a function's bytes may differ then. In ten seconds it has some thousand samples, so that a difference of
/// 4 % is usual; in a minute it is 1 to 2 %.
const WITHIN: f64 = 0.16;

/// Names of the functions, as a flame graph has them, by the names in C.
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
/// What reads is the event loop, in a function of a library without a name.
const NODE: &[(&str, &str)] = &[("send_small", "sendSmall"), ("send_large", "sendLarge")];

/// Runs one sender, traced from its first byte on.
fn trace(sender: &Sender, rounds: u32, arguments: &[&str]) -> Result<Option<(Shown, Moved)>> {
    let Some((host, cgroup)) = setup::cgroup() else { return Ok(None) };
    let (sink, go) = (Sink::start()?, setup::Go::new()?);
    let graph = FlameGraph::start(&host, &[&["--cgroup", text(cgroup.path())], arguments].concat())?;
    let running = sender.start(cgroup.path(), &sink, &go.file(), rounds, fastrand::u32(..))?;
    go.release()?;
    let moved = running.moved()?;
    Ok(Some((graph.interrupt()?, moved)))
}

/// Each function has exactly the bytes that it counted, with and without a budget.
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

/// Debian's Python has no names of its functions to give: its interpreter's own are seen, from the first one on.
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

/// Beyond the budget the sum is exact, and each function has about its part.
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

/// Processes that come and go, several at a time: the sum is that of what all of them moved.
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

/// Forks, programs that are executed at an open connection, threads, and first threads that end before the others: the sum is
/// that of what all of them moved. A good part of it has names, though the processes live for some 20 ms, of which a busy
/// machine leaves little to look into them.
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
