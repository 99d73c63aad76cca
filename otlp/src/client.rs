//! The client that sends requests to a receiver.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, USER_AGENT};
use http::{HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_semantic_conventions::attribute::{SERVICE_INSTANCE_ID, SERVICE_NAME, SERVICE_VERSION};
use prost::Message as _;
use tonic::codec::CompressionEncoding;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};
use traffictrace_crd::human;

use crate::error::ExportError;
use crate::request::key_value;
use crate::settings::{Protocol, Settings};
use crate::tls;

/// Maximum number of bytes read from a response.
const LARGEST_ANSWER: usize = 64 * 1024;
/// Maximum length of a receiver's message that is shown, in characters.
const LONGEST_MESSAGE: usize = 300;
/// Time after which an idle connection is closed.
const IDLE: Duration = Duration::from_secs(90);
const AGENT: &str = concat!("traffictrace/", env!("CARGO_PKG_VERSION"));

type Http<B> = HttpClient<HttpsConnector<HttpConnector>, B>;

/// A client for one receiver of metrics. Connections are kept open, and replaced when they break.
#[derive(Clone, Debug)]
pub struct Client {
    transport: Transport,
    settings: Settings,
    endpoint: String,
    resource: Resource,
}

#[derive(Clone, Debug)]
enum Transport {
    Http(Box<Http<Full<Bytes>>>),
    Grpc(Box<MetricsServiceClient<Http<tonic::body::Body>>>),
}

/// The response of a receiver that accepted the request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Number of data points that the receiver rejected.
    pub rejected: i64,
    /// Message of the receiver; empty if there is none.
    pub message: String,
}

impl Client {
    /// Makes a client for a receiver. `instance` identifies the sender: two senders of the same series need different
    /// ones.
    ///
    /// # Errors
    ///
    /// [`SettingsError`](crate::SettingsError) if the certificates cannot be used.
    pub fn new(settings: &Settings, instance: &str) -> Result<Self, ExportError> {
        let tls = tls::config(settings.certificate.as_deref())?;
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
        let mut builder = HttpClient::builder(TokioExecutor::new());
        builder.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE).pool_max_idle_per_host(1);
        let transport = match settings.protocol {
            Protocol::HttpProtobuf => {
                Transport::Http(Box::new(builder.build(connector.enable_http1().build())))
            }
            Protocol::Grpc => {
                let http = builder.http2_only(true).build(connector.enable_http2().build());
                let mut grpc = MetricsServiceClient::with_origin(http, settings.endpoint.clone())
                    .max_decoding_message_size(LARGEST_ANSWER);
                if settings.gzip {
                    // The request names gzip as an accepted encoding, so the receiver may compress its response.
                    grpc = grpc
                        .send_compressed(CompressionEncoding::Gzip)
                        .accept_compressed(CompressionEncoding::Gzip);
                }
                Transport::Grpc(Box::new(grpc))
            }
        };
        let mut attributes = vec![
            (SERVICE_NAME.to_owned(), "traffictrace".to_owned()),
            (SERVICE_VERSION.to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
            (SERVICE_INSTANCE_ID.to_owned(), instance.to_owned()),
        ];
        for (key, value) in &settings.resource {
            match attributes.iter_mut().find(|(known, _)| known == key) {
                Some((_, known)) => known.clone_from(value),
                None => attributes.push((key.clone(), value.clone())),
            }
        }
        let attributes = attributes.iter().map(|(key, value)| key_value(key, value)).collect();
        let resource = Resource { attributes, ..Resource::default() };
        Ok(Self { transport, settings: settings.clone(), endpoint: settings.endpoint(), resource })
    }

    /// URL of the receiver.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Attributes that describe the sender.
    #[must_use]
    pub fn resource(&self) -> &Resource {
        &self.resource
    }

    /// Sends a request once, without retries: sums are cumulative, so later requests make up for this one.
    ///
    /// # Errors
    ///
    /// [`ExportError`] if the receiver cannot be reached, does not respond in time, or rejects all data points.
    pub async fn send(&self, request: ExportMetricsServiceRequest) -> Result<Answer, ExportError> {
        let after = self.settings.timeout;
        let sending = async {
            match &self.transport {
                Transport::Http(http) => self.send_http(http, &request).await,
                Transport::Grpc(grpc) => self.send_grpc(grpc.as_ref().clone(), request).await,
            }
        };
        match tokio::time::timeout(after, sending).await {
            Ok(answer) => answer,
            Err(_) => Err(ExportError::Unanswered { endpoint: self.endpoint.clone(), after }),
        }
    }

