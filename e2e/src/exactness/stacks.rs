//! `tt-exact stacks`: sends and receives by known functions of this program, and compares the bytes of each function
//! with the output of `traffictrace flamegraph`.
//!
//! The comparison needs no compiler and no program from a package, so it also runs in an initramfs.

use std::{env, fs};

// The same source is compiled as a program of its own where senders in other languages are tested.
#[path = "../support/stacks/sender.rs"]
mod sender;

use super::{
    cli::{Options, SendArgs},
    runner::Ground,
};
use crate::support::{
    Result, TestError,
    stacks::{ANSWER, FlameGraph, Sender, Sink},
};

/// Number of rounds of two sends each: so few that the product's default budget (`BURST` in the agent) lasts for all.
const ROUNDS: u32 = 100;
/// Beginning of the frame under which the product shows bytes without a stack.
const NO_STACK: &str = "[no stack";
/// Name of the hidden subcommand that runs the functions.
const COMMAND: &str = "stacks-send";

/// Runs the functions in the process that is traced.
pub(super) fn send(args: &SendArgs) -> Result<()> {
    fs::write(args.cgroup.join("cgroup.procs"), "0").map_err(TestError::io("move to the traced cgroup"))?;
    sender::main().map_err(TestError::io("send by known functions"))
}

/// Compares the bytes of each function, with `--every-call` and with the default budget; returns true if nothing
/// differs.
pub(super) fn run(options: &Options) -> Result<bool> {
    let ground = Ground::new(options)?;
    let program = env::current_exe().map_err(TestError::io("find this program"))?;
    let sender = Sender::existing(&program, &[COMMAND])?;
    let mut is_exact = true;
    for (name, budget) in [("every-call", &["--every-call"][..]), ("budget", &[])] {
        is_exact &= compare(&ground, &sender, options, name, budget)?;
    }
    println!("seed {}", options.seed);
    Ok(is_exact)
}

fn compare(ground: &Ground, sender: &Sender, options: &Options, name: &str, budget: &[&str]) -> Result<bool> {
    let folder = tempfile::tempdir().map_err(TestError::io("make a folder"))?;
    let go = folder.path().join("go");
    let (selected, root) = (ground.selected.to_string_lossy(), ground.host.cgroup_root.to_string_lossy());
    let sink = Sink::start()?;
    let graph = FlameGraph::start(
        &ground.host,
        &[&["--cgroup", &selected, "--cgroup-root", &root], budget].concat(),
    )?;
    let running = sender.start(&ground.selected, &sink, &go, ROUNDS, options.seed as u32)?;
    fs::write(&go, "").map_err(TestError::io("begin to send"))?;
    let moved = running.moved()?;
    let shown = graph.interrupt()?;
    let of = |function: &str| moved.get(function).copied().unwrap_or_default();
    let without = |way| shown.bytes(way, NO_STACK);
    let rows = [
        ("sent", shown.total("sent"), of("send_small") + of("send_large"), 0),
        ("received", shown.total("received"), ANSWER, 0),
        ("send_small", shown.bytes("sent", "send_small"), of("send_small"), without("sent")),
        ("send_large", shown.bytes("sent", "send_large"), of("send_large"), without("sent")),
        ("receive_all", shown.bytes("received", "receive_all"), of("receive_all"), without("received")),
    ];
    let mut is_exact = true;
    for (what, shown, counted, without) in rows {
        let verdict = match shown {
            _ if counted == 0 => "FAIL",
            _ if shown == counted => "ok",
            // The kernel may skip the product's program for a call; the product then reports the bytes without a stack.
            _ if shown < counted && shown + without >= counted => "unseen",
            _ => "FAIL",
        };
        is_exact &= verdict != "FAIL";
        println!(
            "{verdict:6}  {name}/{what}: {shown} bytes in the stacks, {counted} by the program's own count"
        );
    }
    if !is_exact {
        println!("{shown:#?}");
    }
    Ok(is_exact)
}
