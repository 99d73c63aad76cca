//! Tests with real container runtimes: tracing one container by its name, a container that starts later or
//! restarts, and all containers.

use std::{collections::BTreeMap, net::SocketAddr, path::Path};

use traffictrace_e2e::{
    support::{
        Result, TestError,
        cgroup::Cgroup,
        containers::{Kind, Names, Runtime},
        needs::Host,
        top::{Document, Top},
        truth::{self, Bytes},
        workload::Workload,
    },
    workload::count::Line,
};

use crate::setup::{self, client, compare, seed};

/// Starts a runtime whose containers are in the test's own cgroup; `None` if the test was skipped.
fn runtime(kind: Kind) -> Result<Option<(Host, Cgroup, Runtime)>> {
    let Some((host, cgroup)) = setup::cgroup() else { return Ok(None) };
    let Some(runtime) = Runtime::start(kind, &cgroup, &host.cgroup_root)? else { return Ok(None) };
    Ok(Some((host, cgroup, runtime)))
}

/// `top` waits for a container that starts later, and counts it from its first byte: the client in the container
/// connects at once. A second container of the same name, started later, is counted too.
fn is_traced_from_its_first_byte_and_again(kind: Kind) -> Result<()> {
    let Some((host, cgroup, runtime)) = runtime(kind)? else { return Ok(()) };
    let names = Names::unique("first");
    let (server, at) = Workload::server(&cgroup.child("server")?, "127.0.0.1:0", &[])?;
    let mut top =
        Top::start_waiting(&host, &["--container", &names.container, "--wait", "--interval", "1s"])?;
    let run = |connections: &str| {
        let at = at.to_string();
        // The client connects at once, and transfers for some seconds.
        let arguments =
            ["client", "--connect", &at, "--connections", connections, "--rate", "200000", "--seed", &seed()];
        runtime.run(&names, &arguments)?.finish()
    };
    let mut lines = run("5")?;
    top.document()?;
    lines.extend(run("7")?);
    let document = top.interrupt()?;
    compare(&lines, &document)?;
    assert!(
        document.flows.iter().all(|flow| flow.container.as_ref() == Some(&names.container)),
        "{document:?}"
    );
    server.stop()?;
    Ok(())
}

#[test]
fn docker_is_traced_from_its_first_byte_and_again() -> Result<()> {
    is_traced_from_its_first_byte_and_again(Kind::Docker)
}

#[test]
fn podman_is_traced_from_its_first_byte_and_again() -> Result<()> {
    is_traced_from_its_first_byte_and_again(Kind::Podman)
}

#[test]
fn containerd_is_traced_from_its_first_byte_and_again() -> Result<()> {
    is_traced_from_its_first_byte_and_again(Kind::Containerd)
}

/// Without --wait, the trace ends with the container.
#[test]
fn the_end_of_a_container_is_told() -> Result<()> {
    let Some((host, cgroup, runtime)) = runtime(Kind::Containerd)? else { return Ok(()) };
    let names = Names::unique("ends");
    let (server, at) = runtime.server(&names)?;
    let meant = format!("{}/{}/{}", names.namespace, names.pod, names.container);
    let top = Top::start(&host, &["--container", &meant, "--interval", "1s"])?;
    client(&cgroup.child("client")?, at, &["--connections", "5", "--seed", &seed()])?;
    let lines = server.stop()?;
    let (document, said) = top.end()?;
    compare(&lines, &document)?;
    assert!(said.contains(&format!("Tracing container {meant}")) && said.contains("is gone"), "{said}");
    Ok(())
}

/// Each row has the names of its container, including containers that start later or have ended. Traffic outside of
/// containers is not shown.
#[test]
fn all_containers_are_told_by_their_names() -> Result<()> {
    let Some((host, cgroup, podman)) = runtime(Kind::Podman)? else { return Ok(()) };
    let Some(containerd) = Runtime::start(Kind::Containerd, &cgroup, &host.cgroup_root)? else {
        return Ok(());
    };
    let [early, late, pod] = ["early", "late", "pod"].map(Names::unique);
    let (server, address) = podman.server(&early)?;
    let top = Top::start(&host, &["--all", "--interval", "1s"])?;
    let at = address.to_string();
    let arguments = |connections| ["client", "--connect", &at, "--connections", connections, "--seed", "3"];
    let of_late = podman.run(&late, &arguments("6"))?.finish()?;
    let of_pod = containerd.run(&pod, &arguments("4"))?.finish()?;
    // This client is in no container.
    client(&cgroup.child("client")?, address, &["--connections", "3"])?;
    let of_early = server.stop()?;
    let document = top.interrupt()?;
    let single = |names: &Names| format!("//{}", names.container);
    let counted: BTreeMap<_, _> = [
        rows(&single(&early), &of_early),
        rows(&single(&late), &of_late),
        rows(&format!("{}/{}/{}", pod.namespace, pod.pod, pod.container), &of_pod),
    ]
    .into_iter()
    .flatten()
    .collect();
    truth::compare(&counted, &shown(&document, &[&early, &late, &pod])?)
}

