//! A trace, and OTLP receivers on loopback, made from the protocol's own types.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use prost::Message as _;
use tokio::net::TcpListener;
use traffictrace_crd::TrafficTrace;

/// A trace with two listed flows, and bytes that are not in any listed flow.
pub(super) fn trace() -> TrafficTrace {
    let json = serde_json::json!({
        "apiVersion": "traffictrace.dev/v1alpha1", "kind": "TrafficTrace",
        "metadata": {"name": "web", "namespace": "shop", "uid": "7f9c"},
        "spec": {"selector": {}},
        "status": {
            "phase": "Running", "startTime": "2026-11-28T10:00:00Z", "updateTime": "2026-11-28T10:01:00Z",
            "totals": {"rxBytes": 9_007_199_254_740_993i64, "txBytes": 4000},
            "topFlows": [
                {"namespace": "shop", "pod": "api", "container": "main", "command": "nginx", "protocol": "TCP",
                 "direction": "Inbound", "rxBytes": 9_007_199_254_740_992i64, "txBytes": 1},
                {"namespace": "shop", "pod": "dns", "container": "main", "command": "coredns", "protocol": "UDP",
                 "direction": "Inbound", "rxBytes": 0, "txBytes": 3999},
            ],
        },
    });
    serde_json::from_value(json).unwrap()
}

/// A request that the receiver got.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) request: ExportMetricsServiceRequest,
}

/// The response of the HTTP receiver.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) body: Vec<u8>,
    pub(super) after: Duration,
}

impl Reply {
    pub(super) fn of(status: u16, body: Vec<u8>) -> Self {
        Self { status: StatusCode::from_u16(status).unwrap(), body, after: Duration::ZERO }
    }

    pub(super) fn taken(response: &ExportMetricsServiceResponse) -> Self {
        Self::of(200, response.encode_to_vec())
    }
}

type Requests = Arc<Mutex<VecDeque<Received>>>;

/// Starts an HTTP receiver that always gives the same response. Returns its URL and the requests that it gets.
pub(super) async fn http_receiver(reply: Reply) -> (String, Requests) {
    let (listener, url) = listener().await;
    let requests = Requests::default();
    let received = Arc::clone(&requests);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (received, reply) = (Arc::clone(&received), reply.clone());
            let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                answer(request, Arc::clone(&received), reply.clone())
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    (url, requests)
}

async fn answer(
    request: Request<Incoming>,
    received: Requests,
    reply: Reply,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let mut body = body.collect().await?.to_bytes();
    if head.headers.get("content-encoding").is_some_and(|value| value == "gzip") {
        let mut plain = Vec::new();
        std::io::copy(&mut flate2::read::GzDecoder::new(body.as_ref()), &mut plain).unwrap();
        body = plain.into();
    }
    let request = ExportMetricsServiceRequest::decode(body).unwrap();
    let path = head.uri.path().to_owned();
    received.lock().unwrap().push_back(Received { path, headers: head.headers, request });
    tokio::time::sleep(reply.after).await;
    let mut response = Response::new(Full::from(reply.body));
    *response.status_mut() = reply.status;
    Ok(response)
}

/// The response of the gRPC receiver.
pub(super) type GrpcReply = Result<ExportMetricsServiceResponse, tonic::Status>;

struct Grpc {
    received: Requests,
    reply: GrpcReply,
}

#[tonic::async_trait]
impl MetricsService for Grpc {
    async fn export(
        &self,
        request: tonic::Request<ExportMetricsServiceRequest>,
    ) -> Result<tonic::Response<ExportMetricsServiceResponse>, tonic::Status> {
        let (metadata, _, request) = request.into_parts();
        let received = Received { path: String::new(), headers: metadata.into_headers(), request };
        self.received.lock().unwrap().push_back(received);
        self.reply.clone().map(tonic::Response::new)
    }
}

/// Starts a gRPC receiver that always gives the same response. Returns its URL and the requests that it gets.
pub(super) async fn grpc_receiver(reply: GrpcReply) -> (String, Requests) {
    let (listener, url) = listener().await;
    let requests = Requests::default();
    let service = MetricsServiceServer::new(Grpc { received: Arc::clone(&requests), reply })
        .accept_compressed(tonic::codec::CompressionEncoding::Gzip)
        .send_compressed(tonic::codec::CompressionEncoding::Gzip);
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
    (url, requests)
}

async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (listener, url)
}
