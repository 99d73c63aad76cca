//! The agent without a cluster: manifests and pods are read from files, and statuses are written beside them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use rustix::process::Signal;
use serde::Deserialize;
use traffictrace_crd::{Phase, TrafficTraceStatus};
use traffictrace_e2e::{
    support::{
        Result, TestError, bpf,
        cgroup::Cgroup,
        needs::Host,
        process::Process,
        server::{self, Nginx, curl},
        wait,
        workload::Workload,
    },
    workload::count::{Event, Line},
};

use crate::setup::{self, client, seed, text};

/// Time limit of every step.
const LIMIT: Duration = Duration::from_secs(20);

#[derive(Deserialize)]
struct StatusFile {
    status: TrafficTraceStatus,
}

/// A folder with manifests, and the agent that watches it.
struct Agent {
    folder: tempfile::TempDir,
    process: Process,
}

impl Agent {
    /// Starts the agent with these pods: each is one cgroup, and has its name as label `app`.
    fn start(host: &Host, pods: &[(&str, &Path)], manifests: &[(&str, &str)]) -> Result<Self> {
        let folder = tempfile::tempdir().map_err(TestError::io("make a folder"))?;
        write(folder.path(), "pods.yaml", &pods_file(pods))?;
        for (file, manifest) in manifests {
            write(folder.path(), file, manifest)?;
        }
        let mut command = Command::new(&host.traffictrace);
        command.args(["agent", "--standalone", text(folder.path())]);
        Ok(Self { process: Process::start(&mut command)?, folder })
    }

    fn status_file(&self, trace: &str) -> PathBuf {
        self.folder.path().join(format!("{trace}.status.yaml"))
    }

    /// Waits until `wanted` accepts the status of a trace; returns that status.
    fn status(
        &self,
        trace: &str,
        what: &str,
        wanted: impl Fn(&TrafficTraceStatus) -> bool,
    ) -> Result<TrafficTraceStatus> {
        let file = self.status_file(trace);
        wait::until(what, LIMIT, || {
            let Ok(text) = fs::read_to_string(&file) else { return Ok(Err("no status".to_owned())) };
            // The file is replaced in one step, so it can always be parsed.
            let found: StatusFile =
                serde_saphyr::from_str(&text).map_err(|error| TestError::unexpected(text.clone(), error))?;
            Ok(if wanted(&found.status) { Ok(found.status) } else { Err(text) })
        })
    }

    fn running(&self, trace: &str) -> Result<TrafficTraceStatus> {
        self.status(trace, "the trace to run", |status| status.phase == Some(Phase::Running))
    }

    /// Interrupts the agent; returns its output, and the folder with the files that it wrote.
    fn interrupt(self) -> Result<(String, tempfile::TempDir)> {
        self.process.signal(Signal::INT)?;
        let ended = self.process.wait(LIMIT)?;
        assert!(ended.status.success(), "{}: {}", ended.status, ended.stderr);
        Ok((ended.stderr, self.folder))
    }
}

fn write(folder: &Path, file: &str, content: &str) -> Result<()> {
    fs::write(folder.join(file), content).map_err(TestError::io(format!("write {file}")))
}

fn pods_file(pods: &[(&str, &Path)]) -> String {
    let line = |(name, cgroup): &(&str, &Path)| {
        format!("- {{name: {name}, labels: {{app: {name}}}, cgroup: {}}}\n", text(cgroup))
    };
    pods.iter().map(line).collect()
}

fn manifest(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: traffictrace.dev/v1alpha1\nkind: TrafficTrace\nmetadata:\n  name: {name}\nspec:\n{spec}  interval: 5s\n  duration: 5m\n"
    )
}

fn sum(lines: &[Line]) -> (i64, i64) {
    let sum =
        |bytes: fn(&Line) -> u64| i64::try_from(lines.iter().map(bytes).sum::<u64>()).unwrap_or(i64::MAX);
    (sum(|line| line.rx_bytes), sum(|line| line.tx_bytes))
}

fn read(folder: &Path, trace: &str) -> Result<TrafficTraceStatus> {
    let text = fs::read_to_string(folder.join(format!("{trace}.status.yaml")))
        .map_err(TestError::io("read a status"))?;
    let file: StatusFile =
        serde_saphyr::from_str(&text).map_err(|error| TestError::unexpected(text, error))?;
    Ok(file.status)
}

fn group(cgroup: &Cgroup, names: [&str; 3]) -> Result<[PathBuf; 3]> {
    let [a, b, c] = names.map(|name| cgroup.child(name));
    Ok([a?, b?, c?])
}

