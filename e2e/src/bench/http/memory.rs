//! Memory that open connections take in the process that follows them, and in the kernel.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{HTTP, LEVELS, counted};
use crate::{
    bench::{
        Bench, interrupt,
        rounds::{self, Crew},
        server::Nginx,
        stage::Stage,
        switch::Commands,
        table, usage,
    },
    support::{Result, TestError, bpf},
};

/// Number of connections that are open at once.
const CONNECTIONS: u32 = 10_000;
/// Number of file descriptors that this process needs besides its connections.
const SPARE: u64 = 200;
const LIMIT: Duration = Duration::from_secs(10);
/// Name of the map with the state of each socket, cut as the kernel cuts names.
const SOCKETS: &str = "tt_http_sockets";

pub(super) fn run(bench: &Bench, stage: &Stage) -> Result<()> {
    eprintln!("http, memory: {CONNECTIONS} connections");
    let needed = u64::from(CONNECTIONS) + SPARE;
    let limit = getrlimit(Resource::Nofile);
    if limit.maximum.is_some_and(|maximum| maximum < needed) {
        println!("\nhttp: memory is not measured, since this process may open {:?} files.", limit.maximum);
        return Ok(());
    }
    let raised = Rlimit { current: Some(limit.current.unwrap_or(needed).max(needed)), ..limit };
    setrlimit(Resource::Nofile, raised).map_err(|error| TestError::io("open many files")(error.into()))?;

    let nginx = Nginx::start(false, stage.traced(), bench.cpu)?;
    let mut commands = Commands::new(&bench.host, stage.traced(), &LEVELS);
    rounds::to(&mut commands, Some(HTTP), &mut Crew::new())?;
    let pid = commands.pid()?;
    let before = usage::memory(pid, "RssAnon")?;
    let connections = (0..CONNECTIONS).map(|_| ask(&nginx)).collect::<Result<Vec<TcpStream>>>()?;
    // Each connection sends one more request, so that the product has time to process the first ones before its memory
    // is read.
    for connection in &connections {
        exchange(connection, &nginx).map_err(TestError::io("ask nginx"))?;
    }
    let after = usage::memory(pid, "RssAnon")?;
    let held = bpf::held_by(pid)?.maps;
    let maps = bpf::show("map")?;
    let sockets = maps.iter().find(|map| {
        map["id"].as_u64().is_some_and(|id| held.contains(&id))
            && map["name"].as_str().is_some_and(|name| SOCKETS.starts_with(name))
    });
    let value = sockets.and_then(|map| map["bytes_value"].as_f64());
    let value = value.ok_or_else(|| TestError::unexpected(SOCKETS, "it is no map of the product"))?;
    drop(connections);
    rounds::to(&mut commands, None, &mut Crew::new())?;
    let (requests, lost) = counted(&commands)?;
    if requests + lost < f64::from(CONNECTIONS) {
        return Err(TestError::unexpected("the trace", format!("{requests} requests, {lost} records lost")));
    }
    let each = |kib: f64| kib * 1024.0 / f64::from(CONNECTIONS);
    table::print(
        "Memory for 10,000 open connections of HTTP/1.1, each with two requests behind it.",
        &["", "all, MiB", "a connection, bytes"],
        &[
            vec![
                "anonymous memory of `traffictrace http --summary`".to_owned(),
                format!("{:.1}", (after - before) / 1024.0),
                format!("{:.0}", each(after - before)),
            ],
            vec![
                "the kernel, as socket storage, without its own overhead".to_owned(),
                format!("{:.1}", value * f64::from(CONNECTIONS) / 1048576.0),
                format!("{value:.0}"),
            ],
        ],
    );
    Ok(())
}

/// Opens a connection and completes a first request on it.
fn ask(nginx: &Nginx) -> Result<TcpStream> {
    interrupt::check()?;
    let connection = TcpStream::connect(nginx.at()).map_err(TestError::io("connect to nginx"))?;
    connection.set_read_timeout(Some(LIMIT)).map_err(TestError::io("set a timeout"))?;
    exchange(&connection, nginx).map_err(TestError::io("ask nginx"))?;
    Ok(connection)
}

/// Sends a request and reads its response up to the body, which is `ok`.
fn exchange(mut connection: impl Read + Write, nginx: &Nginx) -> std::io::Result<()> {
    write!(connection, "GET /empty HTTP/1.1\r\nHost: {}\r\n\r\n", nginx.at())?;
    let mut response = Vec::new();
    let mut bytes = [0; 1024];
    while !response.ends_with(b"ok") {
        match connection.read(&mut bytes)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            length => response.extend_from_slice(&bytes[..length]),
        }
    }
    Ok(())
}
