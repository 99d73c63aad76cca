//! Tests of the report in a headless browser: its tables sort and filter, no traced name is executed, and the browser
//! reports no error.

use std::{error::Error, fs};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use traffictrace_crd::flow::{Direction, Protocol};
use traffictrace_e2e::support::browser::{Browser, Shown};
use traffictrace_profile::{By, Way, testing::graph};
use traffictrace_view::{
    Snapshot,
    report::{self, Report},
    snapshot::Flow,
};

/// Observations of the page.
#[derive(Debug, Deserialize)]
struct Seen {
    /// An error of the page's script.
    error: Option<String>,
    /// Directives of the page's content security policy that were violated.
    violations: Vec<String>,
    /// Number of elements that only a traced name can have added.
    foreign: usize,
    /// Processes of the rows: in the initial order, by name, by name in reverse, and by bytes received.
    came: Vec<String>,
    rising: Vec<String>,
    falling: Vec<String>,
    received: Vec<String>,
    /// Processes that are shown with each of two filters, and the page's text about their number.
    filtered: Vec<String>,
    without: Vec<String>,
    told: String,
    /// First cells of the table's footer after all these steps.
    sums: Vec<String>,
    /// True if the flame graph can be saved.
    is_saved: bool,
}

/// Script that runs after the page's own one, and stores its observations in an attribute of the document.
const SCRIPT: &str = r##"
const seen = {violations: []};
document.addEventListener("securitypolicyviolation", (event) => seen.violations.push(event.violatedDirective));
window.addEventListener("load", () => setTimeout(() => {
  try {
    const flows = document.querySelector("#flows");
    const shown = () => Array.from(flows.querySelectorAll("tbody tr")).filter((row) => !row.hidden)
      .map((row) => row.cells[0].firstChild.textContent.trim());
    const click = (name) => Array.from(flows.querySelectorAll("th button"))
      .find((button) => button.textContent === name).click();
    const filter = (text) => {
      const input = flows.querySelector("input");
      input.value = text;
      input.dispatchEvent(new Event("input"));
      return shown();
    };
    seen.foreign = document.querySelectorAll("main script, img:not(.paper), [onerror], [onmouseover], [style]").length;
    seen.came = shown();
    click("Process");
    seen.rising = shown();
    click("Process");
    seen.falling = shown();
    click("Received");
    seen.received = shown();
    seen.filtered = filter("WORKER peer-3");
    seen.told = flows.querySelector("output").textContent;
    seen.without = filter("-worker");
    seen.sums = Array.from(flows.querySelectorAll("tfoot tr")).map((row) => row.cells[0].textContent.trim());
    seen.is_saved = document.querySelector("#flame .save").href.startsWith("data:image/svg+xml");
  } catch (error) {
    seen.error = String(error);
  }
  document.documentElement.dataset.seen = encodeURIComponent(JSON.stringify(seen));
}, 100));
"##;

/// A flame graph with the scripts, handler and styles of a real one.
fn flame_graph() -> Result<String, Box<dyn Error>> {
    let graph = graph(&[
        (Way::Received, &["worker_a", "read"], 700, 1),
        (Way::Sent, &["worker_a", "flush", "<b>write</b>"], 1200, 2),
        (Way::Sent, &["worker_b", "write"], 2, 1),
    ]);
    Ok(graph.svg(By::Bytes)?)
}

fn flow(command: &str, peer: &str, rx_bytes: u64, tx_bytes: u64) -> Flow {
    Flow {
        pid: Some(7),
        command: Some(command.to_owned()),
        remote_address: "192.0.2.1".parse().ok(),
        remote_port: Some(443),
        peer: Some(peer.to_owned()),
        rx_bytes,
        tx_bytes,
        connections: 1,
        connections_open: 1,
        ..Flow::new(Protocol::Tcp, Direction::Outbound)
    }
}

fn report() -> Result<Report, Box<dyn Error>> {
    let flows = vec![
        flow("worker-b", "peer-1", 5, 900),
        flow("<script>document.title=1</script>", "\"><img src=x onerror=alert(1)>", 400, 400),
        flow("worker-a", "peer-3", 300, 100),
        flow("curl", "'onmouseover='alert(1)", 20, 0),
    ];
    let mut snapshot = Snapshot { flows_total: 9, flows, ..Snapshot::default() };
    (snapshot.totals.rx_bytes, snapshot.totals.tx_bytes) = (1000, 2000);
    let mut report = Report::of("<b>Who?</b>", [snapshot]).ok_or("no report")?;
    report.flame_graph = Some(flame_graph()?);
    Ok(report)
}

/// Opens the page with [`SCRIPT`], which the page's content security policy is changed to allow.
fn look(browser: &Browser, page: &str) -> Result<Shown<Seen>, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let sum = STANDARD.encode(Sha256::digest(SCRIPT));
    let page = page.replacen("script-src ", &format!("script-src 'sha256-{sum}' "), 1);
    let page = page.replacen("</body>", &format!("<script>{SCRIPT}</script></body>"), 1);
    let file = folder.path().join("report.html");
    fs::write(&file, page)?;
    Ok(browser.open(&file)?)
}

#[test]
fn tables_sort_and_filter_and_no_name_runs() -> Result<(), Box<dyn Error>> {
    let Some(browser) = Browser::find() else { return Ok(()) };
    let report = report()?;
    let Shown { seen, messages } = look(&browser, &report::html(&report)?)?;
    assert_eq!(seen.error, None, "{seen:?}");
    assert_eq!((seen.violations.len(), seen.foreign), (0, 0), "{seen:?}");
    assert!(!messages.contains("CONSOLE"), "{messages}");
    let (hostile, a, b, curl) = ("<script>document.title=1</script>", "worker-a", "worker-b", "curl");
    assert_eq!(seen.came, [b, hostile, a, curl], "most bytes first");
    assert_eq!(seen.rising, [hostile, curl, a, b]);
    assert_eq!(seen.falling, [b, a, curl, hostile]);
    assert_eq!(seen.received, [hostile, a, curl, b], "as numbers");
    assert_eq!((seen.filtered, seen.told.as_str()), (vec![a.to_owned()], "1 of 4 flows"));
    assert_eq!(seen.without, [hostile, curl]);
    assert_eq!(seen.sums, ["(other, 5 flows)", "Total"]);
    assert!(seen.is_saved);
    Ok(())
}