    async fn send_http(
        &self,
        http: &Http<Full<Bytes>>,
        request: &ExportMetricsServiceRequest,
    ) -> Result<Answer, ExportError> {
        let body = request.encode_to_vec();
        let body =
            if self.settings.gzip { gzip(&body).map_err(|fault| self.unreachable(&fault))? } else { body };
        let mut request = Request::post(self.settings.endpoint.clone())
            .body(Full::from(body))
            .map_err(|fault| self.unreachable(&fault))?;
        let headers = request.headers_mut();
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        headers.extend(self.settings.headers.clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        if self.settings.gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        let response = http.request(request).await.map_err(|fault| self.unreachable(&fault))?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, LARGEST_ANSWER).collect().await;
        if !head.status.is_success() {
            let body = body.map(|body| body.to_bytes()).unwrap_or_default();
            return Err(ExportError::Refused {
                endpoint: self.endpoint.clone(),
                status: head.status.to_string(),
                message: refusal(&body),
                again: matches!(
                    head.status,
                    StatusCode::TOO_MANY_REQUESTS
                        | StatusCode::BAD_GATEWAY
                        | StatusCode::SERVICE_UNAVAILABLE
                        | StatusCode::GATEWAY_TIMEOUT
                ),
            });
        }
        let body = body.map_err(|fault| self.unreachable(fault.as_ref()))?.to_bytes();
        let answer = ExportMetricsServiceResponse::decode(body).map_err(|_| {
            let cause = "the answer is none of OTLP: something else is listening there";
            self.unreachable(&std::io::Error::other(cause))
        })?;
        Ok(answer.into())
    }

    async fn send_grpc(
        &self,
        mut grpc: MetricsServiceClient<Http<tonic::body::Body>>,
        request: ExportMetricsServiceRequest,
    ) -> Result<Answer, ExportError> {
        let mut request = tonic::Request::new(request);
        let mut headers = self.settings.headers.clone();
        headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(AGENT));
        *request.metadata_mut() = MetadataMap::from_headers(headers);
        match grpc.export(request).await {
            Ok(answer) => Ok(answer.into_inner().into()),
            // tonic reports a failed connection as a status, too, with the connection's error as its source; a
            // receiver's status has no source.
            Err(status) if status.source().is_some() => Err(self.unreachable(&status)),
            Err(status) => Err(self.refused(&status)),
        }
    }

    fn refused(&self, status: &Status) -> ExportError {
        ExportError::Refused {
            endpoint: self.endpoint.clone(),
            status: format!("{:?}", status.code()),
            message: shown(status.message()),
            again: matches!(
                status.code(),
                Code::Cancelled
                    | Code::DeadlineExceeded
                    | Code::ResourceExhausted
                    | Code::Aborted
                    | Code::OutOfRange
                    | Code::Unavailable
                    | Code::DataLoss
            ),
        }
    }

    fn unreachable(&self, fault: &(dyn Error + 'static)) -> ExportError {
        ExportError::Unreachable {
            endpoint: self.endpoint.clone(),
            protocol: self.settings.protocol.name(),
            cause: shown(&innermost(fault)),
        }
    }
}

impl From<ExportMetricsServiceResponse> for Answer {
    fn from(response: ExportMetricsServiceResponse) -> Self {
        let partial = response.partial_success.unwrap_or_default();
        Self { rejected: partial.rejected_data_points, message: shown(&partial.error_message) }
    }
}

/// Returns the innermost error, which says most: `connection refused` instead of `client error`.
fn innermost(fault: &(dyn Error + 'static)) -> String {
    let mut cause = fault;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

fn gzip(body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    std::io::Write::write_all(&mut encoder, body)?;
    encoder.finish()
}

/// Returns the message of a refusal: a `google.rpc.Status` from a receiver, or a text from some proxies.
fn refusal(body: &[u8]) -> String {
    #[derive(Clone, PartialEq, prost::Message)]
    struct RpcStatus {
        #[prost(string, tag = "2")]
        message: String,
    }
    match RpcStatus::decode(body) {
        Ok(status) if !status.message.is_empty() => shown(&status.message),
        _ => shown(&String::from_utf8_lossy(body)),
    }
}

/// Makes a foreign text safe to show: one line of bounded length.
fn shown(text: &str) -> String {
    human::printable(text.trim()).chars().take(LONGEST_MESSAGE).collect()
}
