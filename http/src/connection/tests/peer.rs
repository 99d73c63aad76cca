//! Conversations between the client and the server of the crate hyper, which are independent of this crate.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt as _, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex, split};

use super::*;

type Body = BoxBody<Bytes, Infallible>;
type Passed = Arc<Mutex<Vec<(Way, Vec<u8>)>>>;

/// Makes a body of `length` bytes, sent with a `Content-Length` or in chunks of 1,000 bytes.
fn body(length: usize, chunked: bool) -> Body {
    if !chunked {
        return Full::new(Bytes::from(vec![b'x'; length])).boxed();
    }
    let parts: Vec<Bytes> = vec![b'y'; length].chunks(1_000).map(Bytes::copy_from_slice).collect();
    let frames = parts.into_iter().map(|part| Ok(Frame::data(part)));
    StreamBody::new(futures::stream::iter(frames)).boxed()
}

/// Answers a request for `/STATUS/LENGTH/CHUNKED` after reading its body. The path gives the status and the body of the
/// response.
async fn answer(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let (head, received) = request.into_parts();
    received.collect().await.expect("the client sends its body");
    let mut parts = head.uri.path().split('/').skip(1);
    let mut number =
        || parts.next().and_then(|part| part.parse::<u16>().ok()).expect("the path has three numbers");
    let (status, length, chunked) = (number(), number(), number());
    let response = Response::builder().status(status).body(body(length.into(), chunked == 1));
    Ok(response.expect("the status is valid"))
}

/// Forwards the bytes of one direction until its end, and records them.
async fn tap(
    way: Way,
    mut from: tokio::io::ReadHalf<DuplexStream>,
    mut to: tokio::io::WriteHalf<DuplexStream>,
    passed: Passed,
) {
    let mut buffer = vec![0; 3_000];
    loop {
        let length = from.read(&mut buffer).await.unwrap_or(0);
        if length == 0 || to.write_all(&buffer[..length]).await.is_err() {
            let _closed = to.shutdown().await;
            return;
        }
        passed.lock().expect("nobody panics").push((way, buffer[..length].to_vec()));
    }
}

#[tokio::test]
async fn exchanges_are_those_of_the_client() {
    let passed = Passed::default();
    let (client, client_tap) = duplex(64 << 10);
    let (server_tap, server) = duplex(64 << 10);
    let (from_client, to_client) = split(client_tap);
    let (from_server, to_server) = split(server_tap);
    let requests = tokio::spawn(tap(REQUESTS, from_client, to_server, Arc::clone(&passed)));
    let responses = tokio::spawn(tap(RESPONSES, from_server, to_client, Arc::clone(&passed)));
    let server =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(server), service_fn(answer));
    let server = tokio::spawn(server);
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake::<_, Body>(TokioIo::new(client)).await.expect("a connection");
    let connection = tokio::spawn(connection);
    let mut expected = Vec::new();
    for round in 0..40_usize {
        let status = [200, 201, 204, 304, 404, 500][round % 6];
        let method = ["GET", "POST", "HEAD", "PUT", "DELETE"][round % 5];
        let (length, chunked) = (round * 137 % 9_000, round / 2 % 2);
        let path = format!("/{status}/{length}/{chunked}/{round}");
        let sent = if matches!(method, "POST" | "PUT") { round * 211 } else { 0 };
        let request =
            Request::builder().method(method).uri(format!("{path}?q=secret")).header("Host", "h.example");
        let request = request.body(body(sent, round % 3 == 0 && sent > 0)).expect("a valid request");
        let response = sender.send_request(request).await.expect("a response");
        expected.push((method.to_owned(), path, Status::Code(response.status().as_u16())));
        response.into_body().collect().await.expect("a whole body");
    }
    drop(sender);
    connection.await.expect("no panic").expect("no error");
    server.await.expect("no panic").expect("no error");
    requests.await.expect("no panic");
    responses.await.expect("no panic");

    let mut talk = Talk::new();
    let mut bytes = [0, 0];
    for (way, data) in passed.lock().expect("nobody panics").iter() {
        talk.piece(*way, data, data.len(), false, false);
        bytes[way.index()] += data.len() as u64;
    }
    let record = talk.close(false);
    let told = record
        .exchanges
        .iter()
        .map(|exchange| (exchange.method.clone(), exchange.path.clone(), exchange.status));
    assert_eq!(told.collect::<Vec<_>>(), expected);
    assert_eq!(record.unobserved, []);
    assert_eq!(
        record.exchanges.iter().map(|exchange| exchange.request_bytes).sum::<u64>(),
        bytes[REQUESTS.index()]
    );
    assert_eq!(
        record.exchanges.iter().map(|exchange| exchange.response_bytes).sum::<u64>(),
        bytes[RESPONSES.index()]
    );
}
