//! Exchanges for tests.

use crate::{Exchange, Protocol, Side, Status};

/// Makes the exchange of a GET request for `path` that a server answered with `code` in 1 ms.
pub(super) fn exchange(path: &str, code: u16) -> Exchange {
    Exchange {
        side: Side::Server,
        protocol: Protocol::Http11,
        method: "GET".to_owned(),
        host: "example.com".to_owned(),
        path: path.to_owned(),
        status: Status::Code(code),
        grpc_status: None,
        request_bytes: 100,
        response_bytes: 1_000,
        began: 0,
        first_byte: Some(500_000),
        ended: 1_000_000,
    }
}
