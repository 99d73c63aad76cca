//! Tests of the writer with an API server that stores one profile.

use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use traffictrace_profile::{Way, testing::graph};

use super::*;
use crate::kubeapi::ApiClock;
use crate::report::{Profiled, closing_profile, profile};
use crate::session::example;

/// The state of an API server that knows the trace `u1` and at most one profile.
#[derive(Debug, Default)]
struct Stored {
    trace_is_gone: bool,
    /// Number of writes that are refused, as in a namespace that is being deleted.
    refuses: usize,
    profile: Option<Value>,
    requests: Vec<String>,
}

#[derive(Clone, Debug, Default)]
struct Server(Arc<Mutex<Stored>>);

impl tower::Service<Request<Body>> for Server {
    type Response = Response<Body>;
    type Error = std::io::Error;
    type Future = futures::future::BoxFuture<'static, Result<Response<Body>, std::io::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let stored = Arc::clone(&self.0);
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
            let mut stored = stored.lock().unwrap();
            stored.requests.push(format!("{} {}", parts.method, parts.uri));
            let of_traces = parts.uri.path().contains("/traffictraces/");
            let (status, answer) = match (of_traces, &parts.method) {
                (true, _) if stored.trace_is_gone => missing(),
                (true, _) => (200, trace()),
                (false, &Method::GET) => stored.profile.clone().map_or_else(missing, |found| (200, found)),
                (false, &Method::PATCH) if stored.refuses > 0 => {
                    stored.refuses -= 1;
                    failure(403, "Forbidden", "is being terminated")
                }
                (false, &Method::PATCH) => {
                    let applied: Value = serde_json::from_slice(&body)?;
                    stored.profile = Some(applied.clone());
                    (200, applied)
                }
                (false, _) => failure(405, "MethodNotAllowed", "no such verb here"),
            };
            Ok(Response::builder().status(status).body(Body::from(answer.to_string().into_bytes())).unwrap())
        })
    }
}

fn failure(code: u16, reason: &str, message: &str) -> (u16, Value) {
    (
        code,
        json!({ "kind": "Status", "status": "Failure", "message": message, "reason": reason, "code": code }),
    )
}

fn missing() -> (u16, Value) {
    failure(404, "NotFound", "not found")
}

fn trace() -> Value {
    json!({
        "apiVersion": "traffictrace.dev/v1alpha1", "kind": "TrafficTrace",
        "metadata": { "name": "shop", "namespace": "web", "uid": "u1" }, "spec": { "selector": {} },
    })
}

/// Makes a profile with this number of sent bytes.
fn made(epoch: i64, sent: u64, is_final: bool) -> Profile {
    let times = (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH);
    let profiled = Profiled::of(graph(&[(Way::Sent, &["main", "write"], sent, 1)]));
    profile(&example("u1"), "node1", epoch, times, is_final, profiled)
}

/// Makes a last profile without stacks, as for a trace whose session was given to another trace before its end.
fn closing(epoch: i64) -> Profile {
    closing_profile(&example("u1"), "node1", epoch, Timestamp::UNIX_EPOCH)
}

/// Writes the profiles one after the other with one writer.
async fn write(server: &Server, profiles: Vec<Profile>) {
    let client = Client::new(server.clone(), "web");
    let api = ApiServer { client, url: "https://k".into(), clock: ApiClock::new() };
    let mut writer = ProfileWriter::new(&api, &profiles[0], Spread::default(), Packing::default());
    for profile in profiles {
        assert!(writer.write(profile.pack()).await.is_ok(), "the server takes everything");
    }
}

/// Runs a writer until it ends by itself, with all profiles waiting from the beginning.
async fn run(server: &Server, profiles: Vec<Profile>) {
    let client = Client::new(server.clone(), "web");
    let api = ApiServer { client, url: "https://k".into(), clock: ApiClock::new() };
    let writer = ProfileWriter::new(&api, &profiles[0], Spread::default(), Packing::default());
    let (drafts, received) = mpsc::unbounded_channel();
    for profile in profiles {
        drafts.send(profile).unwrap();
    }
    let ended = tokio::time::timeout(Duration::from_secs(30), writer.run(received)).await;
    assert!(ended.is_ok(), "the writer goes on: {:?}", requests(server));
}

