//! The documentation's commands for one host, run while a curl sends requests to an nginx.

use std::time::Duration;

use traffictrace_e2e::{
    support::{
        Result,
        docs::{Place, World, blocks, pages},
        process::Process,
        server::{self, Nginx, command_in},
        workload::Workload,
    },
    workload::count::Event,
};

use crate::setup;

/// Time after which the workloads end by themselves.
const LIMIT: Duration = Duration::from_secs(900);

#[test]
fn every_command_for_one_host_works() -> Result<()> {
    let Some((host, cgroup)) = setup::cgroup() else { return Ok(()) };
    if !server::installed(&["nginx", "curl"]) {
        return Ok(());
    }
    let shop = cgroup.child("shop")?;
    let nginx = Nginx::start(&shop)?;
    let listen = ["server", "--listen", "127.0.0.1:0", "--comm", "shop-server"];
    let sink = Workload::start_for(LIMIT, &shop, &listen)?;
    let listening = sink.event(Event::Listening)?.listening;
    let connect = listening.first().map(ToString::to_string).unwrap_or_default();
    let load = ["load", "--connect", &connect, "--rate", "1MiB", "--comm", "nightly-backup"];
    let backup = Workload::start_for(LIMIT, &cgroup.child("backup")?, &load)?;
    let mut customer = command_in(&cgroup.child("customer")?, "curl");
    let page = format!("{}?visit=[1-10000]", nginx.url("/page"));
    let _customer =
        Process::start(customer.args(["--silent", "--output", "/dev/null", "--rate", "20/s", &page]))?;
    let mut world = World::new()?;
    let name = cgroup.path().strip_prefix(&host.cgroup_root).unwrap_or(cgroup.path()).display().to_string();
    world.replace("--cgroup /shop", format!("--cgroup /{name}/shop"));
    world.replace("--cgroup /traffictrace-demo", format!("--cgroup /{name}"));
    world.replace("--pid 4711", format!("--pid {}", backup.pid()));
    let mut run = 0;
    for page in pages()? {
        for block in blocks(&page)?.iter().filter(|block| block.place == Place::Host) {
            world.run(block)?;
            run += 1;
        }
    }
    assert!(run > 0, "no block of the documentation is run on the host");
    drop(backup);
    sink.stop()?;
    Ok(())
}
