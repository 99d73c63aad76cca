//! `traffictrace check`: the answer, and the exit status that scripts rely on.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Command, time::Duration};

use serde_json::Value;
use traffictrace_e2e::support::{
    Result, TestError,
    needs::{self, Host},
    process::{Ended, Process},
    top::Top,
};

use crate::setup::{self, text};

const LIMIT: Duration = Duration::from_secs(60);

fn check(command: &mut Command) -> Result<(Ended, Value)> {
    let ended = Process::start(command.args(["check", "-o", "json"]))?.wait(LIMIT)?;
    let document = serde_json::from_str(&ended.lines.join("\n"))
        .map_err(|error| TestError::unexpected("the document of check", error))?;
    Ok((ended, document))
}

/// Returns a command that runs the product by `setpriv` with these arguments, from a copy that every user can read.
fn without(host: &Host, folder: &tempfile::TempDir, arguments: &[&str]) -> Result<Command> {
    let copy = folder.path().join("traffictrace");
    let readable = fs::Permissions::from_mode(0o755);
    let opened =
        fs::copy(&host.traffictrace, &copy).and_then(|_| fs::set_permissions(folder.path(), readable));
    opened.map_err(TestError::io("copy the binary"))?;
    let mut command = Command::new("setpriv");
    command.args(arguments).arg(text(&copy));
    Ok(command)
}

#[test]
fn as_root_it_says_what_is_used() -> Result<()> {
    let Some(host) = needs::host() else { return Ok(()) };
    let (ended, document) = check(&mut Command::new(&host.traffictrace))?;
    assert!(ended.status.success(), "{document}");
    assert_eq!(document["works"], true, "{document}");
    let used = document["hookTier"].as_str().unwrap_or_default();
    let tiers = document["hookTiers"].as_array().cloned().unwrap_or_default();
    assert_eq!(
        tiers.iter().map(|tier| &tier["name"]).collect::<Vec<_>>(),
        ["tp_btf", "fexit", "kretprobe"],
        "{document}"
    );
    // The first working tier is the one in use; a tier that does not work gives a reason.
    let first = tiers.iter().find(|tier| tier["works"] == true).map(|tier| tier["name"].clone());
    assert_eq!(first, Some(used.into()), "{document}");
    for tier in tiers.iter().filter(|tier| tier["works"] == false) {
        assert!(tier["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{document}");
    }
    assert_eq!(document["missingCapabilities"], Value::Array(Vec::new()), "{document}");
    for answer in ["http", "tls"] {
        // Each feature works, or gives a reason.
        let (works, reason) = (&document[answer]["works"], &document[answer]["reason"]);
        assert!(works == true && reason.is_null() || works == false && reason.is_string(), "{document}");
    }
    assert_eq!(document["cgroupRoot"], text(&host.cgroup_root), "{document}");
    Ok(())
}

/// The limits that `check` reports are also in the output of `top`, and `check` explains each.
#[test]
fn top_names_what_check_explains() -> Result<()> {
    let Some((host, cgroup)) = setup::cgroup() else { return Ok(()) };
    let (_, document) = check(&mut Command::new(&host.traffictrace))?;
    let limits = document["notSeen"].as_array().cloned().unwrap_or_default();
    for limit in &limits {
        assert!(limit["meaning"].as_str().is_some_and(|meaning| meaning.ends_with('.')), "{limit}");
    }
    let names: Vec<_> = limits.iter().filter_map(|limit| limit["name"].as_str()).collect();
    let top = Top::start(&host, &["--cgroup", text(cgroup.path())])?;
    assert_eq!(top.interrupt()?.not_seen, names);
    Ok(())
}

#[test]
fn a_plain_user_is_told_what_is_missing() -> Result<()> {
    let Some(host) = needs::host() else { return Ok(()) };
    let folder = tempfile::tempdir().map_err(TestError::io("make a folder"))?;
    let user = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    let (ended, document) = check(&mut without(&host, &folder, &user)?)?;
    assert_eq!(ended.status.code(), Some(1), "{document}");
    assert_eq!(document["works"], false, "{document}");
    assert_eq!(document["hookTier"], Value::Null, "{document}");
    let missing = ["CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN"];
    assert_eq!(document["missingCapabilities"], Value::from(&missing[..]), "{document}");
    assert!(ended.stderr.contains("CAP_BPF"), "{}", ended.stderr);
    Ok(())
}

/// The capabilities of the chart's pod are enough; if one is missing, `check` names it.
#[test]
fn some_capabilities() -> Result<()> {
    let Some(host) = needs::host() else { return Ok(()) };
    let folder = tempfile::tempdir().map_err(TestError::io("make a folder"))?;
    let all = "--bounding-set=-all,+bpf,+perfmon,+net_admin";
    let (ended, document) = check(&mut without(&host, &folder, &[all])?)?;
    assert!(ended.status.success(), "{document}");
    let two = "--bounding-set=-all,+bpf,+net_admin";
    let (ended, document) = check(&mut without(&host, &folder, &[two])?)?;
    assert_eq!(ended.status.code(), Some(1), "{document}");
    assert_eq!(document["missingCapabilities"], Value::from(&["CAP_PERFMON"][..]), "{document}");
    Ok(())
}
