//! The documentation's commands for a cluster, run in a namespace with the ten pods of `e2e/cluster/demo.yaml` (a
//! shop), and the commands for uninstalling.

use std::{fs, path::Path, process::Command, time::Duration};

use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use traffictrace_e2e::support::{
    Result, TestError,
    cluster::{Cluster, Namespace},
    docs::{Block, Place, World, blocks, pages},
    wait,
};

use crate::stacks::where_stacks_are;

/// Time limit for the start of ten pods on a busy machine.
const START: Duration = Duration::from_secs(180);

#[tokio::test(flavor = "multi_thread")]
async fn every_command_for_a_cluster_works() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    run_in_the_shop(&cluster, &Place::Cluster).await
}

/// The chart does not let agents take stacks unless it is told to, so these commands have a test of their own.
#[tokio::test(flavor = "multi_thread")]
async fn every_command_for_stacks_works() -> Result<()> {
    where_stacks_are(true, async |cluster| run_in_the_shop(cluster, &Place::Stacks).await).await
}

/// Starts the shop's pods in a new namespace, and runs there all shell blocks of the pages that name this place.
async fn run_in_the_shop(cluster: &Cluster, place: &Place) -> Result<()> {
    let namespace = cluster.namespace().await?;
    let world = world(&namespace)?;
    kubectl(&world, &["apply", "-f", "e2e/cluster/demo.yaml"])?;
    wait::until_async("the shop's pods to be ready", START, async || {
        let pods = namespace.api::<Pod>().list(&ListParams::default()).await;
        let pods = pods.map_err(TestError::kube("list the shop's pods"))?.items;
        let waiting: Vec<_> =
            pods.iter().filter(|pod| !is_ready(pod)).map(|pod| &pod.metadata.name).collect();
        Ok(if pods.len() >= 10 && waiting.is_empty() { Ok(()) } else { Err(format!("not {waiting:?}")) })
    })
    .await?;
    let blocks = blocks_at(place)?;
    assert!(!blocks.is_empty());
    tokio::task::spawn_blocking(move || blocks.iter().try_for_each(|block| world.run(block)))
        .await
        .map_err(|error| TestError::unexpected("the pages' commands", error))?
}

/// Uninstalling leaves nothing of the product behind; afterwards it is installed again as it was.
#[tokio::test(flavor = "multi_thread")]
async fn uninstalling_leaves_nothing() -> Result<()> {
    let Some(cluster) = Cluster::alone().await? else { return Ok(()) };
    let namespace = cluster.namespace().await?;
    let world = world(&namespace)?;
    let release = ["--namespace", "traffictrace-system", "traffictrace"];
    let values = shell(&world, "helm", &[&["get", "values", "-o", "yaml"], &release[..]].concat())?;
    fs::write(world.folder().join("values.yaml"), values)
        .map_err(TestError::io("keep the chart's values"))?;
    let uninstalled = blocks_at(&Place::Uninstall)?.iter().try_for_each(|block| world.run(block));
    let left = uninstalled.and_then(|()| left_behind(&world));
    kubectl(&world, &["apply", "-f", "manifests/namespace.yaml"])?;
    let install =
        ["upgrade", "--install", "traffictrace", "charts/traffictrace", "--wait", "--timeout", "3m"];
    let values = ["--namespace", "traffictrace-system", "--values", "values.yaml"];
    shell(&world, "helm", &[&install[..], &values[..]].concat())?;
    let left = left?;
    assert!(left.is_empty(), "uninstalling has left {left}");
    Ok(())
}

/// Returns the names of the product's objects that are left in the cluster.
fn left_behind(world: &World) -> Result<String> {
    let kinds = "crd,clusterrole,clusterrolebinding,validatingadmissionpolicy,validatingadmissionpolicybinding,namespace";
    let all = kubectl(world, &["get", kinds, "-o", "name"])?;
    Ok(all.lines().filter(|name| name.contains("traffictrace")).collect::<Vec<_>>().join(", "))
}

/// Prepares the commands' folder, with a kubeconfig for the namespace of the test.
fn world(namespace: &Namespace) -> Result<World> {
    let mut world = World::new()?;
    let kubeconfig = world.folder().join("kubeconfig");
    let original = std::env::var("KUBECONFIG").unwrap_or_default();
    fs::copy(Path::new(&original), &kubeconfig).map_err(TestError::io("copy the kubeconfig"))?;
    world.set("KUBECONFIG", kubeconfig.display());
    kubectl(&world, &["config", "set-context", "--current", "--namespace", namespace.name()])?;
    // The values of the installed release name an image that the nodes of the test cluster have, so helm keeps these
    // values.
    world.replace("--set image.repository=YOUR_REGISTRY/traffictrace", "--reuse-values");
    Ok(world)
}

fn blocks_at(place: &Place) -> Result<Vec<Block>> {
    let mut all = Vec::new();
    for page in pages()? {
        all.extend(blocks(&page)?.into_iter().filter(|block| block.place == *place));
    }
    Ok(all)
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn kubectl(world: &World, arguments: &[&str]) -> Result<String> {
    shell(world, "kubectl", arguments)
}

/// Runs a program in the environment of the pages' commands; returns its standard output.
fn shell(world: &World, program: &str, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(program);
    world.prepare(&mut command);
    let output = command.args(arguments).output().map_err(TestError::io(format!("run {program}")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(TestError::unexpected(format!("{program} {}", arguments.join(" ")), said));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
