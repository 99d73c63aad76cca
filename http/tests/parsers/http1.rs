//! Comparison of the HTTP/1 parser with the crate hyper, whose server reads the requests and whose client reads the
//! responses.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use http_body_util::{BodyExt as _, Empty, Full};
use hyper::{Request, Response, Uri, body::Bytes, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use proptest::{collection::vec, prelude::*};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex, split};
use traffictrace_http::{Status, Way};

use crate::{
    feed::feed,
    mutate::{Error, errors, mutate},
};

/// Time after which a conversation counts as stuck, and the test fails.
const LIMIT: Duration = Duration::from_secs(20);
/// Size in bytes of the pipe to hyper, which must hold everything that one end sends.
const ROOM: usize = 1 << 20;

/// Maximum length of a method that this crate keeps, in bytes.
const MAX_METHOD: usize = 32;

/// Generates a body, and the fields that give its length.
fn body() -> impl Strategy<Value = (String, String)> {
    let chunk =
        |(length, extension): (usize, &str)| format!("{length:x}{extension}\r\n{}\r\n", "c".repeat(length));
    let extension = proptest::sample::select(vec!["", ";a=b", " ;a", ";\"x;y\""]);
    let trailer = proptest::sample::select(vec!["", "X-Sum: 1\r\n", "A: b\r\nC: d\r\n"]);
    prop_oneof![
        3 => Just((String::new(), String::new())),
        3 => (0..300_usize).prop_map(|length| (format!("Content-Length: {length}\r\n"), "b".repeat(length))),
        2 => (vec((1..90_usize, extension), 0..4), trailer).prop_map(move |(chunks, trailer)| {
            let chunks: String = chunks.into_iter().map(chunk).collect();
            ("transfer-encoding: chunked\r\n".to_owned(), format!("{chunks}0\r\n{trailer}\r\n"))
        }),
    ]
}

fn field() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec![
        "",
        "Accept: */*\r\n",
        "X-Empty:\r\n",
        "x-spaces:   a  b  \r\n",
        "Connection: keep-alive\r\n",
        "Cookie: a=b; c=\"d\"\r\n",
    ])
}

/// Generates the text of one or more requests, each with its own path.
fn requests() -> impl Strategy<Value = String> {
    let method = proptest::sample::select(vec!["GET", "POST", "PUT", "DELETE", "M-SEARCH", "OPTIONS"]);
    vec((method, body(), field(), field()), 1..8).prop_map(|requests| {
        let text = |(number, (method, (length, body), one, two)): (usize, (_, (String, String), _, _))| {
            format!(
                "{method} /{number}/x?q={number} HTTP/1.1\r\nHost: h.example\r\n{one}{length}{two}\r\n{body}"
            )
        };
        requests.into_iter().enumerate().map(text).collect()
    })
}

/// Generates the text of one or more responses to GET requests.
fn responses() -> impl Strategy<Value = String> {
    let code = prop_oneof![5 => 200..210_u16, 1 => Just(204), 1 => Just(304), 2 => 400..600_u16];
    let interim = prop_oneof![6 => Just(""), 1 => Just("HTTP/1.1 103 Early\r\nLink: </a>\r\n\r\n")];
    vec((code, interim, body(), field()), 1..8).prop_map(|responses| {
        let text = |(code, interim, (length, body), field): (u16, &str, (String, String), &str)| {
            let empty = matches!(code, 204 | 304);
            let length =
                if length.is_empty() && !empty { "Content-Length: 0\r\n".to_owned() } else { length };
            let (length, body) = if empty { (String::new(), String::new()) } else { (length, body) };
            format!("{interim}HTTP/1.1 {code} Words\r\n{length}{field}\r\n{body}")
        };
        responses.into_iter().map(text).collect()
    })
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime")
}

/// Returns the target of a request without its query. For a target that is not a path, such as `q=0`, which hyper takes
/// for a host, returns the whole target.
fn target(uri: &Uri) -> String {
    if uri.path().is_empty() { uri.to_string() } else { uri.path().to_owned() }
}

/// Passes `requests` to hyper's server. Returns method and path of each request that it answered, and all bytes that it
/// sent.
fn serve(requests: &[u8]) -> (Vec<(String, String)>, Vec<u8>) {
    let taken: Arc<Mutex<Vec<_>>> = Arc::default();
    let answer = {
        let taken = Arc::clone(&taken);
        move |request: Request<Incoming>| {
            let taken = Arc::clone(&taken);
            async move {
                let (head, body) = request.into_parts();
                let of: (String, String) =
                    (head.method.as_str().chars().take(MAX_METHOD).collect(), target(&head.uri));
                taken.lock().expect("nobody panics").push(of);
                // The request is answered even if its body cannot be read.
                drop(body.collect().await);
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"ok"))))
            }
        }
    };
    let sent = runtime().block_on(async {
        let (near, far) = duplex(ROOM);
        let (mut reads, mut writes) = split(near);
        let mut builder = hyper::server::conn::http1::Builder::new();
        builder.half_close(true);
        let served = builder.serve_connection(TokioIo::new(far), service_fn(answer));
        let served = async { drop(tokio::time::timeout(LIMIT, served).await.expect("hyper ends")) };
        let talked = async {
            writes.write_all(requests).await.expect("there is room");
            writes.shutdown().await.expect("the pipe is open");
            let mut sent = Vec::new();
            reads.read_to_end(&mut sent).await.expect("a pipe can be read");
            sent
        };
        tokio::join!(served, talked).1
    });
    let taken = taken.lock().expect("nobody panics").clone();
    (taken, sent)
}