/// `--host` shows everything: containers by name, and other processes by their cgroup.
#[test]
fn a_host_is_told_by_container_and_cgroup() -> Result<()> {
    let Some((host, cgroup, runtime)) = runtime(Kind::Podman)? else { return Ok(()) };
    let names = Names::unique("inside");
    let service = cgroup.child("outside.service")?;
    let (server, at) = Workload::server(&service, "127.0.0.1:0", &[])?;
    let top = Top::start(&host, &["--host", "--interval", "1s"])?;
    let at = at.to_string();
    let inside = runtime
        .run(&names, &["client", "--connect", &at, "--connections", "8", "--seed", &seed()])?
        .finish()?;
    let outside = server.stop()?;
    let document = top.interrupt()?;
    let unit = Names { container: "outside.service".into(), ..names.clone() };
    let counted: BTreeMap<_, _> =
        [rows(&format!("//{}", names.container), &inside), rows("//outside.service", &outside)]
            .into_iter()
            .flatten()
            .collect();
    truth::compare(&counted, &shown(&document, &[&names, &unit])?)
}

/// Key of one end of a connection: name of the container, local and remote address.
type Key = (String, SocketAddr, SocketAddr);

fn rows(container: &str, lines: &[Line]) -> Vec<(Key, Bytes)> {
    let connections = lines.iter().flat_map(|line| &line.connections);
    connections.map(|of| ((container.to_owned(), of.local, of.remote), (of.rx_bytes, of.tx_bytes))).collect()
}

/// Returns the rows of these containers in a document.
fn shown(document: &Document, wanted: &[&Names]) -> Result<BTreeMap<Key, Bytes>> {
    let mut shown = BTreeMap::new();
    for flow in document.flows.iter().filter(|flow| flow.rx_bytes + flow.tx_bytes > 0) {
        if !wanted.iter().any(|names| flow.container.as_ref() == Some(&names.container)) {
            continue;
        }
        let end = |address: Option<_>, port: Option<_>| Some(SocketAddr::new(address?, port?));
        let ends = end(flow.local_address, flow.local_port).zip(end(flow.remote_address, flow.remote_port));
        let Some((local, remote)) = ends else {
            return Err(TestError::unexpected("a flow", format!("{flow:?}")));
        };
        let part = |name: &Option<String>| name.clone().unwrap_or_default();
        let container = [part(&flow.namespace), part(&flow.pod), part(&flow.container)].join("/");
        shown.insert((container, local, remote), (flow.rx_bytes, flow.tx_bytes));
    }
    Ok(shown)
}

/// If several containers or none match an argument, the error lists the candidates.
#[test]
fn names_that_mean_no_container_or_several() -> Result<()> {
    let Some((host, _cgroup, runtime)) = runtime(Kind::Containerd)? else { return Ok(()) };
    let names = Names::unique("one");
    let other = Names { container: format!("other-{}", names.container), ..names.clone() };
    let servers = [runtime.server(&names)?, runtime.server(&other)?];
    // The error suggests containers with a similar name.
    let part = &names.container[..names.container.len() - 1];
    for (meant, parts) in [
        (names.pod.as_str(), ["several containers", names.container.as_str(), other.container.as_str()]),
        (part, ["no container", names.container.as_str(), "--wait"]),
    ] {
        let error = refused(&host.traffictrace, &["top", "--container", meant])?;
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    }
    let error = refused(&host.traffictrace, &["top", "--container", "absent", "--wait=300ms"])?;
    assert!(error.contains("started within 0.3 s"), "{error}");
    for (server, _) in servers {
        server.stop()?;
    }
    Ok(())
}

fn refused(program: &Path, arguments: &[&str]) -> Result<String> {
    use traffictrace_e2e::support::process::Process;
    let mut command = std::process::Command::new(program);
    let ended = Process::start(command.args(arguments))?.wait(std::time::Duration::from_secs(60))?;
    assert_eq!(ended.status.code(), Some(1), "{}", ended.stderr);
    Ok(ended.stderr)
}
