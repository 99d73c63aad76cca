//! Stacks as the kernel programs take them: of which calls, how much of each, and the losses.

use std::{
    hint::black_box,
    net::UdpSocket,
    process::{Command, Stdio},
    sync::OnceLock,
    thread,
};

use traffictrace_ebpf::layout::stacks::{ADDRESSED, COPIED, CUT, SENT};
use traffictrace_profile::Way;

use super::{
    stacks::{EVERY_CALL, assert_whole, graph, inside, ledger, read, stacks, sums},
    *,
};
use crate::stacks::{Mode, Program};

/// Returns the kernel programs' number of this process's program, learnt from a stack. Makes a bench, of which only one
/// can exist at a time, so call this before making one.
fn this_program() -> Program {
    static NUMBER: OnceLock<u32> = OnceLock::new();
    let number = *NUMBER.get_or_init(|| {
        let Some(mut bench) = stacks(EVERY_CALL) else { return 0 };
        let (socket, _peer) = inside(&bench);
        socket.send(&[1]).unwrap();
        let mut number = None;
        read(&mut bench, &mut |record| number = Some(record.program));
        number.unwrap()
    });
    Program { pid: std::process::id(), number }
}

#[test]
fn a_chatty_program_is_sampled_at_the_rate() {
    let Some(mut bench) = stacks(StackSpec::default()) else { return };
    let (socket, _peer) = inside(&bench);
    let (begin, mut calls) = (Instant::now(), 0u64);
    let (mut taken, mut by_chance, mut weight) = (0u64, 0u64, 0.0);
    while begin.elapsed() < Duration::from_secs(4) {
        for _ in 0..1000 {
            socket.send(&[1; 10]).unwrap();
            calls += 1;
        }
        read(&mut bench, &mut |record| {
            assert_eq!((record.bytes, record.flags & SENT), (10, SENT));
            taken += 1;
            by_chance += u64::from(record.chance != 0);
            weight += if record.chance == 0 { 1.0 } else { 2f64.powi(32) / f64::from(record.chance) };
        });
    }
    let seconds = begin.elapsed().as_secs_f64();
    let lost = bench.engine.stacks.as_ref().unwrap().capture.lost().unwrap();
    eprintln!(
        "{calls} calls in {seconds:.1} s: {taken} taken, {by_chance} by chance, {lost} lost, weight {weight:.0}"
    );
    if calls < 50_000 {
        return skip("the machine is too slow to exceed the budget").unwrap_or(());
    }
    // The thread may run on any CPU, and so use up the budgets of all (`BURST` in `kernel/stacks.rs`).
    let burst = 4096.0;
    assert!((taken as f64) < burst + 1.3 * 1500.0 * seconds, "{taken} taken in {seconds} s");
    assert!(by_chance as f64 > 0.5 * 50.0 * seconds && lost == 0, "{by_chance}, {lost} lost");
    let ratio = weight / calls as f64;
    assert!((0.85..1.15).contains(&ratio), "{calls} calls are taken for {weight}");
}

#[test]
fn a_full_ring_loses_no_byte() {
    let program = this_program();
    let Some(mut bench) = stacks(EVERY_CALL) else { return };
    bench.engine.stacks.as_mut().unwrap().capture.set_mode(program, Mode::Copy64);
    let (socket, _peer) = inside(&bench);
    // Each stack takes at least 2 KiB, and 64 KiB in this mode on a thread that is not the first, so 10,000 of them do
    // not fit the ring buffer of 16 MiB.
    for _ in 0..10_000 {
        socket.send(&[1; 7]).unwrap();
    }
    assert!(bench.engine.stacks.as_ref().unwrap().capture.lost().unwrap() > 0);
    let graph = graph(&mut bench, "a");
    assert_eq!(graph.rows().iter().map(|row| row.bytes).sum::<u64>(), 70_000);
    assert_eq!(ledger(&bench, "a")[&(std::process::id(), Way::Sent)], (70_000, 10_000));
    let (with, without) = (sums(&graph, true), sums(&graph, false));
    assert!(!with.is_empty() && !without.is_empty(), "{with:?} {without:?}");
}

/// Sends one datagram while `marker` is on the stack, about `depth` bytes above the frame of the function that sends.
#[inline(never)]
fn send_below(socket: &UdpSocket, marker: [u8; 16], depth: usize) {
    let on_stack = black_box(marker);
    if depth == 0 {
        socket.send(&[1]).unwrap();
    } else {
        let filler = black_box([0u8; 1024]);
        send_below(socket, [3; 16], depth.saturating_sub(1024));
        black_box(&filler);
    }
    black_box(&on_stack);
}

