//! Many short-lived processes.

use super::{
    Case,
    streams::{recv_plain, send_plain},
};
use crate::exactness::{
    error::Done,
    sockets::{Family, Stream, listen},
    stage::Stage,
};

pub(super) fn cases() -> Vec<Case> {
    vec![Case::new("crowd/short-lived-clients", short_lived)]
}

/// Starts many processes at a time, each of which opens one connection and ends.
fn short_lived(stage: &mut Stage) -> Done {
    const PROCESSES: usize = 300;
    const TOGETHER: usize = 50;
    let (listener, at) = listen(Family::V4)?;
    let server = stage.fork(|stage| {
        for _ in 0..PROCESSES {
            let stream = Stream::accept(stage, &listener)?;
            recv_plain(&stream, 300)?;
            send_plain(&stream, &[1; 4_000])?;
        }
        Ok(())
    })?;
    for _ in 0..PROCESSES / TOGETHER {
        let clients: Vec<_> = (0..TOGETHER)
            .map(|_| {
                stage.fork(|stage| {
                    let stream = Stream::connect(stage, at)?;
                    send_plain(&stream, &[1; 300])?;
                    recv_plain(&stream, 4_000)
                })
            })
            .collect::<Done<_>>()?;
        clients.into_iter().try_for_each(|client| stage.join(client))?;
    }
    stage.join(server)
}
