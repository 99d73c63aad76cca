//! Tests of the programs on this machine's kernel.

use super::*;
use crate::{
    kernel::TierChoice,
    testing::{skip, writable_cgroups},
};

fn tracer() -> Option<Tracer> {
    let root = writable_cgroups()?;
    match Tracer::load(1, root.path(), TierChoice::Only(HookTier::TpBtf)) {
        Ok(tracer) => Some(tracer),
        Err(
            error @ (KernelError::Permission { .. } | KernelError::NoBtf { .. } | KernelError::NoTier { .. }),
        ) => skip(&error.to_string()),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn the_programs_load_and_take_nothing_unasked() {
    let Some(mut tracer) = tracer() else { return };
    let mut capture = StackCapture::load(&mut tracer, 1 << 16).unwrap();
    capture.set_mode(Program { pid: std::process::id(), number: 0 }, Mode::Copy64);
    assert_eq!(capture.read(10, &mut |record| panic!("{record:?}")), 0);
    assert_eq!(capture.lost().unwrap(), 0);
    capture.set_sessions(&mut tracer, 1, 1, 1).unwrap();
    capture.set_sessions(&mut tracer, 0, 0, 0).unwrap();
}

#[test]
fn other_hooks_have_no_stacks() {
    let Some(mut tracer) = tracer() else { return };
    tracer.tier = HookTier::Kretprobe;
    let error = StackCapture::load(&mut tracer, 1 << 16).unwrap_err().to_string();
    assert!(error.contains("counted by kretprobe") && error.contains("Linux 6.3"), "{error}");
}

#[test]
fn the_budget_is_shared_by_the_cpus() {
    assert_eq!(budget(2), (1_333_333, 1_333_333 * 2048));
    assert_eq!(budget(100), (20_000_000, 20_000_000 * 512));
    assert_eq!(budget(0), budget(1));
}
