//! The cost for a real server: nginx with one process, and wrk, both on one processor.

use std::{path::Path, time::Duration};

use super::{
    Bench,
    compare::{self, Subject},
    server::{Page, Server, is_installed},
    worker::Worker,
};
use crate::support::Result;

/// Requests for a file of 1 KiB, over lasting connections or with a connection for each.
struct Nginx;

impl Subject for Nginx {
    const NAME: &'static str = "nginx";
    const TITLE: &'static str =
        "nginx, one process, a file of 1 KiB by sendfile, under wrk with 8 connections on the same CPU.";
    const LANES: &'static [&'static str] = &["keep-alive", "a connection a request"];
    const PASSES: usize = 3;
    const LIMITS: (Duration, Duration) = (Duration::from_secs(90), Duration::from_secs(30));

    fn hire(&self, lane: usize, cgroup: &Path, cpu: usize) -> Result<Box<dyn Worker>> {
        Ok(Box::new(Server::start(Page::File, lane == 0, cgroup, cpu)?))
    }
}

pub(super) fn run(bench: &Bench) -> Result<()> {
    if is_installed(Nginx::NAME) { compare::run(bench, &Nginx) } else { Ok(()) }
}