/// Two traces with different selectors each show their own pods, byte for byte, and a third pod is in neither.
#[test]
fn each_trace_shows_its_own_pods_exactly() -> Result<()> {
    let Some((host, cgroup)) = setup::cgroup() else { return Ok(()) };
    let [shop, asker, stranger] = group(&cgroup, ["shop", "asker", "stranger"])?;
    let agent = Agent::start(
        &host,
        &[("shop", &shop), ("asker", &asker), ("stranger", &stranger)],
        &[
            ("a.yaml", &manifest("servers", "  selector: {matchLabels: {app: shop}}\n  groupBy: Process\n")),
            ("b.yaml", &manifest("askers", "  selector: {matchLabels: {app: asker}}\n")),
        ],
    )?;
    agent.running("servers")?;
    agent.running("askers")?;
    assert!(!bpf::held_by(agent.process.pid())?.programs.is_empty());

    let (server, at) = Workload::server(&shop, "127.0.0.1:0", &["--comm", "selling"])?;
    let (other, elsewhere) = Workload::server(&stranger, "127.0.0.1:0", &[])?;
    client(&stranger, elsewhere, &["--connections", "20", "--seed", &seed()])?;
    let asked = client(&asker, at, &["--comm", "asking", "--connections", "200", "--seed", &seed()])?;
    let (pid, answered) = (server.pid(), server.stop()?);
    other.stop()?;
    let (_, folder) = agent.interrupt()?;

    let servers = read(folder.path(), "servers")?;
    assert_eq!((servers.totals.rx_bytes, servers.totals.tx_bytes), sum(&answered));
    assert_eq!(servers.top_flows.len(), 1, "one process, one row: {:?}", servers.top_flows);
    let row = &servers.top_flows[0];
    assert_eq!(
        (row.pod.as_str(), row.command.as_deref(), row.pid),
        ("shop", Some("selling"), Some(pid.into()))
    );
    assert_eq!((row.rx_bytes, row.tx_bytes, row.connections), (sum(&answered).0, sum(&answered).1, 200));

    let askers = read(folder.path(), "askers")?;
    assert_eq!((askers.totals.rx_bytes, askers.totals.tx_bytes), sum(&asked));
    assert!(askers.top_flows.iter().all(|flow| flow.pod == "asker"), "{:?}", askers.top_flows);
    assert_eq!(askers.pods_matched, 1);
    Ok(())
}

/// With `spec.http`, the status shows the requests of a pod beside its flows, as many as in the server's own log.
#[test]
fn requests_are_beside_the_flows() -> Result<()> {
    if !server::installed(&["nginx", "curl"]) {
        return Ok(());
    }
    let Some((host, cgroup)) = setup::cgroup() else { return Ok(()) };
    let [shop, asker, _] = group(&cgroup, ["shop", "asker", "stranger"])?;
    let spec = "  selector: {matchLabels: {app: shop}}\n  http: {topEndpoints: 2}\n";
    let agent = Agent::start(&host, &[("shop", &shop)], &[("a.yaml", &manifest("requests", spec))])?;
    agent.running("requests")?;
    let nginx = Nginx::start(&shop)?;
    let urls = ["/page", "/users/1", "/users/2", "/users/3", "/broken", "/page"].map(|path| nginx.url(path));
    curl(&asker, &[], &urls)?;
    let logged = nginx.stop()?;
    let (_, folder) = agent.interrupt()?;
    let status = read(folder.path(), "requests")?;
    let http = status.http.as_ref().expect("the status has requests");
    assert_eq!((logged.len(), http.totals.requests), (6, 6), "{http:?}");
    assert_eq!((http.endpoints_total, http.truncated), (3, false));
    let rows: Vec<_> = http.top_endpoints.iter().map(|row| (row.path.as_deref(), row.requests)).collect();
    assert_eq!(rows, [(Some("/users/{id}"), 3), (Some("/page"), 2)]);
    let sent: u64 = logged.iter().map(|request| request.bytes_sent).sum();
    assert_eq!(http.totals.response_bytes.cast_unsigned(), sent);
    assert_eq!((status.summary.http.as_str(), status.summary.lost.as_str()), ("6 requests, 1 5xx", "none"));
    Ok(())
}

