//! Tests with files in the forms in which users have them.

use std::{fs, io::Write as _};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use traffictrace_profile::{By, Way, testing::graph};

use super::*;

fn profile(bytes: u64) -> Vec<u8> {
    graph(&[(Way::Sent, &["main", "write"], bytes, 1)]).pprof().unwrap()
}

fn object(name: &str, bytes: u64) -> Value {
    json!({
        "apiVersion": "traffictrace.dev/v1alpha1",
        "kind": "TrafficTraceProfile",
        "metadata": { "name": name, "namespace": "default" },
        "nodeName": "worker",
        "profile": STANDARD.encode(profile(bytes)),
    })
}

/// Reads these files; returns the bytes sent, and the number of profiles.
fn sent(files: &[&[u8]]) -> Result<(u64, usize), String> {
    let folder = tempfile::tempdir().unwrap();
    let mut paths = Vec::new();
    for (number, bytes) in files.iter().enumerate() {
        let path = folder.path().join(format!("file-{number}"));
        fs::write(&path, bytes).unwrap();
        paths.push(path);
    }
    let (graph, count) = read(&paths).map_err(|error| error.to_string())?;
    Ok((graph.total(Way::Sent, By::Bytes), count))
}

#[test]
fn profiles_and_objects_add_up() {
    let list = json!({ "kind": "List", "apiVersion": "v1", "items": [object("a", 100), object("b", 1000)] });
    let yaml = |value: &Value| {
        let mut text =
            String::from("kind: TrafficTraceProfile\nmetadata:\n  name: c\nnodeName: worker\nprofile: ");
        text.push_str(value["profile"].as_str().unwrap());
        text
    };
    let two = format!("{}\n---\n{}\n", yaml(&object("c", 3)), yaml(&object("d", 4)));
    assert_eq!(
        sent(&[&profile(1), &profile(20), list.to_string().as_bytes(), two.as_bytes()]),
        Ok((1128, 6))
    );
    let mut empty = object("a", 1);
    empty["profile"] = json!("");
    let list = json!({ "kind": "TrafficTraceProfileList", "items": [empty, object("b", 7)] });
    assert_eq!(sent(&[list.to_string().as_bytes()]), Ok((7, 1)));
    assert_eq!(sent(&[object("a", 5).to_string().as_bytes()]), Ok((5, 1)));
}

#[test]
fn what_is_none_is_told_with_its_name() {
    let mut empty = object("a", 1);
    empty["profile"] = json!("");
    let mut broken = object("a", 1);
    broken["profile"] = json!("&&&");
    let mut foreign = object("a", 1);
    foreign["profile"] = json!(STANDARD.encode(b"\x1f\x8b nothing"));
    for (text, part) in [
        (b"\x1f\x8bnothing".to_vec(), "no pprof profile compressed by gzip"),
        (b"\xff\xfe".to_vec(), "neither compressed by gzip nor text"),
        (b"a: [".to_vec(), "no object of Kubernetes"),
        (b"hello".to_vec(), "no object of Kubernetes"),
        (b"{\"kind\": \"Pod\"}".to_vec(), "an object of the kind \"Pod\""),
        (b"{\"kind\": \"List\", \"items\": []}".to_vec(), "it has no TrafficTraceProfile"),
        (b"".to_vec(), "it has no TrafficTraceProfile"),
        (empty.to_string().into_bytes(), "default/a (node worker) has no profile"),
        (broken.to_string().into_bytes(), "of default/a (node worker) in "),
        (foreign.to_string().into_bytes(), "the profile of default/a (node worker) in "),
    ] {
        let error = sent(&[&text]).unwrap_err();
        assert!(error.contains("file-0") && error.contains(part), "{part}: {error}");
    }
    let error = read(&["/nowhere/x.pb.gz".into()]).unwrap_err().to_string();
    assert!(error.starts_with("cannot read /nowhere/x.pb.gz: "), "{error}");
}

#[test]
fn what_is_hostile_is_told_with_its_file() {
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    bomb.write_all(&vec![0; 256 << 20]).unwrap();
    let bomb = bomb.finish().unwrap();
    assert!(bomb.len() < 1 << 19, "{} bytes would have room in an object", bomb.len());
    let mut object = object("a", 1);
    object["profile"] = json!(STANDARD.encode(&bomb));
    // A small file that expands to a billion items ("billion laughs"): nine lists, each with nine references to the
    // list before.
    let mut laughs = String::from("a0: &a0 [lol]\n");
    for level in 1..=9 {
        let before = vec![format!("*a{}", level - 1); 9].join(",");
        laughs += &format!("a{level}: &a{level} [{before}]\n");
    }
    for (text, part) in [
        (bomb, "the profile in "),
        (object.to_string().into_bytes(), "the profile of default/a (node worker) in "),
        (laughs.into_bytes(), "no object of Kubernetes"),
        ("[".repeat(1 << 20).into_bytes(), "no object of Kubernetes"),
        ("{\"items\":[".repeat(1 << 18).into_bytes(), "no object of Kubernetes"),
    ] {
        let error = sent(&[&text]).unwrap_err();
        assert!(error.contains("file-0") && error.contains(part), "{part}: {error}");
        assert!(error.len() < 1000, "{error}");
    }
}
