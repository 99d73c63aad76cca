//! Comparison of the HTTP/2 parser with the crate h2: h2's client makes the bytes, and h2's server reads them after
//! random errors were added.

use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use h2_crate::{client, server};
use http::{Request, Response};
use proptest::{collection::vec, prelude::*};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex, split};
use traffictrace_http::{Protocol, Status, Way};

use crate::{
    feed::feed,
    mutate::{errors, mutate},
};

/// Time after which a conversation counts as stuck, and the test fails.
const LIMIT: Duration = Duration::from_secs(20);
/// Size in bytes of the pipe to h2, which must hold everything that one end sends.
const ROOM: usize = 1 << 20;

/// Number of times to yield to the scheduler, after which the other end has done everything that it can do without
/// further input.
const TURNS: usize = 200;

/// A request: method, path, length of the body.
type Planned = (&'static str, String, usize);

fn planned() -> impl Strategy<Value = Vec<Planned>> {
    let method = proptest::sample::select(vec!["GET", "POST", "PUT", "DELETE"]);
    let path = "/[a-z0-9]{1,20}(/[A-Za-z]{1,9})?";
    vec((method, path, prop_oneof![Just(0), 1..3_000_usize]), 1..8)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime")
}

/// Returns the bytes that h2's client sends for these requests. The server sends only an empty SETTINGS frame.
fn requests(planned: &[Planned]) -> Vec<u8> {
    runtime().block_on(async {
        let (near, far) = duplex(ROOM);
        let (mut reads, mut writes) = split(far);
        let (sender, connection) = client::handshake(near).await.expect("a pipe");
        let mut driver = tokio::spawn(connection);
        // Dropping a response future resets its stream, so all of them are kept.
        let mut open = Vec::new();
        for (method, path, length) in planned {
            let mut sender = sender.clone().ready().await.expect("there are streams");
            let request = Request::builder().method(*method).uri(format!("http://h.example{path}?q=1"));
            let request = request.header("user-agent", "h2").body(()).expect("valid");
            let (response, mut body) = sender.send_request(request, *length == 0).expect("there are streams");
            if *length > 0 {
                body.send_data(Bytes::from(vec![b'u'; *length]), true).expect("the stream is open");
            }
            open.push((response, body));
        }
        // An empty SETTINGS frame completes the server's part of the handshake, so that the client sends its requests.
        writes.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.expect("there is room");
        // The requests are never answered, so the client has nothing more to send after some turns.
        let (mut sent, mut part) = (Vec::new(), [0; 4_096]);
        for _ in 0..TURNS {
            if let Some(Ok(length)) = reads.read(&mut part).now_or_never() {
                sent.extend_from_slice(&part[..length]);
            }
            tokio::task::yield_now().await;
        }
        driver.abort();
        drop((&mut driver).await);
        sent
    })
}

/// Feeds `bytes` to h2's server. Returns the requests that the server saw, and all bytes that it sent.
fn serve(bytes: &[u8]) -> (Vec<(String, String)>, Vec<u8>) {
    runtime().block_on(async {
        let (near, far) = duplex(ROOM);
        let (mut reads, mut writes) = split(near);
        let served = async {
            let mut taken = Vec::new();
            let Ok(mut connection) = server::handshake(far).await else { return taken };
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                taken.push((request.method().to_string(), request.uri().path().to_owned()));
                let response = Response::builder().status(200).body(()).expect("valid");
                // Sending fails if the stream was reset before.
                drop(respond.send_response(response, true));
            }
            taken
        };
        let talked = async {
            // Writing fails if the server closes before it has read everything.
            drop(writes.write_all(bytes).await);
            // The server serves nothing more once its input has ended, so the input stays open until it had time to
            // serve all.
            for _ in 0..TURNS {
                tokio::task::yield_now().await;
            }
            drop(writes.shutdown().await);
            let mut sent = Vec::new();
            drop(reads.read_to_end(&mut sent).await);
            sent
        };
        tokio::time::timeout(LIMIT, async { tokio::join!(served, talked) }).await.expect("h2 ends")
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn requests_are_those_that_h2_serves(planned in planned(), errors in errors(), size in 1..700_usize) {
        let mut bytes = requests(&planned);
        mutate(&mut bytes, &errors);
        let (taken, sent) = serve(&bytes);
        // Each byte is a piece of its own, so that each request begins at a different time.
        let asked = bytes.chunks(1).map(|part| (Way::Received, part));
        let told = feed(asked.chain(sent.chunks(size).map(|part| (Way::Sent, part))));
        let mut ours: Vec<_> = told.exchanges.iter().filter(|exchange| exchange.protocol == Protocol::Http2).collect();
        ours.sort_by_key(|exchange| exchange.began);
        let answered = ours.iter().filter(|exchange| exchange.status == Status::Code(200));
        // Every exchange with the status 200 was served, because h2 sends a status for nothing else.
        for exchange in answered.clone() {
            let of = (exchange.method.clone(), exchange.path.clone());
            prop_assert!(taken.contains(&of), "{:?} was never served: {:?}", of, taken);
        }
        // If nothing is unobserved, every served request is reported with its method and path, in the same order.
        if told.unobserved == 0 {
            let ours: Vec<_> = ours.iter().map(|exchange| (exchange.method.clone(), exchange.path.clone())).collect();
            let served: Vec<_> = ours.iter().filter(|of| taken.contains(of)).cloned().collect();
            prop_assert_eq!(&served, &taken, "{:?}", ours);
        }
        if errors.is_empty() {
            let expected: Vec<_> =
                planned.iter().map(|(method, path, _)| ((*method).to_owned(), path.clone())).collect();
            prop_assert_eq!(taken, expected);
            prop_assert_eq!(answered.count(), planned.len());
            prop_assert_eq!(told.unobserved, 0);
        }
    }
}
