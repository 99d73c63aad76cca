//! Tests on the real cgroup tree.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::*;
use crate::testing::{TestCgroup, writable_cgroups};

const UID: &str = "0d2f3ad1-8c1e-4d5b-9f0a-1b2c3d4e5f60";
const OTHER: &str = "1e3f4bd2-9d2f-4e6c-8f1b-2c3d4e5f6a71";

#[test]
fn the_id_is_the_inode_of_the_folder() {
    let Some(root) = writable_cgroups() else { return };
    let cgroup = TestCgroup::new(&root);
    let full = root.path().join(cgroup.path());
    let inode = std::fs::metadata(&full).unwrap().ino();
    assert_eq!(root.id_of(cgroup.path()).unwrap(), inode);
    assert_eq!(root.id_of(&full).unwrap(), inode, "with the mount point in front");
    assert_eq!(find_root(Some(root.path())).unwrap(), root);
}

#[test]
fn a_missing_cgroup_and_one_of_version_1_are_told_apart() {
    let Some(root) = writable_cgroups() else { return };
    let error = root.id_of(Path::new("/no/such/cgroup")).unwrap_err();
    assert!(matches!(error, CgroupError::NoSuchCgroup { .. }), "{error}");
    let error = root.id_of(Path::new("/proc/self")).unwrap_err();
    assert!(matches!(error, CgroupError::NotCgroup2 { .. }), "{error}");
    assert!(error.to_string().contains(&root.path().display().to_string()), "{error}");
}

#[test]
fn a_process_is_found_in_its_cgroup() {
    let Some(root) = writable_cgroups() else { return };
    let cgroup = TestCgroup::new(&root);
    let inner = cgroup.make("a/b");
    let process = cgroup.sleeper("a/b");
    assert_eq!(root.of_pid(process.pid()).unwrap(), inner);
    let pid = process.pid();
    drop(process);
    assert!(matches!(root.of_pid(pid), Err(CgroupError::NoSuchProcess { .. })));
}

/// Runs [`inside_another_cgroup_namespace`] in a cgroup namespace that begins inside this test's cgroup, as an agent in
/// a pod has one. There `/proc/PID/cgroup` shows `/` for the reader itself and `/../x` for others.
#[test]
fn a_process_is_found_from_inside_another_cgroup_namespace() {
    let Some(root) = writable_cgroups() else { return };
    let cgroup = TestCgroup::new(&root);
    cgroup.make("reader");
    let expected = cgroup.make("other/inner");
    let process = cgroup.sleeper("other/inner");
    let procs = root.path().join(cgroup.path()).join("reader/cgroup.procs");
    let output = Command::new("sh")
        .args([
            "-c",
            "echo $$ >\"$1\" && exec unshare --cgroup \"$2\" --exact --ignored --nocapture \"$3\"",
            "sh",
        ])
        .arg(&procs)
        .arg(std::env::current_exe().unwrap())
        .arg("cgroups::tests::inside_another_cgroup_namespace")
        .env("TRAFFICTRACE_TEST_PID", process.pid().to_string())
        .env("TRAFFICTRACE_TEST_ROOT", root.path())
        .env("TRAFFICTRACE_TEST_EXPECTED", &expected)
        .output()
        .unwrap();
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
#[ignore = "run by a_process_is_found_from_inside_another_cgroup_namespace"]
fn inside_another_cgroup_namespace() {
    let variable = |name: &str| std::env::var(format!("TRAFFICTRACE_TEST_{name}")).unwrap();
    // The mount shows the host's whole tree also from inside the new namespace, as in a pod that mounts it.
    let root = find_root(Some(Path::new(&variable("ROOT")))).unwrap();
    let expected = PathBuf::from(variable("EXPECTED"));
    assert_eq!(root.of_pid(variable("PID").parse().unwrap()).unwrap(), expected);
    let own = root.of_pid(std::process::id()).unwrap();
    assert_eq!(own, expected.parent().unwrap().parent().unwrap().join("reader"));
}

async fn scan_until(tree: &mut PodTree, wanted: impl Fn(&BTreeMap<PodKey, PathBuf>) -> bool) -> Duration {
    let begin = Instant::now();
    while !wanted(&tree.scan()) {
        tokio::time::timeout(Duration::from_secs(5), tree.changed()).await.expect("no event").unwrap();
    }
    begin.elapsed()
}

async fn follows_pods(qos: &str, folder: &str, sibling: &str) {
    let Some(root) = writable_cgroups() else { return };
    let cgroup = TestCgroup::new(&root);
    cgroup.make(qos);
    // A pod nested in a pod's container does not belong to this kubelet.
    cgroup.make(&format!("{sibling}/aaaa/kubepods/pod{}", UID.replace('0', "1")));
    let mut tree = PodTree::new(root.clone(), cgroup.path()).unwrap();
    assert_eq!(tree.scan().into_keys().collect::<Vec<_>>(), [PodKey::of_uid(OTHER)]);

    let made = cgroup.make(folder);
    let wait = scan_until(&mut tree, |pods| pods.get(&PodKey::of_uid(UID)) == Some(&made)).await;
    assert!(wait < Duration::from_millis(300), "{wait:?}");
    cgroup.remove(folder);
    scan_until(&mut tree, |pods| !pods.contains_key(&PodKey::of_uid(UID))).await;
}

#[tokio::test]
async fn a_pod_is_seen_when_its_folder_appears_with_the_cgroupfs_driver() {
    follows_pods(
        "kubepods/burstable",
        &format!("kubepods/burstable/pod{UID}"),
        &format!("kubepods/pod{OTHER}"),
    )
    .await;
}

#[tokio::test]
async fn a_pod_is_seen_when_its_folder_appears_with_the_systemd_driver() {
    let kubepods = "kubelet.slice/kubelet-kubepods.slice";
    let [uid, other] = [UID, OTHER].map(|uid| uid.replace('-', "_"));
    follows_pods(
        &format!("{kubepods}/kubelet-kubepods-burstable.slice"),
        &format!("{kubepods}/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod{uid}.slice"),
        &format!("{kubepods}/kubelet-kubepods-pod{other}.slice"),
    )
    .await;
}

#[tokio::test]
async fn a_kubelet_that_starts_later_is_found() {
    let Some(root) = writable_cgroups() else { return };
    let cgroup = TestCgroup::new(&root);
    let mut tree = PodTree::new(root.clone(), cgroup.path()).unwrap();
    assert!(tree.scan().is_empty());
    cgroup.make(&format!("kubepods/pod{UID}"));
    scan_until(&mut tree, |pods| pods.contains_key(&PodKey::of_uid(UID))).await;
}

#[tokio::test]
async fn a_container_in_a_watched_pod_is_an_event() {
    let Some(root) = writable_cgroups() else { return };
    let cgroup = TestCgroup::new(&root);
    let pod = cgroup.make(&format!("kubepods/pod{UID}"));
    let mut tree = PodTree::new(root.clone(), cgroup.path()).unwrap();
    tree.scan();
    tree.watch_pod(&pod);
    cgroup.make(&format!("kubepods/pod{UID}/{}", "ab".repeat(32)));
    tokio::time::timeout(Duration::from_secs(5), tree.changed()).await.expect("no event").unwrap();
}
