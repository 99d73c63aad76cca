//! Tests of how the plugin ends after a signal.
#![cfg(unix)]

use std::{
    error::Error,
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Time limit for the plugin to end, and the interval at which that is checked.
const LIMIT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);

/// Interrupts `check` while it waits for an API server that never responds.
#[test]
fn a_check_that_is_interrupted_says_so() -> Result<(), Box<dyn Error>> {
    let server = TcpListener::bind("127.0.0.1:0")?;
    let folder = tempfile::tempdir()?;
    let config = config(folder.path(), &server)?;
    for arguments in [&["check"][..], &["check", "--try"]] {
        let mut plugin = Command::new(env!("CARGO_BIN_EXE_kubectl-traffictrace"))
            .args(arguments)
            .env("KUBECONFIG", &config)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (mut connection, _) = server.accept()?;
        // Once the first byte of the request is here, the plugin waits for the response.
        connection.read_exact(&mut [0])?;
        interrupt(&mut plugin)?;
        let output = plugin.wait_with_output()?;
        let stderr = String::from_utf8(output.stderr)?;
        assert_eq!((output.status.code(), stderr.lines().count()), (Some(130), 1), "{stderr}");
        assert!(stderr.starts_with("error: interrupted: not everything was looked at"), "{stderr}");
        assert!(output.stdout.is_empty());
    }
    Ok(())
}

/// Interrupts `get --watch` while it writes to a pipe whose reader has stopped reading.
#[test]
fn a_watch_whose_output_nobody_reads_ends() -> Result<(), Box<dyn Error>> {
    let server = TcpListener::bind("127.0.0.1:0")?;
    let folder = tempfile::tempdir()?;
    let config = config(folder.path(), &server)?;
    let mut plugin = Command::new(env!("CARGO_BIN_EXE_kubectl-traffictrace"))
        .args(["get", "--watch"])
        .env("KUBECONFIG", &config)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    // The rows have several times the capacity of a pipe, so the plugin cannot write them at once.
    let rows: Vec<_> = (0..4000)
        .map(|row| {
            let name = format!("{row:0100}");
            serde_json::json!({"cells": [name], "object": {"metadata": {"name": name}}})
        })
        .collect();
    let table = serde_json::json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {"resourceVersion": "1"}, "rows": rows,
        "columnDefinitions": [{"name": "Name", "type": "string", "format": "name", "description": "", "priority": 0}],
    });
    let table = table.to_string();
    let (mut connection, _) = server.accept()?;
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        connection.read_exact(&mut byte)?;
        request.extend(byte);
    }
    write!(
        connection,
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{table}",
        table.len()
    )?;
    let mut output = plugin.stdout.take().ok_or("no output")?;
    // After one byte is read, the rest still does not fit into the pipe.
    output.read_exact(&mut [0])?;
    interrupt(&mut plugin)?;
    let end = Instant::now() + LIMIT;
    let status = loop {
        match plugin.try_wait()? {
            None if Instant::now() < end => thread::sleep(POLL),
            None => break plugin.kill().map(|()| None)?,
            status => break status,
        }
    };
    assert!(status.is_some_and(|status| status.success()), "{status:?}");
    Ok(())
}

/// Writes the configuration of a cluster whose API server is `server`.
fn config(folder: &Path, server: &TcpListener) -> Result<PathBuf, Box<dyn Error>> {
    let config = folder.join("config");
    let text = serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": format!("http://{}", server.local_addr()?)}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": "shop"}}],
        "users": [{"name": "u", "user": {}}],
    });
    fs::write(&config, text.to_string())?;
    Ok(config)
}

/// Sends SIGINT, the signal of Ctrl-C.
fn interrupt(plugin: &mut Child) -> Result<(), Box<dyn Error>> {
    let sent = Command::new("kill").args(["-INT", &plugin.id().to_string()]).status()?;
    if !sent.success() {
        plugin.kill()?;
    }
    Ok(())
}
