//! Calls that block for seconds: the product reads the socket's counters several times before a call returns.

use std::{
    fs,
    net::{Shutdown, TcpListener},
    os::fd::{AsFd, AsRawFd as _},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::{RecvFlags, SendFlags, recv, send, sockopt},
    process::{Pid, getpid},
    thread::gettid,
};

use super::{
    Case,
    streams::{Receive, recv_plain, send_file, send_plain, splice_out},
};
use crate::{
    exactness::{
        error::{CaseError, Done},
        sockets::{Family, Stream, VERSIONS, listen},
        stage::Stage,
        sys::sockets::send_by_number,
        tally::{
            Bytes,
            Direction::{Inbound, Outbound},
        },
    },
    support::wait::POLL,
};

/// Number of bytes that one call sends: many times the size of both socket buffers.
pub(super) const LENGTH: usize = 2 << 20;
/// Number of bytes that the peer reads after each document (JSON snapshot) of `top`.
const PART: usize = 128 << 10;
/// Size that each of the two socket buffers is set to; the kernel doubles it.
const HELD: usize = 64 << 10;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for family in VERSIONS {
        for (way, receive) in [("recv", recv_plain as Receive), ("splice", splice_out)] {
            let name = |what: &str| format!("blocked/{what}-{way}/{}", family.name());
            cases.extend([
                Case::waiting(name("send"), move |stage| by_processes(stage, family, 1, 1, receive)),
                Case::waiting(name("send-two-threads"), move |stage| {
                    by_processes(stage, family, 1, 2, receive)
                }),
                Case::waiting(name("send-two-processes"), move |stage| {
                    by_processes(stage, family, 2, 1, receive)
                }),
            ]);
        }
        let name = |what: &str| format!("blocked/{what}/{}", family.name());
        cases.extend([
            Case::waiting(name("sendfile"), move |stage| of_file(stage, family)),
            Case::waiting(name("send-then-shutdown-by-thread"), move |stage| {
                ended_by_thread(stage, family, true)
            }),
            Case::waiting(name("send-then-close-by-thread"), move |stage| {
                ended_by_thread(stage, family, false)
            }),
            Case::waiting(name("send-then-reset-by-peer"), move |stage| reset(stage, family)),
            Case::waiting(name("send-then-killed"), move |stage| killed(stage, family)),
            Case::waiting(name("waitall"), move |stage| wait_all(stage, family)),
        ]);
    }
    cases
}

/// Opens a connection with small socket buffers at both ends.
pub(super) fn narrow(stage: &Stage, family: Family) -> Done<(Stream, Stream)> {
    let (client, listener) = half_narrow(stage, family)?;
    Ok((client, Stream::accept(stage, &listener)?))
}

/// Opens a connection with small socket buffers, which the caller must still accept from the returned listener.
fn half_narrow(stage: &Stage, family: Family) -> Done<(Stream, TcpListener)> {
    let (listener, at) = listen(family)?;
    // An accepted socket inherits the size from its listener.
    sockopt::set_socket_recv_buffer_size(&listener, HELD)?;
    let client = Stream::connect(stage, at)?;
    sockopt::set_socket_send_buffer_size(&client.socket, HELD)?;
    Ok((client, listener))
}

/// Makes one call that sends [`LENGTH`] bytes; returns the number of bytes that it accepted.
pub(super) fn send_at_once(stream: &Stream) -> Done<usize> {
    let sent = send(&stream.socket, &vec![1; LENGTH], SendFlags::NOSIGNAL)?;
    stream.sent(sent);
    Ok(sent)
}

/// Waits until a thread sleeps in a call because the socket accepts no more bytes.
pub(super) fn await_blocked(socket: impl AsFd, process: Pid, thread: Pid) -> Done {
    await_asleep(process, thread, || {
        Ok(poll(&mut [PollFd::new(&socket, PollFlags::OUT)], Some(&Timespec::default()))? == 0)
    })
}

/// Waits until `is_so` returns true and the thread sleeps.
pub(super) fn await_asleep(process: Pid, thread: Pid, is_so: impl Fn() -> Done<bool>) -> Done {
    let (process, thread) = (process.as_raw_nonzero(), thread.as_raw_nonzero());
    let path = format!("/proc/{process}/task/{thread}/stat");
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline {
        // The state follows the name, which is in brackets.
        let state = fs::read_to_string(&path)?;
        if is_so()? && state.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('S')) {
            return Ok(());
        }
        thread::sleep(POLL);
    }
    Err(CaseError::unexpected("nothing waited in a call within 20 s"))
}

/// Reads [`PART`] bytes after each of three documents of `top`, and then the rest.
fn read_slowly(stage: &Stage, server: &Stream, length: usize, receive: Receive) -> Done {
    for _ in 0..3 {
        stage.await_documents(1)?;
        receive(server, PART)?;
    }
    stage.await_documents(1)?;
    receive(server, length - 3 * PART)
}

