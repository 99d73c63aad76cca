//! Tests that `kubectl traffictrace` shows exactly the programs' own counts, in every output format.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::Value;
use traffictrace_crd::{GroupBy, human};
use traffictrace_e2e::support::{
    Result, TestError,
    cluster::{Cluster, http::Requests, plugin::Plugin, rows, spec},
    needs, server,
};

use crate::{
    http::{self, ASKS},
    setup::{by_pod, exchange, finish, shows_exactly, transfer},
    stacks,
};

fn parsed(text: &str) -> Result<Value> {
    serde_json::from_str(text).map_err(|error| TestError::unexpected("JSON", format!("{error}: {text}")))
}

/// Parses each line of a text as a JSON object.
fn lines(text: &str) -> Result<Vec<Value>> {
    text.lines().map(parsed).collect()
}

fn number(object: &Value, field: &str) -> u64 {
    let number = object[field].as_u64();
    assert!(number.is_some(), "no number {field} in {object}");
    number.unwrap_or_default()
}

/// Returns the numbers in a column of comma-separated values. Names must not contain commas.
fn column(text: &str, name: &str) -> Vec<u64> {
    let mut lines = text.lines();
    let header = lines.next().unwrap_or_default();
    let place = header.split(',').position(|column| column == name);
    assert!(place.is_some(), "no column {name} in {header}");
    let place = place.unwrap_or_default();
    lines.map(|line| line.split(',').nth(place).and_then(|cell| cell.parse().ok()).unwrap_or(0)).collect()
}

/// Flows, pods and totals equal the workloads' counts in every format of `export`, in `describe`, on the page of
/// `report` and in `diff`.
#[tokio::test(flavor = "multi_thread")]
async fn every_form_has_the_bytes_of_the_programs() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let namespace = cluster.namespace().await?;
    let (here, there) = cluster.two_nodes();
    let plugin = Plugin::of_editor(&namespace).await?;
    let trace = namespace.trace("views", spec("views")).await?;
    let pods = exchange(&namespace, (here, there), "views", "views", 60).await?;
    let counted = finish(&namespace, &pods.each_ref()).await?;
    let status = shows_exactly(&trace, &counted, GroupBy::Endpoint).await?;
    let (rx, tx) = rows::sum(&rows::counted(&counted, GroupBy::Endpoint));

    let object = parsed(&plugin.output(&["export", "views", "-o", "json"])?)?;
    assert_eq!((number(&object["totals"], "rxBytes"), number(&object["totals"], "txBytes")), (rx, tx));
    assert_eq!(number(&object, "flowsTotal"), status.flows_total.cast_unsigned());
    let yaml: Value = serde_saphyr::from_str(&plugin.output(&["export", "views", "-o", "yaml"])?)
        .map_err(|error| TestError::unexpected("YAML", error))?;
    assert_eq!(yaml["totals"], object["totals"]);
    let flows = lines(&plugin.output(&["export", "views", "-o", "jsonl"])?)?;
    let mut shown: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for flow in flows.iter().filter(|flow| !flow["pod"].is_null()) {
        let sum = shown.entry(flow["pod"].as_str().unwrap_or_default().to_owned()).or_default();
        *sum = (sum.0 + number(flow, "rxBytes"), sum.1 + number(flow, "txBytes"));
    }
    assert_eq!(shown, by_pod(&counted), "bytes of each pod");
    let csv = plugin.output(&["export", "views", "-o", "csv"])?;
    let sums = ["rxBytes", "txBytes"].map(|name| column(&csv, name).iter().sum::<u64>());
    assert_eq!(sums, [rx, tx], "{csv}");

    let sums = format!("{} received and {} sent in ", human::bytes(rx), human::bytes(tx));
    let both = [
        sums.as_str(),
        "Nothing is known to be missing.",
        "Started: Tracing has begun",
        "pods with trace=views",
    ];
    // Only administrators of the cluster may read reports; an editor's `describe` says so instead of listing them.
    let nodes = [here, there].map(|node| format!("{node}: traces 1 pod"));
    let admin = Plugin::of_admin(&namespace)?;
    for (plugin, of_nodes) in [
        (&plugin, &["2 nodes: you may not read the reports of them"][..]),
        (&admin, &[nodes[0].as_str(), nodes[1].as_str()]),
    ] {
        let described = plugin.output(&["describe", "views"])?;
        println!("{described}");
        // The output is wrapped at any width, so words are compared without line breaks.
        let words = described.split_whitespace().collect::<Vec<_>>().join(" ");
        for part in both.iter().chain(of_nodes) {
            assert!(words.contains(part), "{part} is not in {words}");
        }
    }

    let folder = tempfile::tempdir().map_err(TestError::io("make a folder"))?;
    let page = report(&admin, "views", folder.path())?;
    let sums = [human::bytes(rx), human::bytes(tx)];
    for part in
        [&sums[0], &sums[1], "views-server", "views-client", here, there, "run -n ", "-l trace=views "]
    {
        assert!(page.contains(part), "{part}");
    }

    let same = plugin.run(&["diff", "views", "views", "-o", "json"])?;
    assert_eq!(same.status.code(), Some(0), "{same:?}");
    namespace.trace("nobody", spec("nobody")).await?;
    let other = plugin.run(&["diff", "views", "nobody", "-o", "json", "--by", "pod"])?;
    assert_eq!(other.status.code(), Some(1), "{other:?}");
    let difference = parsed(&other.lines.join("\n"))?;
    let totals = &difference["totals"];
    assert_eq!((number(&totals["rxBytes"], "a"), number(&totals["rxBytes"], "b")), (rx, 0));
    assert_eq!(totals["txBytes"]["difference"], -i64::try_from(tx).unwrap_or(i64::MAX));
    assert!(difference["rows"].as_array().is_some_and(|rows| rows.iter().all(|row| row["change"] == "Gone")));
    assert_eq!(plugin.run(&["diff", "views", "absent"])?.status.code(), Some(2));
    Ok(())
}

