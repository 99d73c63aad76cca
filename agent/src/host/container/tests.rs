//! In a tree of folders that exist by name alone, and in the kernel's.

use super::*;
use crate::testing::{TestCgroup, writable_cgroups};

/// The names in a folder of a tree that has these folders.
fn children_in(folders: &[String]) -> impl Fn(&Path) -> Vec<String> {
    move |parent: &Path| {
        let mut names: Vec<String> = folders
            .iter()
            .filter_map(|folder| Path::new(folder).strip_prefix(parent).ok()?.components().next())
            .map(|name| name.as_os_str().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names.dedup();
        names
    }
}

fn id(digits: &str) -> String {
    digits.repeat(64 / digits.len())
}

fn found(tree: &[String], text: &str) -> Vec<String> {
    let (found, _) = text.parse::<ContainerId>().unwrap().search(&children_in(tree));
    found.iter().map(|container| container.path.display().to_string()).collect()
}

#[test]
fn an_id_finds_its_container_in_every_form() {
    let tree = [
        format!("system.slice/docker-{}.scope/init.scope", id("1111aaaa")),
        format!("kubepods/burstable/pod0d2f3ad1-8c1e-4d5b-9f0a-1b2c3d4e5f60/{}/inner", id("2222bbbb")),
        format!("machine.slice/libpod-{}.scope/container", id("3333cccc")),
        format!("machine.slice/libpod-conmon-{}.scope", id("3333cccc")),
        "lxc.payload.webserver/init.scope".to_owned(),
        "system.slice/ssh.service".to_owned(),
    ];
    for (text, folder) in [
        ("1111", format!("system.slice/docker-{}.scope", id("1111aaaa"))),
        ("docker://1111aaaa1111", format!("system.slice/docker-{}.scope", id("1111aaaa"))),
        (
            "2222bbbb2222",
            format!("kubepods/burstable/pod0d2f3ad1-8c1e-4d5b-9f0a-1b2c3d4e5f60/{}", id("2222bbbb")),
        ),
        (&id("3333cccc"), format!("machine.slice/libpod-{}.scope", id("3333cccc"))),
        ("webs", "lxc.payload.webserver".to_owned()),
    ] {
        assert_eq!(found(&tree, text), [folder], "{text}");
    }
    assert!(found(&tree, "aaaa").is_empty(), "in the middle of an id");
}

#[test]
fn a_whole_name_is_not_the_beginning_of_another() {
    let tree = ["lxc.payload.shop".to_owned(), "lxc.payload.shop-two".to_owned()];
    assert_eq!(found(&tree, "shop"), ["lxc.payload.shop"]);
    assert_eq!(found(&tree, "shop-").len(), 1);
}

#[test]
fn short_ids_are_refused() {
    for text in ["", "abc", "docker://abc"] {
        assert!(text.parse::<ContainerId>().unwrap_err().contains("at least 4"), "{text}");
    }
}

#[test]
fn none_and_several_are_errors_that_name_what_is_there() {
    let Some(root) = writable_cgroups() else { return };
    let cgroup = TestCgroup::new(&root);
    let (one, two) = (format!("feed{}", "1".repeat(60)), format!("feed{}", "2".repeat(60)));
    let first = cgroup.make(&format!("docker-{one}.scope"));
    cgroup.make(&format!("docker-{two}.scope/nested"));
    let find = |text: &str| text.parse::<ContainerId>().unwrap().find(&root);

    assert_eq!(find("feed1").unwrap().path, first);
    let several = find("feed").unwrap_err().to_string();
    assert!(
        several.contains(&one) && several.contains(&two) && several.contains("more characters"),
        "{several}"
    );
    let none = find("0dd0feed").unwrap_err().to_string();
    assert!(none.contains("0dd0feed") && none.contains(&root.path().display().to_string()), "{none}");
}
