//! `traffictrace http` with real servers and clients, compared with their own logs.

mod hostile;
mod load;
mod logs;
mod nginx;
mod output;
mod runtimes;
mod selection;

use std::{
    collections::BTreeMap,
    fmt::Debug,
    io::{Read as _, Write as _},
    net::TcpListener,
    path::Path,
    process::Command,
    thread,
    time::Duration,
};

use rustix::process::Signal;
use serde::Deserialize;
use traffictrace_e2e::support::{
    Result, TestError, bpf,
    http::{Counts, HttpLog, Request},
    process::Process,
    server::{Asked, Nginx, NginxRequest, Python, command_in, curl, installed},
    wait,
};

use crate::setup::{self, text};

/// Time limit of every step.
const LIMIT: Duration = Duration::from_secs(30);

/// Requests every kind of answer that the server has, over one connection and over several.
fn ask_nginx(cgroup: &Path, nginx: &Nginx) -> Result<Vec<Asked>> {
    let paths = ["/page", "/page?user=me", "/missing", "/moved", "/broken", "/users/7/orders"];
    let urls = paths.map(|path| nginx.url(path));
    let mut asked = Vec::new();
    for _ in 0..3 {
        asked.extend(curl(cgroup, &[], &urls)?);
        asked.extend(curl(cgroup, &["-I"], &urls)?);
        asked.extend(curl(cgroup, &["-d", "name=value"], &urls)?);
        asked.extend(curl(cgroup, &["--http1.0", "-X", "DELETE"], &urls[..2])?);
    }
    Ok(asked)
}

pub(crate) fn of_side<'a>(requests: &'a [Request], side: &'a str) -> impl Iterator<Item = &'a Request> {
    requests.iter().filter(move |request| request.side == side)
}

/// Converts the server's requests to the form of nginx' log.
pub(crate) fn as_nginx(requests: &[Request]) -> Vec<NginxRequest> {
    of_side(requests, "Server")
        .map(|request| NginxRequest {
            pid: request.pid,
            remote_port: request.remote_port,
            method: request.method.clone(),
            path: request.path.clone(),
            status: request.status.unwrap_or_default(),
            bytes_sent: request.response_bytes,
        })
        .collect()
}

/// Converts the client's requests to the form of curl's output.
fn as_curl(requests: &[Request]) -> Vec<Asked> {
    of_side(requests, "Client")
        .map(|request| Asked {
            method: request.method.clone(),
            status: request.status.unwrap_or_default(),
            local_port: request.local_port,
            request_bytes: (request.method != "POST").then_some(request.request_bytes),
            response_bytes: request.response_bytes,
        })
        .collect()
}

/// Asserts that two lists are equal in any order; prints only what differs.
pub(crate) fn assert_same<T: Ord + Debug>(mut shown: Vec<T>, mut expected: Vec<T>) {
    shown.sort();
    expected.sort();
    shown.retain(|item| match expected.binary_search(item) {
        Ok(at) => {
            expected.remove(at);
            false
        }
        Err(_) => true,
    });
    assert!(shown.is_empty() && expected.is_empty(), "only shown: {shown:#?}\nnot shown: {expected:#?}");
}

/// Sums these requests.
fn sums(requests: &[Request]) -> Counts {
    let classes = ["1xx", "2xx", "3xx", "4xx", "5xx", "noResponse", "unknown"];
    let mut sums = Counts {
        by_class: classes.into_iter().map(|class| (class.to_owned(), 0)).collect(),
        ..Counts::default()
    };
    for request in requests {
        let class = request.status.map_or("noResponse".to_owned(), |status| format!("{}xx", status / 100));
        *sums.by_class.entry(class).or_default() += 1;
        sums.requests += 1;
        sums.request_bytes += request.request_bytes;
        sums.response_bytes += request.response_bytes;
    }
    sums
}
