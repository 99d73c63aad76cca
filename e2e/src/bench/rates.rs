//! How much slower a load gets.

use super::{
    Effort,
    load::{self, Kind},
    setting::{Setting, Stage},
    table,
};
use crate::support::{Result, needs::Host};

const LOADS: [(Kind, &str); 4] = [
    (Kind::PingPong, "TCP ping-pong"),
    (Kind::Connect, "connect, ask, close"),
    (Kind::UdpPingPong, "UDP ping-pong"),
    (Kind::Bulk, "bulk"),
];

pub(super) fn run(host: &Host, effort: Effort) -> Result<()> {
    use Setting::{Bpftrace, Empty, Nethogs, NotSelected, Nothing, Selected, Tcpdump};
    let stage = Stage::new(host)?;
    // The second baseline says how far two equal measurements lie apart.
    let mut settings = vec![Nothing, Nothing, Empty, NotSelected, Selected];
    for tool in [Tcpdump, Nethogs, Bpftrace] {
        if tool.is_there() {
            settings.push(tool);
        } else {
            println!("not compared, since it is not installed: {tool}");
        }
    }
    let mut ratios = vec![vec![Vec::new(); LOADS.len()]; settings.len()];
    let mut baselines = vec![Vec::new(); LOADS.len()];
    for round in 0..effort.rounds {
        eprintln!("rates: round {} of {}", round + 1, effort.rounds);
        let mut measured = vec![[0.0; LOADS.len()]; settings.len()];
        // Another order each time, so that a slow stretch of the machine does not hit the same one again.
        let mut order: Vec<usize> = (0..settings.len()).collect();
        fastrand::shuffle(&mut order);
        for at in order {
            let attached = settings[at].attach(host, &stage)?;
            for (rate, (kind, _)) in measured[at].iter_mut().zip(LOADS) {
                *rate = load::rate(kind, effort.millis, stage.load())?;
            }
            attached.end()?;
        }
        for kind in 0..LOADS.len() {
            baselines[kind].push(measured[0][kind]);
            for (setting, rates) in measured.iter().enumerate() {
                ratios[setting][kind].push(rates[kind] / measured[0][kind]);
            }
        }
    }
    let rows: Vec<Vec<String>> = settings
        .iter()
        .zip(&ratios)
        .skip(1)
        .map(|(setting, ratios)| {
            let cells = ratios.iter().map(|ratios| format!("{:.3}", table::median(ratios)));
            [setting.to_string()].into_iter().chain(cells).collect()
        })
        .collect();
    let header: Vec<&str> = ["attached"].into_iter().chain(LOADS.iter().map(|(_, name)| *name)).collect();
    table::print("Rate against nothing attached (median of each round's ratio; 1 is free):", &header, &rows);
    let medians: Vec<String> = baselines
        .iter()
        .zip(LOADS)
        .map(|(rates, (_, name))| format!("{name} {:.0}", table::median(rates)))
        .collect();
    println!("\nBaseline, per second (bulk in bytes): {}", medians.join(", "));
    Ok(())
}
