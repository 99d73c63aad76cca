//! Urgent bytes (MSG_OOB). Each has a sequence number, but a reader that skips it has not received it.

use std::net::Shutdown;

use rustix::{
    event::{PollFd, PollFlags, poll},
    net::{RecvFlags, SendFlags, recv, send},
};

use super::{
    Case,
    streams::{recv_plain, send_plain, splice_out},
};
use crate::exactness::{
    error::{CaseError, Done},
    sockets::{FAMILIES, Family, Stream, connected},
    stage::Stage,
    sys::sockets::set_option,
};

/// Function that runs a case on the client's and the server's end of a connection.
type Run = fn(&mut Stage, &Stream, &Stream) -> Done;

pub(super) fn cases() -> Vec<Case> {
    let all: [(&str, Run); 10] = [
        ("read-first", read_first),
        ("read-in-order", read_in_order),
        ("peeked", peeked),
        ("skipped", skipped),
        ("skipped-after-splice", skipped_after_splice),
        ("skipped-then-end", skipped_then_end),
        ("inline", inline),
        ("inline-spliced", inline_spliced),
        ("two-at-once", two_at_once),
        ("unread-at-close", unread_at_close),
    ];
    let of = |(name, run): (&'static str, Run)| {
        FAMILIES.map(|family| {
            Case::new(format!("urgent/{name}/{}", family.name()), move |stage| on(stage, family, run))
        })
    };
    all.into_iter().flat_map(of).collect()
}

/// Runs the case on a new connection.
fn on(stage: &mut Stage, family: Family, run: Run) -> Done {
    let (client, server) = connected(stage, family)?;
    run(stage, &client, &server)
}

/// Sends bytes, the last of which is urgent, and waits until poll(2) reports POLLPRI at the other end.
fn send_urgent(from: &Stream, to: &Stream, length: usize) -> Done {
    let bytes = vec![1; length];
    let sent = send(&from.socket, &bytes, SendFlags::OOB)?;
    from.sent(sent);
    if sent != length {
        return Err(CaseError::unexpected(format!("{sent} of {length} bytes were taken")));
    }
    poll(&mut [PollFd::new(&to.socket, PollFlags::PRI)], None)?;
    Ok(())
}

fn receive_urgent(stream: &Stream) -> Done {
    stream.receive_by(1, 1, |buffer| recv(&stream.socket, buffer, RecvFlags::OOB).map(|got| got.0))
}

/// Moves some bytes that are not urgent, and an answer.
fn go_on(stage: &mut Stage, client: &Stream, server: &Stream) -> Done {
    let bytes = vec![1; stage.amount()];
    send_plain(client, &bytes)?;
    recv_plain(server, bytes.len())?;
    send_plain(server, &bytes[..3_210])?;
    recv_plain(client, 3_210)
}

fn read_first(stage: &mut Stage, client: &Stream, server: &Stream) -> Done {
    send_urgent(client, server, 101)?;
    receive_urgent(server)?;
    recv_plain(server, 100)?;
    go_on(stage, client, server)
}

fn read_in_order(stage: &mut Stage, client: &Stream, server: &Stream) -> Done {
    for length in [77, 1, 5_000] {
        send_urgent(client, server, length)?;
        recv_plain(server, length - 1)?;
        receive_urgent(server)?;
    }
    go_on(stage, client, server)
}

fn peeked(stage: &mut Stage, client: &Stream, server: &Stream) -> Done {
    send_urgent(client, server, 300)?;
    let peeked = recv(&server.socket, &mut [0; 1], RecvFlags::OOB | RecvFlags::PEEK)?.0;
    if peeked != 1 {
        return Err(CaseError::unexpected("no urgent byte to peek at"));
    }
    recv_plain(server, 299)?;
    receive_urgent(server)?;
    go_on(stage, client, server)
}

/// Skips the urgent byte: no call returns it.
fn skipped(stage: &mut Stage, client: &Stream, server: &Stream) -> Done {
    for length in [1, 400] {
        send_urgent(client, server, length)?;
        send_plain(client, &[1; 50])?;
        recv_plain(server, length - 1 + 50)?;
    }
    go_on(stage, client, server)
}

/// Receives by splice, which ends at the urgent mark; a recv passes the mark.
fn skipped_after_splice(stage: &mut Stage, client: &Stream, server: &Stream) -> Done {
    send_urgent(client, server, 9_000)?;
    send_plain(client, &[1; 600])?;
    splice_out(server, 8_999)?;
    recv_plain(server, 1)?;
    splice_out(server, 599)?;
    go_on(stage, client, server)
}

/// Skips an urgent byte that is the last one before the end of the stream.
fn skipped_then_end(_: &mut Stage, client: &Stream, server: &Stream) -> Done {
    send_urgent(client, server, 200)?;
    client.socket.shutdown(Shutdown::Write)?;
    match server.receive_to_end()? {
        199 => Ok(()),
        count => Err(CaseError::unexpected(format!("{count} bytes before the end"))),
    }
}

/// Receives the urgent byte in line with the others (SO_OOBINLINE).
fn inline(stage: &mut Stage, client: &Stream, server: &Stream) -> Done {
    set_option(&server.socket, libc::SOL_SOCKET, libc::SO_OOBINLINE, 1)?;
    for length in [1, 777] {
        send_urgent(client, server, length)?;
        recv_plain(server, length)?;
    }
    go_on(stage, client, server)
}

fn inline_spliced(stage: &mut Stage, client: &Stream, server: &Stream) -> Done {
    set_option(&server.socket, libc::SOL_SOCKET, libc::SO_OOBINLINE, 1)?;
    send_urgent(client, server, 777)?;
    send_plain(client, &[1; 600])?;
    splice_out(server, 776)?;
    recv_plain(server, 1)?;
    splice_out(server, 600)?;
    go_on(stage, client, server)
}

/// Sends a second urgent byte before the first was read, which makes the first one an ordinary byte. If the reader is
/// at the first one, the kernel skips that byte without a call.
fn two_at_once(stage: &mut Stage, client: &Stream, server: &Stream) -> Done {
    send_urgent(client, server, 10)?;
    recv_plain(server, 9)?;
    send_urgent(client, server, 20)?;
    // A reader at an urgent mark is only woken by the byte after the mark. Here the server cannot know where it stands,
    // so it reads until the end instead of waiting for a number of bytes.
    send_plain(client, &[1; 30])?;
    client.socket.shutdown(Shutdown::Write)?;
    server.receive_to_end()?;
    let answer = vec![1; stage.amount()];
    send_plain(server, &answer)?;
    recv_plain(client, answer.len())
}

/// Reads only the urgent byte, and closes with the others unread.
fn unread_at_close(_: &mut Stage, client: &Stream, server: &Stream) -> Done {
    send_urgent(client, server, 500)?;
    receive_urgent(server)
}