fn stored(server: &Server) -> TrafficTraceProfileSpec {
    let found = server.0.lock().unwrap().profile.clone().expect("a profile");
    assert_eq!(found["metadata"]["name"], "u1.node1");
    serde_json::from_value(found).unwrap()
}

fn requests(server: &Server) -> Vec<String> {
    std::mem::take(&mut server.0.lock().unwrap().requests)
}

const OBJECT: &str = "/apis/traffictrace.dev/v1alpha1/namespaces/web/traffictraceprofiles/u1.node1";

#[tokio::test]
async fn each_profile_takes_the_place_of_the_one_before() {
    let server = Server::default();
    write(&server, vec![made(7, 10, false), made(7, 25, true)]).await;
    let patch = format!("PATCH {OBJECT}?&force=true&fieldManager=traffictrace-agent");
    assert_eq!(requests(&server), [format!("GET {OBJECT}"), patch.clone(), patch], "read once");
    let spec = stored(&server);
    assert_eq!((spec.bytes.sent, spec.is_final, spec.interrupted), (25, true, false));
}

#[tokio::test]
async fn what_an_earlier_run_wrote_is_gone_on_from() {
    let server = Server::default();
    write(&server, vec![made(7, 10, false)]).await;
    // The next agent counts in two runs, as if it had given its session to another namespace in between.
    write(&server, vec![made(8, 1, false), made(8, 2, false), made(9, 5, true)]).await;
    let gets = requests(&server).iter().filter(|request| request.starts_with("GET")).count();
    assert_eq!(gets, 3, "once for each run");
    let spec = stored(&server);
    assert!(spec.interrupted && spec.is_final);
    assert_eq!(spec.epoch, 9);
}

#[tokio::test]
async fn nothing_is_written_of_which_nothing_is_known() {
    let server = Server::default();
    run(&server, vec![closing(8)]).await;
    assert_eq!(requests(&server), [format!("GET {OBJECT}")]);
}

#[tokio::test]
async fn the_writer_of_a_trace_that_is_gone_ends_quietly() {
    for refuses in [0, usize::MAX] {
        let server = Server::default();
        {
            let mut stored = server.0.lock().unwrap();
            (stored.trace_is_gone, stored.refuses) = (true, refuses);
        }
        run(&server, vec![made(7, 10, true)]).await;
        let asked = requests(&server);
        let of_trace = asked.iter().filter(|request| request.contains("/traffictraces/shop")).count();
        assert_eq!(of_trace, usize::from(refuses > 0), "asked for only after a failure: {asked:?}");
    }
}

#[tokio::test]
async fn a_failure_is_tried_again_as_long_as_the_trace_is_there() {
    let server = Server::default();
    server.0.lock().unwrap().refuses = 2;
    run(&server, vec![made(7, 10, true)]).await;
    assert_eq!(stored(&server).bytes.sent, 10);
    let patches = requests(&server).iter().filter(|request| request.starts_with("PATCH")).count();
    assert_eq!(patches, 3);
}

#[tokio::test]
async fn of_profiles_that_wait_the_newest_of_each_run_is_written() {
    let server = Server::default();
    // A run that gave its session to another namespace, and then the end of its trace.
    run(&server, vec![made(7, 10, false), made(7, 25, false), closing(8)]).await;
    let patches = requests(&server).iter().filter(|request| request.starts_with("PATCH")).count();
    assert_eq!(patches, 2);
    let spec = stored(&server);
    assert_eq!((spec.bytes.sent, spec.is_final, spec.interrupted), (25, true, true));
    assert!(!spec.profile.is_empty());
    // The second run continues the first one's stored profile, so both are written.
    let server = Server::default();
    run(&server, vec![made(7, 25, false), made(8, 100, false), made(8, 300, true)]).await;
    let spec = stored(&server);
    assert_eq!((spec.bytes.sent, spec.is_final), (325, true));
}
