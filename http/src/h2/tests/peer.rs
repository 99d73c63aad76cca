//! Conversations between the client and the server of the crate h2, which are independent of this crate.

use std::{cell::RefCell, rc::Rc, time::Duration};

use ::bytes::Bytes;
use h2_crate::{client, server};
use http::{HeaderMap, Request, Response};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};

use super::{
    kernel::{Kernel, Packet},
    *,
};

/// Size in bytes of the larger bodies, which take several frames.
const BODY: usize = 50_000;

/// Time limit of a conversation.
const LIMIT: Duration = Duration::from_secs(30);

/// The recorded packets, in order.
type Record = Rc<RefCell<Vec<Packet>>>;

/// Forwards the bytes of one direction until its end, and records them as packets.
async fn relay(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, way: Way, record: Record) {
    let mut buffer = vec![0; 3000];
    loop {
        let count = from.read(&mut buffer).await.unwrap_or(0);
        if count == 0 {
            // The other end may have closed already.
            to.shutdown().await.ok();
            return;
        }
        let time = record.borrow().len() as u64 + 1;
        record.borrow_mut().push(Packet { way, time, bytes: buffer[..count].to_vec() });
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

/// Serves a connection: the path of a request determines the form of its response.
async fn serve(io: DuplexStream) {
    let mut connection = server::handshake(io).await.unwrap();
    while let Some(accepted) = connection.accept().await {
        let Ok((request, mut respond)) = accepted else { return };
        tokio::task::spawn_local(async move {
            let path = request.uri().path().to_owned();
            let mut body = request.into_body();
            let status = path.rsplit('/').next().and_then(|text| text.parse().ok()).unwrap_or(200);
            let builder = Response::builder().status(status).header("server", "peer").header("x-path", &path);
            if path.starts_with("/reset") {
                respond.send_reset(h2_crate::Reason::REFUSED_STREAM);
                return;
            }
            while let Some(Ok(data)) = body.data().await {
                body.flow_control().release_capacity(data.len()).unwrap();
            }
            if path.starts_with("/empty") {
                respond.send_response(builder.body(()).unwrap(), true).unwrap();
                return;
            }
            let grpc = path.starts_with("/grpc");
            let builder =
                if grpc { builder.header("content-type", "application/grpc+proto") } else { builder };
            let mut stream = respond.send_response(builder.body(()).unwrap(), false).unwrap();
            stream.send_data(Bytes::from(vec![b'x'; BODY]), !grpc).unwrap();
            if grpc {
                let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), "7".parse().unwrap())]);
                stream.send_trailers(trailers).unwrap();
            }
        });
    }
}

/// Sends the requests of each round at once, and waits for their responses.
async fn ask(io: DuplexStream, rounds: usize) {
    let (sender, connection) = client::handshake(io).await.unwrap();
    let driver = tokio::task::spawn_local(connection);
    for round in 0..rounds {
        let mut asked = Vec::new();
        for (method, path) in PATHS {
            let mut sender = sender.clone().ready().await.unwrap();
            let uri = format!("https://peer.example{path}?secret={round}");
            let request =
                Request::builder().method(method).uri(uri).header("user-agent", "peer").body(()).unwrap();
            let post = method == "POST";
            let (response, mut stream) = sender.send_request(request, !post).unwrap();
            if post {
                stream.send_data(Bytes::from(vec![b'y'; BODY]), true).unwrap();
            }
            asked.push(tokio::task::spawn_local(async move {
                let Ok(response) = response.await else { return };
                let mut body = response.into_body();
                while let Some(Ok(data)) = body.data().await {
                    body.flow_control().release_capacity(data.len()).unwrap();
                }
                body.trailers().await.ok();
            }));
        }
        for task in asked {
            task.await.unwrap();
        }
    }
    drop(sender);
    driver.await.unwrap().ok();
}

const PATHS: [(&str, &str); 8] = [
    ("GET", "/200"),
    ("HEAD", "/empty/200"),
    ("POST", "/upload/201"),
    ("GET", "/empty/304"),
    ("DELETE", "/empty/404"),
    ("POST", "/grpc.Service/Call"),
    ("GET", "/reset"),
    ("GET", "/299"),
];

