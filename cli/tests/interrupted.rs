//! The plugin's end by a signal, before it had its result.
#![cfg(unix)]

use std::{
    error::Error,
    fs,
    io::Read as _,
    net::TcpListener,
    process::{Command, Stdio},
};

/// An API server that never answers.
#[test]
fn a_check_that_is_interrupted_says_so() -> Result<(), Box<dyn Error>> {
    let server = TcpListener::bind("127.0.0.1:0")?;
    let folder = tempfile::tempdir()?;
    let config = folder.path().join("config");
    let text = serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": format!("http://{}", server.local_addr()?)}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": "shop"}}],
        "users": [{"name": "u", "user": {}}],
    });
    fs::write(&config, text.to_string())?;
    for arguments in [&["check"][..], &["check", "--try"]] {
        let mut plugin = Command::new(env!("CARGO_BIN_EXE_kubectl-traffictrace"))
            .args(arguments)
            .env("KUBECONFIG", &config)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (mut connection, _) = server.accept()?;
        // The plugin waits for the answer to the request that begins here.
        connection.read_exact(&mut [0])?;
        let sent = Command::new("kill").args(["-INT", &plugin.id().to_string()]).status()?;
        if !sent.success() {
            plugin.kill()?;
        }
        let output = plugin.wait_with_output()?;
        let stderr = String::from_utf8(output.stderr)?;
        assert_eq!((output.status.code(), stderr.lines().count()), (Some(130), 1), "{stderr}");
        assert!(stderr.starts_with("error: interrupted: not everything was looked at"), "{stderr}");
        assert!(output.stdout.is_empty());
    }
    Ok(())
}
