//! Requests for tests.

use traffictrace_http::{Exchange, Protocol, Side, Status};

use crate::engine::{HttpExchange, HttpOwner};

/// Returns a GET request that a traced server answered with 200 after 1.5 ms.
pub(super) fn exchange() -> Exchange {
    Exchange {
        side: Side::Server,
        protocol: Protocol::Http11,
        method: "GET".into(),
        host: "shop.example:8080".into(),
        path: "/carts/7".into(),
        status: Status::Code(200),
        grpc_status: None,
        request_bytes: 80,
        response_bytes: 2048,
        began: 1_000_000_000,
        first_byte: Some(1_001_200_000),
        ended: 1_001_500_999,
    }
}

/// Returns an exchange without a response, whose method, host and path are unknown.
pub(super) fn unknown() -> Exchange {
    Exchange {
        method: String::new(),
        host: String::new(),
        path: String::new(),
        status: Status::NoResponse,
        first_byte: None,
        ..exchange()
    }
}

/// Returns the exchange as one of a process `nginx`, with id 4711 on the host and 7 in its container.
pub(super) fn of_nginx(exchange: Exchange) -> HttpExchange {
    let mut command = [0; 16];
    command[..5].copy_from_slice(b"nginx");
    HttpExchange {
        owner: HttpOwner { cgroup: 9, command },
        pid: 4711,
        container_pid: 7,
        local: ([10, 0, 0, 1].into(), 8080),
        remote: ([10, 0, 0, 2].into(), 50_000),
        tls: false,
        exchange,
    }
}