#[test]
fn a_copy_reaches_as_far_as_the_mode_says() {
    let program = this_program();
    let Some(mut bench) = stacks(EVERY_CALL) else { return };
    let (socket, _peer) = inside(&bench);
    let marker: [u8; 16] = std::array::from_fn(|at| 0xa0 + at as u8);
    let cases = [
        (Mode::Copy8, 8 << 10),
        (Mode::Copy16, 16 << 10),
        (Mode::Copy32, 32 << 10),
        (Mode::Copy64, 64 << 10),
    ];
    for (mode, size) in cases {
        bench.engine.stacks.as_mut().unwrap().capture.set_mode(program, mode);
        for (depth, seen) in [(0, true), (size / 4, true), (2 * size, false)] {
            send_below(&socket, marker, depth);
            let mut found = Vec::new();
            read(&mut bench, &mut |record| {
                assert_eq!(record.flags & !CUT, SENT | COPIED);
                assert!(record.registers.iter().take(2).all(|register| *register != 0));
                let has_marker = record.body.windows(16).any(|bytes| bytes == marker);
                found.push((record.body.len() <= size, has_marker, record.flags & CUT != 0 || seen));
            });
            assert_eq!(found, [(true, seen, true)], "{mode:?}, {depth} deep");
        }
    }
    bench.engine.stacks.as_mut().unwrap().capture.set_mode(program, Mode::FramePointers);
    send_below(&socket, marker, 0);
    let mut addresses = Vec::new();
    read(&mut bench, &mut |record| {
        assert_eq!(record.flags, SENT | ADDRESSED);
        addresses.push((record.addresses().next(), record.registers[0]));
    });
    assert_eq!(addresses.len(), 1);
    assert_eq!(addresses[0].0, Some(addresses[0].1), "the first is the instruction");
}

/// The stack of a new thread ends near its first function, and all of it is copied. Other memory can follow directly,
/// and is then part of the same mapping.
#[test]
fn a_copy_ends_with_the_stack() {
    let program = this_program();
    let Some(mut bench) = stacks(EVERY_CALL) else { return };
    bench.engine.stacks.as_mut().unwrap().capture.set_mode(program, Mode::Copy64);
    let (socket, _peer) = inside(&bench);
    let marker: [u8; 16] = std::array::from_fn(|at| 0xb0 + at as u8);
    let maps = thread::scope(|scope| {
        let thread = scope.spawn(|| {
            send_below(&socket, marker, 3000);
            procfs::process::Process::myself().unwrap().maps().unwrap()
        });
        thread.join().unwrap()
    });
    let mut found = Vec::new();
    read(&mut bench, &mut |record| {
        found.push((record.flags & !CUT, record.body.windows(16).any(|bytes| bytes == marker)));
        let begin = record.registers[1];
        let mapping = maps.iter().find(|map| (map.address.0..map.address.1).contains(&begin)).unwrap();
        let (is, most) = (record.body.len() as u64, mapping.address.1 - begin);
        assert!(is.abs_diff(most.min(64 << 10)) < 256, "{is} bytes of {most}");
        assert_eq!(record.flags & CUT != 0, most > 64 << 10);
    });
    assert_eq!(found, [(SENT | COPIED, true)]);
}

/// The stack of a program's first thread ends where its arguments begin.
#[test]
fn a_copy_of_the_first_thread_has_no_arguments() {
    let Some(mut bench) = stacks(EVERY_CALL) else { return };
    let (socket, peer) = inside(&bench);
    drop(socket);
    let script = format!("echo x > /dev/udp/127.0.0.1/{}; read -r line", peer.local_addr().unwrap().port());
    let spawn = || Command::new("bash").args(["-c", &script]).stdin(Stdio::piped()).spawn();
    let Ok(mut child) = bench.inside("", spawn) else { return skip("there is no bash").unwrap_or(()) };
    peer.recv(&mut [0; 10]).unwrap();
    let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    let begin: u64 = stat.rsplit(") ").next().unwrap().split(' ').nth(25).unwrap().parse().unwrap();
    drop(child.stdin.take());
    child.wait().unwrap();
    let mut ends = Vec::new();
    read(&mut bench, &mut |record| {
        ends.push((record.pid, record.flags, record.registers[1] + record.body.len() as u64));
    });
    assert_eq!(ends, [(child.id(), SENT | COPIED, begin)]);
}

#[test]
fn events_that_a_twin_counts_have_stacks() {
    let Some(mut bench) = stacks(EVERY_CALL) else { return };
    let (socket, peer) = inside(&bench);
    for alone in [false, true] {
        bench.engine.tracer.as_mut().unwrap().use_twins(alone);
        bench.engine.tick();
        for bytes in 1..=20 {
            socket.send(&vec![1; bytes]).unwrap();
            peer.send_to(&[1; 3], socket.local_addr().unwrap()).unwrap();
            socket.recv(&mut [0; 10]).unwrap();
        }
    }
    let graph = assert_whole(&mut bench);
    assert_eq!(
        graph.rows().iter().map(|row| (row.bytes, row.calls)).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1)),
        (2 * (210 + 60), 80)
    );
}
