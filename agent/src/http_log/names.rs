//! Names for text and JSON output.

use std::collections::HashMap;

use traffictrace_crd::human;
use traffictrace_ebpf::layout;
use traffictrace_http::{Protocol, Side};

use crate::{engine::HttpOwner, host::Names};

/// The names of the containers and services to which cgroups belong, by the id of the cgroup. Empty if the target is a
/// cgroup or a process.
pub(super) type Containers = HashMap<u64, Names>;

pub(super) fn side(side: Side) -> &'static str {
    match side {
        Side::Server => "Server",
        Side::Client => "Client",
    }
}

pub(super) fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Http10 => "HTTP/1.0",
        Protocol::Http11 => "HTTP/1.1",
        Protocol::Http2 => "HTTP/2",
        Protocol::Grpc => "gRPC",
    }
}

/// Returns the name of an owner's process (`comm`) without control characters, if it is known.
pub(super) fn command(owner: &HttpOwner) -> Option<String> {
    let name = layout::text(&owner.command);
    (!name.is_empty()).then(|| human::printable(&name).into_owned())
}
