//! The server: accepts connections and answers on them.

use std::{
    io,
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::AsFd as _,
    sync::atomic::{AtomicUsize, Ordering},
    thread::{self, Scope},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

use super::{
    WorkloadError,
    cli::{ProcessArgs, ServerArgs},
    count::{Event, Ledger, Output, Role},
    exchange::{Connection, End},
    stop::{CALL_TIMEOUT, Stop},
};

/// Serves until the process is stopped; returns true if no connection broke.
pub(super) fn run(
    args: &ServerArgs,
    process: &ProcessArgs,
    stop: &Stop,
    output: &Output,
) -> Result<bool, WorkloadError> {
    let listeners = if process.inherited_listener { vec![inherited()?] } else { bind(&args.listen)? };
    let addresses = addresses(&listeners)?;
    let ledger = Ledger::default();
    output.print(&ledger, Event::Listening, Role::Server, &addresses)?;
    let service = Service { ledger: &ledger, stop, closed: &AtomicUsize::new(0), last: args.connections };
    thread::scope(|scope| {
        while !stop.is_set() {
            if stop.take_snapshot_request() {
                output.print(&ledger, Event::Snapshot, Role::Server, &addresses)?;
            }
            for listener in ready(&listeners)? {
                service.accept(scope, listener);
            }
        }
        Ok::<_, WorkloadError>(())
    })?;
    output.print(&ledger, Event::Done, Role::Server, &addresses)?;
    Ok(ledger.failures() == 0)
}

/// Binds every address; from then on, connections wait in the kernel's queue.
pub(super) fn bind(listen: &[SocketAddr]) -> Result<Vec<TcpListener>, WorkloadError> {
    listen
        .iter()
        .map(|address| {
            let listener = TcpListener::bind(address)
                .map_err(|source| WorkloadError::Listen { address: *address, source })?;
            // Several processes may be woken for one connection; those that come too late must not block in accept.
            listener
                .set_nonblocking(true)
                .map_err(|source| WorkloadError::Listen { address: *address, source })?;
            Ok(listener)
        })
        .collect()
}

fn inherited() -> Result<TcpListener, WorkloadError> {
    let socket = io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .map_err(|source| WorkloadError::system("take the inherited listening socket", source))?;
    Ok(TcpListener::from(socket))
}

fn addresses(listeners: &[TcpListener]) -> Result<Vec<SocketAddr>, WorkloadError> {
    listeners
        .iter()
        .map(TcpListener::local_addr)
        .collect::<Result<_, _>>()
        .map_err(|source| WorkloadError::system("read the address of a listening socket", source))
}

/// Returns the listeners that have a waiting connection; none after a signal or after [`CALL_TIMEOUT`].
fn ready(listeners: &[TcpListener]) -> Result<Vec<&TcpListener>, WorkloadError> {
    let mut fds: Vec<_> = listeners.iter().map(|listener| PollFd::new(listener, PollFlags::IN)).collect();
    let timeout = Timespec::try_from(CALL_TIMEOUT)
        .map_err(|_| WorkloadError::Usage("the poll timeout does not fit a timespec".to_owned()))?;
    match poll(&mut fds, Some(&timeout)) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(source) => return Err(WorkloadError::system("wait for connections", source)),
    }
    let ready = fds.iter().map(|fd| !fd.revents().is_empty());
    Ok(listeners.iter().zip(ready).filter_map(|(listener, ready)| ready.then_some(listener)).collect())
}

#[derive(Clone, Copy)]
struct Service<'a> {
    ledger: &'a Ledger,
    stop: &'a Stop,
    closed: &'a AtomicUsize,
    last: Option<usize>,
}

impl<'scope> Service<'scope> {
    fn accept(self, scope: &'scope Scope<'scope, '_>, listener: &TcpListener) {
        match listener.accept() {
            Ok((stream, _)) => {
                // A trace must show the name of the process. This thread has another name, so that the tests notice if
                // it shows the name of a thread.
                let spawned =
                    thread::Builder::new().name("tt-serve".to_owned()).spawn_scoped(scope, move || {
                        self.serve(stream);
                    });
                if let Err(error) = spawned {
                    self.ledger.failed(|| format!("cannot start a thread: {error}"));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => self.ledger.failed(|| format!("cannot accept: {error}")),
        }
    }

    fn serve(self, stream: TcpStream) {
        let end = match stream
            .set_nonblocking(false)
            .and_then(|()| Connection::new(stream, self.ledger, self.stop))
        {
            Ok(mut connection) => connection.answer_all(),
            Err(error) => End::Broken(error),
        };
        if let End::Broken(error) = end {
            self.ledger.failed(|| format!("connection broke: {error}"));
        }
        let closed = self.closed.fetch_add(1, Ordering::Relaxed) + 1;
        if self.last == Some(closed) {
            self.stop.finish();
        }
    }
}