/// Writes the report of a trace and returns the page's text.
fn report(plugin: &Plugin, name: &str, folder: &Path) -> Result<String> {
    let path = folder.join("report.html");
    plugin.output(&["report", name, "-o", &path.display().to_string()])?;
    let page = fs::read_to_string(&path).map_err(TestError::io("read the report"))?;
    assert!(page.len() < 1 << 20, "{} bytes", page.len());
    Ok(page)
}

/// The endpoints of `http` and of `export --http` equal the requests in the server's log.
#[tokio::test(flavor = "multi_thread")]
async fn requests_are_those_of_the_servers_log() -> Result<()> {
    if !server::installed(&["nginx", "curl"]) {
        return Ok(());
    }
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let namespace = cluster.namespace().await?;
    let (here, there) = cluster.two_nodes();
    let plugin = Plugin::of_editor(&namespace).await?;
    let trace = namespace.trace("asked", http::asking("asked")).await?;
    let address = namespace.start_nginx("server", there, "asked").await?;
    namespace.run_curl("client", here, "asked", address, &ASKS).await?;
    let logged = namespace.logged("server").await?;
    http::shows(&trace, &logged).await?;
    let all = 2 * http::sum(&logged).cast_unsigned();

    let object = parsed(&plugin.output(&["http", "asked", "-o", "json"])?)?;
    assert_eq!(number(&object, "requests"), all);
    let endpoints = lines(&plugin.output(&["export", "asked", "-o", "jsonl", "--http"])?)?;
    for side in ["Server", "Client"] {
        assert_eq!(requests(&endpoints, side), logged, "{side}");
    }
    let csv = plugin.output(&["http", "asked", "-o", "csv", "--sort-by", "p99", "--top", "2"])?;
    assert_eq!(column(&csv, "requests").iter().sum::<u64>(), all, "{csv}");
    let table = plugin.output(&["http", "asked", "--sort-by", "errors", "-o", "wide"])?;
    println!("{table}");
    assert!(table.contains(&format!(": {all} requests at ")) && !table.contains("MISSING"), "{table}");
    let first = table.lines().find(|line| !line.starts_with(['#']) && !line.starts_with("ENDPOINT"));
    assert!(first.is_some_and(|line| line.contains("/broken/")), "the errors are not first: {first:?}");
    Ok(())
}

/// Returns the requests of one side, in the form in which the server logs them.
fn requests(endpoints: &[Value], side: &str) -> Requests {
    let mut requests = Requests::new();
    for endpoint in endpoints.iter().filter(|endpoint| endpoint["side"] == side) {
        let text = |field: &str| endpoint[field].as_str().unwrap_or_default().to_owned();
        for class in traffictrace_crd::REQUEST_CLASSES {
            let count = number(endpoint, class).cast_signed();
            if count > 0 {
                let kind = (text("protocol"), text("method"), text("path"), class.to_owned());
                *requests.entry(kind).or_insert(0) += count;
            }
        }
    }
    requests
}

/// The stacks of both nodes' profiles, merged by `flamegraph`, have the programs' bytes, and the page of `report` shows
/// the stacks.
#[tokio::test(flavor = "multi_thread")]
async fn stacks_have_the_bytes_of_the_programs() -> Result<()> {
    stacks::where_stacks_are(true, async |cluster| {
        let namespace = cluster.namespace().await?;
        let (here, there) = cluster.two_nodes();
        let plugin = Plugin::of_editor(&namespace).await?;
        let trace = namespace.trace("drawn", stacks::asking("drawn")).await?;
        let [server, client] = transfer(&namespace, (here, there), "drawn", 15).await?;
        let counted = finish(&namespace, &[&server, &client]).await?;
        let status = stacks::over(&trace).await?;
        if stacks::degraded(&status).contains("stacks:") {
            needs::skip(format!("no stacks on this kernel: {}", stacks::degraded(&status)));
            return Ok(());
        }
        stacks::last_profiles(&trace, 2).await?;
        let (rx, tx) = rows::sum(&rows::counted(&counted, GroupBy::Endpoint));

        let folded = plugin.output(&["flamegraph", "drawn", "-o", "-"])?;
        let sum = |way: &str| {
            let of_way = folded.lines().filter(|line| line.starts_with(way));
            of_way.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum::<u64>()
        };
        assert_eq!((sum("received;"), sum("sent;")), (rx, tx), "{folded}");
        for pod in ["drawn-server", "drawn-client"] {
            assert!(folded.contains(&format!(";{}/{pod}/", namespace.name())), "{pod}: {folded}");
        }
        let folder = tempfile::tempdir().map_err(TestError::io("make a folder"))?;
        for (name, begin) in
            [("a.svg", &b"<?xml"[..]), ("a.pb.gz", &[0x1f, 0x8b]), ("a.folded", b"received;")]
        {
            let path = folder.path().join(name);
            plugin.output(&["flamegraph", "drawn", "-o", &path.display().to_string()])?;
            let written = fs::read(&path).map_err(TestError::io("read the picture"))?;
            assert!(written.starts_with(begin), "{name}");
        }
        let page = report(&plugin, "drawn", folder.path())?;
        assert!(page.contains("data:image/svg+xml;base64,"), "no flame graph on the page");
        let refused = plugin.run(&["flamegraph", "drawn", "-o", "a.png"])?;
        assert!(!refused.status.success());
        Ok(())
    })
    .await
}
