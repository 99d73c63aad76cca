//! Every operation that moves bytes through a socket, traced by an agent in its pod as the chart installs it.

use std::collections::BTreeMap;

use traffictrace_crd::{GroupBy, Protocol, TrafficTraceSpec};
use traffictrace_e2e::support::{
    Result,
    cluster::{Cluster, PodPlan, spec},
};

use crate::setup::{REPORTED, RUN, reporting, seed};

/// Key of a count: process id in the container, and protocol.
type Name = (i64, String);
/// Number of bytes received, and sent.
type Bytes = (u64, u64);

/// A pod does all operations; the trace's totals, and every row that it lists, equal what the processes counted. Traces
/// of some protocols show only these.
#[tokio::test]
async fn every_operation_in_a_pod() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let namespace = cluster.namespace().await?;
    let spec = TrafficTraceSpec { group_by: GroupBy::Process, top_flows: 100, ..spec("operations") };
    let trace = namespace.trace("operations", spec.clone()).await?;
    let mut parts = Vec::new();
    for (name, protocols) in [
        ("tcp", vec![Protocol::Tcp]),
        ("udp", vec![Protocol::Udp]),
        ("icmp", vec![Protocol::Icmp]),
        ("datagrams", vec![Protocol::Udp, Protocol::Icmp]),
    ] {
        let spec = TrafficTraceSpec { protocols: protocols.clone(), ..spec.clone() };
        parts.push((namespace.trace(name, spec).await?, protocols));
    }
    let work = ["operations".to_owned(), "--seed".to_owned(), seed()];
    let pod = PodPlan::new("operations", cluster.two_nodes().0, "operations", work);
    namespace.start(&pod).await?;
    let counted = namespace.finished(&pod, RUN).await?;
    reporting(&trace, 1).await?;
    let lines: Vec<_> = counted.iter().flat_map(|counted| &counted.lines).collect();
    let failed: Vec<_> = lines.iter().filter_map(|line| line.first_failure.as_deref()).collect();
    assert!(failed.is_empty(), "{failed:?}");
    for skipped in lines.iter().flat_map(|line| &line.skipped) {
        println!("not possible in a plain pod: {skipped}");
    }
    let mut truth: BTreeMap<Name, Bytes> = BTreeMap::new();
    for line in &lines {
        if let Some(protocol) = &line.protocol {
            let bytes = truth.entry((line.pid.into(), protocol.clone())).or_default();
            *bytes = (bytes.0 + line.rx_bytes, bytes.1 + line.tx_bytes);
        }
    }
    let sum = truth.values().fold((0, 0), |sum, bytes| (sum.0 + bytes.0, sum.1 + bytes.1));
    assert!(truth.len() > 200 && sum.0 > 1 << 20, "too little was done: {} processes, {sum:?}", truth.len());
    let status = trace.status_where("all that was counted", REPORTED, |status| {
        let shown = (status.totals.rx_bytes.cast_unsigned(), status.totals.tx_bytes.cast_unsigned());
        if shown == sum { Ok(status.clone()) } else { Err(format!("{shown:?}, counted {sum:?}")) }
    });
    let status = status.await?;
    assert!(status.lost.values().all(|lost| *lost == 0), "{:?}", status.lost);
    assert_eq!(status.top_flows.len(), 100);
    for row in &status.top_flows {
        let name = (row.container_pid.unwrap_or_default(), name_of(&row.protocol));
        let shown = (row.rx_bytes.cast_unsigned(), row.tx_bytes.cast_unsigned());
        assert_eq!(truth.get(&name), Some(&shown), "{name:?}: {row:?}");
    }
    for (trace, protocols) in &parts {
        let names: Vec<String> = protocols.iter().map(name_of).collect();
        let of_these = truth.iter().filter(|((_, protocol), _)| names.contains(protocol));
        let part = of_these.fold((0, 0), |sum, (_, bytes)| (sum.0 + bytes.0, sum.1 + bytes.1));
        println!("{names:?}: {part:?} of {sum:?}");
        assert!(part.0 > 0 && part.0 < sum.0 && part.1 < sum.1, "{names:?} is no part of what was done");
        let status = trace.status_where("all of its protocols", REPORTED, |status| {
            let shown = (status.totals.rx_bytes.cast_unsigned(), status.totals.tx_bytes.cast_unsigned());
            if shown == part { Ok(status.clone()) } else { Err(format!("{shown:?}, counted {part:?}")) }
        });
        let others = status.await?.top_flows.into_iter().find(|row| !protocols.contains(&row.protocol));
        assert!(others.is_none(), "{names:?}: {others:?}");
    }
    Ok(())
}

/// Returns the name of a protocol as the workload's lines have it.
fn name_of(protocol: &Protocol) -> String {
    format!("{protocol:?}").to_uppercase()
}