/// Records the packets of a conversation of `rounds` rounds.
fn record(rounds: usize) -> Vec<Packet> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let local = tokio::task::LocalSet::new();
    let record = Record::default();
    local.block_on(&runtime, async {
        let (client_io, client_far) = tokio::io::duplex(1 << 16);
        let (server_io, server_far) = tokio::io::duplex(1 << 16);
        let (client_read, client_write) = tokio::io::split(client_far);
        let (server_read, server_write) = tokio::io::split(server_far);
        tokio::task::spawn_local(relay(client_read, server_write, CLIENT, Rc::clone(&record)));
        tokio::task::spawn_local(relay(server_read, client_write, SERVER, Rc::clone(&record)));
        tokio::task::spawn_local(serve(server_io));
        tokio::time::timeout(LIMIT, ask(client_io, rounds)).await.unwrap();
    });
    record.take()
}

/// Passes packets to a parser, from index `from` on; the trace begins there. If `skips`, the kernel skips bodies.
fn replay(packets: &[Packet], from: usize, skips: bool) -> Reports {
    let mut parser = Parser::new(from > 0);
    let mut kernel = Kernel::new(CLIENT, skips);
    let mut reports = Reports::default();
    for (at, packet) in packets.iter().enumerate() {
        if at < from {
            kernel.pass_unseen(packet, false);
        } else {
            kernel.pass(packet, &mut parser, &mut reports);
        }
    }
    parser.close(packets.len() as u64 + 1, false, &mut reports);
    reports
}

fn expected(path: &str) -> Status {
    match path {
        "/reset" => Status::NoResponse,
        "/grpc.Service/Call" => Status::Code(200),
        path => Status::Code(path[path.len() - 3..].parse().unwrap()),
    }
}

#[test]
fn all_exchanges_of_another_implementation_are_told() {
    const ROUNDS: usize = 10;
    let packets = record(ROUNDS);
    for skips in [false, true] {
        let reports = replay(&packets, 0, skips);
        assert_eq!(reports.unobserved, []);
        for (method, path) in PATHS {
            let told: Vec<_> = reports.exchanges.iter().filter(|exchange| exchange.path == path).collect();
            assert_eq!(told.len(), ROUNDS, "{path}");
            for exchange in told {
                assert_eq!((exchange.method.as_str(), exchange.host.as_str()), (method, "peer.example"));
                assert_eq!(exchange.status, expected(path), "{path}");
                let grpc = path.starts_with("/grpc");
                assert_eq!(exchange.grpc_status, grpc.then_some(7));
                assert_eq!(exchange.protocol == Protocol::Grpc, grpc);
                assert_eq!(exchange.request_bytes > BODY as u64, method == "POST");
                let body = !path.starts_with("/empty") && path != "/reset";
                assert_eq!(exchange.response_bytes > BODY as u64, body, "{path}");
                assert!(exchange.began <= exchange.ended);
            }
        }
    }
}

#[test]
fn a_joined_conversation_of_another_implementation_has_no_garbage() {
    let packets = record(6);
    let truth = replay(&packets, 0, true).exchanges;
    let mut told = 0;
    for from in 1..packets.len() {
        let reports = replay(&packets, from, true);
        told += reports.exchanges.len();
        for exchange in reports.exchanges {
            let truth: Vec<_> = truth.iter().filter(|truth| truth.began == exchange.began).collect();
            let path = |truth: &&&Exchange| exchange.path == truth.path || exchange.path.is_empty();
            let status =
                |truth: &&&Exchange| exchange.status == truth.status || exchange.status == Status::Unknown;
            let fits = |truth: &&Exchange| path(&truth) && status(&truth) && exchange.ended == truth.ended;
            assert!(truth.iter().any(fits), "from {from}: {exchange:?}");
        }
    }
    assert!(told > packets.len(), "{told}");
}