/// Returns the status of the first response as hyper's client reads it.
fn ask(responses: &[u8]) -> Option<u16> {
    runtime().block_on(async {
        let (near, far) = duplex(ROOM);
        let (mut client, connection) =
            hyper::client::conn::http1::handshake::<_, Empty<Bytes>>(TokioIo::new(near))
                .await
                .expect("a pipe");
        let driver = tokio::spawn(connection);
        let (mut reads, mut writes) = split(far);
        let request = Request::get("/x").header("Host", "h.example").body(Empty::new()).expect("valid");
        let asked = client.send_request(request);
        let pass = async {
            // hyper reads no response before it has sent a request.
            reads.read_exact(&mut [0]).await.expect("hyper sends a request");
            writes.write_all(responses).await.expect("there is room");
            writes.shutdown().await.expect("the pipe is open");
        };
        let (answer, ()) = tokio::join!(tokio::time::timeout(LIMIT, asked), pass);
        let response = answer.expect("hyper ends").ok()?;
        let status = response.status().as_u16();
        // An error in the body is ignored: this crate reports a body that is cut off like one that the end of the
        // connection terminates.
        drop(response.into_body().collect().await);
        driver.abort();
        Some(status)
    })
}

fn pieces(bytes: &[u8], way: Way, size: usize) -> Vec<(Way, &[u8])> {
    bytes.chunks(size).map(|part| (way, part)).collect()
}

fn mutated(text: &str, errors: &[Error]) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    mutate(&mut bytes, errors);
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn requests_are_those_that_hyper_serves(text in requests(), errors in errors(), size in 1..700_usize) {
        let requests = mutated(&text, &errors);
        let (taken, sent) = serve(&requests);
        let passed = [pieces(&requests, Way::Received, size), pieces(&sent, Way::Sent, size)].concat();
        let told = feed(passed);
        let ours: Vec<_> = told
            .exchanges
            .iter()
            .filter(|exchange| exchange.status == Status::Code(200))
            .map(|exchange| (exchange.method.clone(), exchange.path.clone()))
            .collect();
        // This crate recognizes HTTP by the first bytes of a connection, which hyper need not do. It may therefore
        // report nothing if the first target is not a path.
        let plain = |(_, path): &(String, String)| path.starts_with('/');
        prop_assume!(!told.exchanges.is_empty() || taken.first().is_none_or(plain));
        // The exchanges that this crate reports with the status 200 equal those that hyper served, in the same order.
        let both = ours.len().min(taken.len());
        prop_assert_eq!(&ours[..both], &taken[..both], "{:?}", String::from_utf8_lossy(&requests));
        // After bytes that are not HTTP, this crate finds no further requests unless the kernel marks where messages
        // begin. It counts that as one unobserved exchange.
        let missing = taken.len().saturating_sub(ours.len());
        prop_assert!(missing == 0 || told.unobserved > 0, "{:?} {:?} {}", taken, told, String::from_utf8_lossy(&requests));
        prop_assert!(ours.len() <= taken.len(), "{:?} {:?} {}", taken, told, String::from_utf8_lossy(&requests));
        if errors.is_empty() {
            prop_assert_eq!((missing, told.unobserved), (0, 0));
            prop_assert_eq!(told.exchanges.iter().map(|e| e.request_bytes).sum::<u64>(), requests.len() as u64);
        }
    }

    #[test]
    fn responses_are_those_that_hyper_takes(text in responses(), errors in errors(), size in 1..700_usize) {
        let responses = mutated(&text, &errors);
        let taken = ask(&responses);
        let requests = b"GET /x HTTP/1.1\r\nHost: h.example\r\n\r\n".repeat(16);
        let passed = [pieces(&requests, Way::Received, 5_000), pieces(&responses, Way::Sent, size)].concat();
        let told = feed(passed);
        prop_assert_eq!(told.exchanges.len() as u64 + told.unobserved, 16);
        let shown = || String::from_utf8_lossy(&responses);
        if let Some(status) = taken {
            match told.exchanges.first() {
                Some(first) if told.unobserved == 0 || first.status != Status::NoResponse => {
                    prop_assert_eq!(first.status, Status::Code(status), "{}", shown());
                }
                _ => prop_assert!(told.unobserved > 0, "{:?} {}", taken, shown()),
            }
        }
        if errors.is_empty() {
            let sent = text.matches("HTTP/1.1 ").count() - text.matches("HTTP/1.1 103 ").count();
            let ours = told.exchanges.iter().filter(|exchange| exchange.status != Status::NoResponse);
            prop_assert_eq!(ours.count(), sent);
            prop_assert_eq!(told.exchanges.iter().map(|e| e.response_bytes).sum::<u64>(), text.len() as u64);
        }
    }
}
