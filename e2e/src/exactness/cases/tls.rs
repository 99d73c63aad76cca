//! Kernel TLS: the application moves plain bytes, while the connection's own counters count the encrypted records.

use std::{io, net::Shutdown};

use rustix::net::{RecvFlags, recv};

use super::{
    Case,
    streams::{Receive, Send, exchange_between, recv_plain, send_file, send_plain, splice_in, splice_out},
};
use crate::exactness::{
    error::{CaseError, Done},
    sockets::{Family, Stream, VERSIONS, connected},
    stage::Stage,
    sys::tls::{Use, add_layer, set_key},
};

const KEYS: [[u8; 16]; 2] = [[7; 16], [9; 16]];

/// Ways to send and receive. Splice out of kernel TLS has a name of its own, by which `EXCUSED` finds it.
const WAYS: [(&str, Send, Receive); 4] = [
    ("both-send-recv", send_plain, recv_plain),
    ("both-sendfile", send_file, recv_plain),
    ("both-splice-in", splice_in, recv_plain),
    ("splice-out", send_plain, splice_out),
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for family in VERSIONS {
        let name = |what: &str| format!("tls/{what}/{}", family.name());
        for (way, send, receive) in WAYS {
            cases.push(Case::waiting(name(way), move |stage| both(stage, family, send, receive)));
        }
        cases.extend([
            Case::waiting(name("without-keys"), move |stage| keyless(stage, family)),
            Case::waiting(name("one-direction"), move |stage| one_direction(stage, family)),
            Case::waiting(name("keys-without-plain-bytes"), move |stage| at_once(stage, family)),
            Case::waiting(name("encrypts-only"), move |stage| encrypts(stage, family)),
            Case::waiting(name("decrypts-only"), move |stage| decrypts(stage, family)),
            Case::new(name("unread-at-close"), move |stage| unread(stage, family)),
            Case::new(name("ended-by-peer"), move |stage| ended(stage, family)),
        ]);
    }
    cases
}

fn layered(stream: &Stream) -> Done {
    add_layer(&stream.socket).map_err(|error| CaseError::unsupported(format!("no kernel TLS here: {error}")))
}

/// Sets the keys of one direction, which is encrypted from then on.
fn encrypt(from: &Stream, to: &Stream, key: [u8; 16]) -> Done {
    let lacking = |error: io::Error| CaseError::unsupported(format!("kernel TLS lacks AES-GCM: {error}"));
    set_key(&from.socket, Use::Sending, key).map_err(lacking)?;
    set_key(&to.socket, Use::Receiving, key).map_err(lacking)
}

/// Opens a connection, moves plain bytes in both directions, and then adds the TLS layer at both ends.
fn after_plain_bytes(stage: &mut Stage, family: Family) -> Done<(Stream, Stream)> {
    let (client, server) = connected(stage, family)?;
    exchange_between(stage, &client, &server, send_plain, recv_plain)?;
    layered(&client)?;
    layered(&server)?;
    Ok((client, server))
}

/// Encrypts both directions in the middle of a connection.
fn both(stage: &mut Stage, family: Family, send: Send, receive: Receive) -> Done {
    let (client, server) = after_plain_bytes(stage, family)?;
    encrypt(&client, &server, KEYS[0])?;
    encrypt(&server, &client, KEYS[1])?;
    for _ in 0..3 {
        exchange_between(stage, &client, &server, send, receive)?;
    }
    stage.compare(&mut [])?;
    exchange_between(stage, &client, &server, send, receive)
}

/// Adds the kernel's TLS layer but sets no keys: bytes stay plain and are counted as before.
fn keyless(stage: &mut Stage, family: Family) -> Done {
    let (client, server) = after_plain_bytes(stage, family)?;
    for (_, send, receive) in WAYS.into_iter().filter(|(way, ..)| *way != "splice-out") {
        exchange_between(stage, &client, &server, send, receive)?;
    }
    stage.compare(&mut [])
}

/// Encrypts one direction, while the other one goes on with plain bytes.
fn one_direction(stage: &mut Stage, family: Family) -> Done {
    let (client, server) = after_plain_bytes(stage, family)?;
    encrypt(&client, &server, KEYS[0])?;
    for (send, receive) in [(send_plain as Send, recv_plain as Receive), (send_file, recv_plain)] {
        exchange_between(stage, &client, &server, send, receive)?;
    }
    stage.compare(&mut [])
}

/// Sets the keys before the first byte.
fn at_once(stage: &mut Stage, family: Family) -> Done {
    let (client, server) = connected(stage, family)?;
    layered(&client)?;
    layered(&server)?;
    encrypt(&client, &server, KEYS[0])?;
    encrypt(&server, &client, KEYS[1])?;
    exchange_between(stage, &client, &server, send_plain, recv_plain)?;
    stage.compare(&mut [])
}

/// Encrypts at the client only. The server has no kernel TLS: it receives records, whose encrypted bytes count for it.
fn encrypts(stage: &mut Stage, family: Family) -> Done {
    let (client, server) = after_plain_bytes(stage, family)?;
    encrypted(stage, &client, &server)?;
    stage.compare(&mut [])
}

/// Sends plain bytes in records and closes; returns the records, and the number of plain bytes in them.
fn encrypted(stage: &mut Stage, client: &Stream, server: &Stream) -> Done<(Vec<u8>, usize)> {
    set_key(&client.socket, Use::Sending, KEYS[0])
        .map_err(|error| CaseError::unsupported(format!("kernel TLS lacks AES-GCM: {error}")))?;
    let bytes = vec![1; stage.amount()];
    send_plain(client, &bytes)?;
    client.socket.shutdown(Shutdown::Write)?;
    let mut records = Vec::new();
    loop {
        let mut buffer = [0; 9_001];
        match recv(&server.socket, &mut buffer, RecvFlags::empty())?.0 {
            0 => break,
            count => {
                server.received(count);
                records.extend(&buffer[..count]);
            }
        }
    }
    if records.len() <= bytes.len() {
        return Err(CaseError::unexpected("records that are no longer than what is in them"));
    }
    Ok((records, bytes.len()))
}

/// Decrypts at the server only. The client encrypts in user space: it sends records, whose encrypted bytes count for
/// it.
fn decrypts(stage: &mut Stage, family: Family) -> Done {
    let (client, server) = connected(stage, family)?;
    layered(&client)?;
    let (records, length) = encrypted(stage, &client, &server)?;
    let (client, server) = after_plain_bytes(stage, family)?;
    set_key(&server.socket, Use::Receiving, KEYS[0])?;
    send_plain(&client, &records)?;
    recv_plain(&server, length)?;
    stage.compare(&mut [])
}

/// Closes in the middle of a record, with more records unread.
fn unread(stage: &mut Stage, family: Family) -> Done {
    let (client, server) = after_plain_bytes(stage, family)?;
    encrypt(&client, &server, KEYS[0])?;
    send_plain(&client, &vec![1; stage.amount()])?;
    recv_plain(&server, 7_777)?;
    drop(server);
    Ok(())
}

/// Shuts the client's direction down, and reads everything up to its FIN.
fn ended(stage: &mut Stage, family: Family) -> Done {
    let (client, server) = after_plain_bytes(stage, family)?;
    encrypt(&client, &server, KEYS[0])?;
    let bytes = vec![1; stage.amount()];
    send_plain(&client, &bytes)?;
    client.socket.shutdown(Shutdown::Write)?;
    match server.receive_to_end()? {
        count if count == bytes.len() => Ok(()),
        count => Err(CaseError::unexpected(format!("{count} of {} bytes before the end", bytes.len()))),
    }
}
