//! Rates of the smallest operations, for which the cost of tracing weighs most.

use std::{path::Path, time::Duration};

use super::{
    compare::Subject,
    load::Kind,
    worker::{LoadWorker, Worker},
};
use crate::support::Result;

/// Loads that move one byte there and back. The pipe is a control: no program sees it.
pub(super) struct Rates;

const KINDS: [Kind; 4] = [Kind::PingPong, Kind::Connect, Kind::UdpPingPong, Kind::Pipe];

impl Subject for Rates {
    const NAME: &'static str = "rates";
    const TITLE: &'static str = "One byte there and back, both ends in one process on one CPU.";
    const LANES: &'static [&'static str] =
        &["TCP ping-pong", "connect, ask, close", "UDP ping-pong", "control: a pipe"];
    const PASSES: usize = 5;
    const LIMITS: (Duration, Duration) = (Duration::from_secs(110), Duration::from_secs(35));

    fn hire(&self, lane: usize, cgroup: &Path, cpu: usize) -> Result<Box<dyn Worker>> {
        Ok(Box::new(LoadWorker::start(KINDS[lane], cgroup, cpu)?))
    }
}
