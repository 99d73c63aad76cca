//! A soak of UDP sockets that are used for one query each, as by resolvers, at a steady rate.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use rustix::net::{RecvFlags, SendFlags, recv, recvfrom, send, sendto};

use super::service::{answer_datagrams, before, in_threads, stop_datagrams};
use crate::exactness::{
    error::Done,
    sockets::{Datagrams, Family, bind},
    stage::Stage,
    tally::Direction::Outbound,
};

/// Number of queries a second of all threads together.
const RATE: u64 = 5_000;
const THREADS: u64 = 4;
/// Number of queries of a thread between two looks at the clock.
const BATCH: u64 = 25;

pub(super) fn run(stage: &mut Stage, time: Duration) -> Done {
    let end = Instant::now() + time;
    let (socket, at) = bind(Family::V4)?;
    let server = answer_datagrams(stage, &socket, 2)?;
    let client = stage.fork(|stage| {
        let (count, began) = (AtomicU64::new(0), Instant::now());
        let stage: &Stage = stage;
        in_threads(THREADS as usize, |_| {
            let mut buffer = [0; 512];
            for batch in 1.. {
                for query in 0..BATCH {
                    let client = Datagrams::new(stage, bind(Family::V4)?.0, Some(Outbound))?;
                    // Half of the resolvers connect their socket.
                    if query % 2 == 0 {
                        client.socket.connect(at)?;
                        client.sent(at, send(&client.socket, &[0; 40], SendFlags::empty())?)?;
                        client
                            .received(Some(at), recv(&client.socket, &mut buffer, RecvFlags::empty())?.0)?;
                    } else {
                        client.sent(at, sendto(&client.socket, &[0; 50], SendFlags::empty(), &at)?)?;
                        let length = recvfrom(&client.socket, &mut buffer, RecvFlags::empty())?.0;
                        client.received(Some(at), length)?;
                    }
                }
                count.fetch_add(BATCH, Ordering::Relaxed);
                if !before(end) {
                    break;
                }
                let due = Duration::from_nanos(1_000_000_000 * THREADS * BATCH * batch / RATE);
                thread::sleep(due.saturating_sub(began.elapsed()));
            }
            Ok(())
        })?;
        let (count, seconds) = (count.into_inner(), began.elapsed().as_secs_f64());
        eprintln!("{count} sockets for one query, {:.0}/s", count as f64 / seconds);
        Ok(())
    })?;
    stage.join(client)?;
    stop_datagrams(&Datagrams::new(stage, bind(Family::V4)?.0, Some(Outbound))?, at, 2)?;
    stage.join(server)
}