/// Blocks `threads` threads of each of `processes` processes in one send call on the same socket, while the peer reads
/// slowly.
fn by_processes(
    stage: &mut Stage,
    family: Family,
    processes: usize,
    threads: usize,
    receive: Receive,
) -> Done {
    let (client, server) = narrow(stage, family)?;
    let mut children = Vec::new();
    for _ in 0..processes {
        children.push(stage.fork(|stage| {
            let client = Stream::new(stage, client.socket.try_clone()?, Some(Outbound))?;
            thread::scope(|scope| {
                let calls: Vec<_> = (0..threads).map(|_| scope.spawn(|| send_at_once(&client))).collect();
                calls.into_iter().try_for_each(|call| {
                    match call.join().map_err(|_| CaseError::unexpected("a thread panicked"))?? {
                        LENGTH => Ok(()),
                        sent => Err(CaseError::unexpected(format!("{sent} bytes were taken"))),
                    }
                })
            })?;
            // The counts are compared while all sockets are still open; only then does the server send its answer.
            stage.wait_for_parent()?;
            recv_plain(&client, 3_000)
        })?);
    }
    read_slowly(stage, &server, LENGTH * processes * threads, receive)?;
    stage.compare(&mut children.iter_mut().collect::<Vec<_>>())?;
    send_plain(&server, &vec![1; 3_000 * processes])?;
    children.into_iter().try_for_each(|child| stage.join(child))?;
    stage.compare(&mut [])
}

/// Sends a file by a single call, sendfile.
fn of_file(stage: &mut Stage, family: Family) -> Done {
    let (client, server) = narrow(stage, family)?;
    let mut child = stage.fork(|stage| {
        let client = Stream::new(stage, client.socket.try_clone()?, Some(Outbound))?;
        send_file(&client, &vec![1; LENGTH])?;
        stage.wait_for_parent()
    })?;
    read_slowly(stage, &server, LENGTH, recv_plain)?;
    stage.compare(&mut [&mut child])?;
    stage.join(child)
}

/// A second thread ends the call of the first. If the second one shuts the socket's sending direction down, the waiting
/// call returns the number of bytes that it has sent so far. If it closes the descriptor, the call goes on until all
/// bytes are sent.
fn ended_by_thread(stage: &mut Stage, family: Family, shuts_down: bool) -> Done {
    let (client, server) = narrow(stage, family)?;
    let (flow, socket) = (client.flow(), client.socket);
    let mut child = stage.fork(|stage| {
        let number = socket.as_raw_fd();
        let (tell, told) = mpsc::channel();
        let call = thread::spawn(move || {
            let _ = tell.send(gettid());
            send_by_number(number, &vec![1; LENGTH])
        });
        let thread = told.recv().map_err(|_| CaseError::unexpected("a thread panicked"))?;
        await_blocked(&socket, getpid(), thread)?;
        stage.wait_for_parent()?;
        if shuts_down {
            socket.shutdown(Shutdown::Write)?;
        } else {
            drop(socket);
        }
        let sent = call.join().map_err(|_| CaseError::unexpected("a thread panicked"))??;
        stage.tally.book(flow, Some(Outbound), 0, sent);
        Ok(())
    })?;
    child.await_waiting()?;
    stage.await_documents(3)?;
    child.go_on()?;
    if shuts_down {
        // The call returns although nobody reads.
        stage.join(child)?;
        server.receive_to_end()?;
    } else {
        stage.await_documents(2)?;
        recv_plain(&server, LENGTH)?;
        stage.join(child)?;
    }
    stage.compare(&mut [])
}

/// Resets the connection from the peer while a call waits; the call returns the number of bytes that it has sent so
/// far.
fn reset(stage: &mut Stage, family: Family) -> Done {
    // The child must not inherit the server's end, which is closed only when its last holder closes it.
    let (client, listener) = half_narrow(stage, family)?;
    let mut child = stage.fork(|stage| {
        let client = Stream::new(stage, client.socket.try_clone()?, Some(Outbound))?;
        match send_at_once(&client) {
            Ok(_) | Err(CaseError::Call { .. }) => stage.wait_for_parent(),
            Err(error) => Err(error),
        }
    })?;
    let server = Stream::accept(stage, &listener)?;
    await_blocked(&client.socket, child.pid, child.pid)?;
    stage.await_documents(2)?;
    recv_plain(&server, PART)?;
    stage.await_documents(1)?;
    sockopt::set_socket_linger(&server.socket, Some(Duration::ZERO))?;
    drop(server);
    stage.compare(&mut [&mut child])?;
    stage.join(child)
}

/// Kills a process inside its call. The bytes that the call had sent by then arrive, and are counted for that process.
fn killed(stage: &mut Stage, family: Family) -> Done {
    let (client, server) = narrow(stage, family)?;
    let child = stage.fork(|stage| {
        let client = Stream::new(stage, client.socket.try_clone()?, Some(Outbound))?;
        send_at_once(&client).map(drop)
    })?;
    let pid = child.pid;
    await_blocked(&client.socket, pid, pid)?;
    stage.await_documents(3)?;
    child.kill_now()?;
    let flow = client.flow();
    drop(client);
    let received = server.receive_to_end()?;
    let bytes = Bytes { tx: received as u64, direction: Some(Outbound), ..Bytes::default() };
    stage.count_for(pid, flow, &bytes)?;
    stage.compare(&mut [])
}

/// Receives with MSG_WAITALL: the call has half of its bytes while `top` prints several documents.
fn wait_all(stage: &mut Stage, family: Family) -> Done {
    let (listener, at) = listen(family)?;
    let client = Stream::connect(stage, at)?;
    let server = Stream::accept(stage, &listener)?;
    let half = stage.amount();
    let mut child = stage.fork(|stage| {
        let server = Stream::new(stage, server.socket.try_clone()?, Some(Inbound))?;
        let (received, _) = recv(&server.socket, vec![0; 2 * half].as_mut_slice(), RecvFlags::WAITALL)?;
        server.received(received);
        stage.wait_for_parent()
    })?;
    send_plain(&client, &vec![1; half])?;
    stage.await_documents(4)?;
    send_plain(&client, &vec![1; half])?;
    stage.compare(&mut [&mut child])?;
    stage.join(child)
}