/// A bad manifest is reported with file, line and field, and affects no other. A removed manifest ends its trace, and
/// the last one leaves nothing in the kernel.
#[test]
fn manifests_are_followed_while_it_runs() -> Result<()> {
    let Some((host, cgroup)) = setup::cgroup() else { return Ok(()) };
    let [shop, later, _] = group(&cgroup, ["shop", "later", "unused"])?;
    let agent = Agent::start(
        &host,
        &[("shop", &shop)],
        &[
            ("bad.yaml", &manifest("bad", "  selector: {}\n  topFlows: 1000\n")),
            ("good.yaml", &manifest("good", "  selector: {}\n")),
        ],
    )?;
    agent.running("good")?;
    let held = bpf::held_by(agent.process.pid())?;
    assert!(!held.programs.is_empty(), "{held:?}");

    // A pod that is added belongs to the trace from then on.
    write(agent.folder.path(), "pods.yaml", &pods_file(&[("shop", &shop), ("later", &later)]))?;
    agent.status("good", "the second pod to be counted", |status| status.pods_matched == 2)?;
    let (server, at) = Workload::server(&later, "127.0.0.1:0", &[])?;
    let counted = [client(&later, at, &["--connections", "10"])?, server.stop()?].concat();
    let (rx_bytes, tx_bytes) = sum(&counted);
    agent.status("good", "the second pod's bytes", |status| {
        (status.totals.rx_bytes, status.totals.tx_bytes) == (rx_bytes, tx_bytes)
    })?;

    fs::remove_file(agent.folder.path().join("good.yaml")).map_err(TestError::io("remove a manifest"))?;
    let status = agent.status_file("good");
    wait::until("the status to go with its manifest", LIMIT, || {
        Ok(if status.exists() { Err("it is there".to_owned()) } else { Ok(()) })
    })?;
    wait::until("the kernel to free every object", LIMIT, || {
        let left = held.still_there()?;
        Ok(if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) })
    })?;
    let (said, _) = agent.interrupt()?;
    assert!(said.contains("bad.yaml:7: spec.topFlows:"), "{said}");
    Ok(())
}

/// A transfer pauses in the middle, where one trace's filter is changed to leave the transfer out, and a second trace
/// begins: the first shows exactly the bytes from before, the second exactly those from after.
#[test]
fn a_filter_changes_and_a_trace_begins_in_the_middle_of_a_transfer() -> Result<()> {
    let Some((host, cgroup)) = setup::cgroup() else { return Ok(()) };
    let [shop, asker, _] = group(&cgroup, ["shop", "asker", "unused"])?;
    let first = |ports: &str| manifest("first", &format!("  selector: {{}}\n{ports}"));
    let agent = Agent::start(&host, &[("shop", &shop), ("asker", &asker)], &[("first.yaml", &first(""))])?;
    agent.running("first")?;
    let (server, at) = Workload::server(&shop, "127.0.0.1:0", &[])?;
    let go = setup::Go::new()?;
    let (at, seed) = (at.to_string(), seed());
    let client = Workload::start(
        &asker,
        &[
            &["client", "--connect", &at, "--connections", "3", "--concurrency", "3", "--rounds", "4"],
            &["--bytes-min", "1MiB", "--bytes-max", "3MiB", "--seed", &seed, "--pause", text(&go.file())][..],
        ]
        .concat(),
    )?;
    let paused = client.event(Event::Paused)?;
    let before = sum(&[server.snapshot_at(&paused)?, paused]);
    write(agent.folder.path(), "first.yaml", &first("  ports: [1]\n"))?;
    write(agent.folder.path(), "second.yaml", &manifest("second", "  selector: {}\n"))?;
    agent.status("first", "the filter to be in force", |status| status.filters_changed_time.is_some())?;
    agent.running("second")?;
    go.release()?;
    let all = sum(&[client.finish()?, server.stop()?].concat());
    let (_, folder) = agent.interrupt()?;
    let shown = |trace: &str| read(folder.path(), trace).map(|s| (s.totals.rx_bytes, s.totals.tx_bytes));
    assert!(before.0 > 0 && all.0 > before.0, "{before:?} of {all:?}");
    assert_eq!(shown("first")?, before);
    assert_eq!(shown("second")?, (all.0 - before.0, all.1 - before.1));
    Ok(())
}

/// An error that prevents the start is printed in one line, with status 1.
#[test]
fn a_folder_that_is_not_there_is_one_line() -> Result<()> {
    let Some((host, _cgroup)) = setup::cgroup() else { return Ok(()) };
    let mut command = Command::new(&host.traffictrace);
    command.args(["agent", "--standalone", "/no/such/folder"]).env("RUST_LOG", "off");
    let ended = Process::start(&mut command)?.wait(LIMIT)?;
    assert_eq!(ended.status.code(), Some(1));
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    assert!(ended.stderr.contains("/no/such/folder"), "{}", ended.stderr);
    Ok(())
}
