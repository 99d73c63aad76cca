//! `/metrics`, `/healthz` and `/readyz` of agent and controller.
//!
//! [`ServerArgs::start`] serves them beside the main loop, which updates [`Health`] and the metrics of [`metrics`].
//! Requests are few and small, so hyper, which the API client needs anyway, suffices as the server.

mod health;
pub(crate) mod metrics;

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

pub(crate) use self::health::Health;
use crate::tasks::Tasks;

/// Maximum number of connections that are served at once. Further ones wait.
const CONNECTIONS: usize = 16;
/// Maximum time for the head of a request. A connection may last three times as long.
const REQUEST: Duration = Duration::from_secs(10);
/// Content type of the format that `prometheus-client` writes.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The address at which to serve metrics and health.
#[derive(Clone, Debug, Args)]
pub(crate) struct ServerArgs {
    /// Serve /metrics, /healthz and /readyz at this address, such as `[::]:9464` [default: nowhere].
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
}

/// The server cannot listen at the address.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot serve metrics and health at {address}: {source}; give --listen an address of this machine and a free port"
)]
pub(crate) struct ServerError {
    address: SocketAddr,
    source: io::Error,
}

/// Contents that are served.
struct Site {
    registry: Registry,
    health: Health,
}

impl ServerArgs {
    /// Begins to serve, as one of `tasks`. Returns the address, with the port that the system chose if port 0 was asked
    /// for.
    ///
    /// # Errors
    ///
    /// [`ServerError`] if it cannot listen at the address.
    pub(crate) async fn start(
        &self,
        registry: Registry,
        health: Health,
        tasks: &mut Tasks,
    ) -> Result<Option<SocketAddr>, ServerError> {
        let Some(address) = self.listen else { return Ok(None) };
        let failed = |source| ServerError { address, source };
        let listener = listen(address).await.map_err(failed)?;
        let local = listener.local_addr().map_err(failed)?;
        tracing::info!("serving metrics and health at {local}");
        tasks.spawn("the server of metrics", serve(listener, Arc::new(Site { registry, health })));
        Ok(Some(local))
    }
}

/// Listens at an address. `[::]` means every address of both families, or of IPv4 only if the kernel has no IPv6.
async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Err(error) if address.ip().is_unspecified() && no_such_family(&error) => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        other => other,
    }
}

fn no_such_family(error: &io::Error) -> bool {
    let none = [libc::EAFNOSUPPORT, libc::EADDRNOTAVAIL];
    error.raw_os_error().is_some_and(|code| none.contains(&code))
}

async fn serve(listener: TcpListener, site: Arc<Site>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        // Cannot fail, since the semaphore is never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // The client has gone, or no descriptor is free. Both are temporary.
                tracing::debug!("cannot accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let site = Arc::clone(&site);
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let answer = site.answer(&request);
                async { Ok::<_, Infallible>(answer) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(REQUEST)
                .serve_connection(TokioIo::new(stream), service);
            // Errors are ignored, since a client may disconnect at any time.
            let _ = tokio::time::timeout(REQUEST * 3, connection).await;
            drop(place);
        });
    }
}

impl Site {
    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET is served here\n".to_owned());
        }
        let told = |result: Result<String, String>| match result {
            Ok(body) => text(StatusCode::OK, body),
            Err(body) => text(StatusCode::SERVICE_UNAVAILABLE, body),
        };
        match request.uri().path() {
            "/healthz" => told(self.health.alive()),
            "/readyz" => told(self.health.ready()),
            "/metrics" => {
                let mut body = String::new();
                match prometheus_client::encoding::text::encode(&mut body, &self.registry) {
                    Ok(()) => {
                        let mut answer = text(StatusCode::OK, body);
                        let kind = header::HeaderValue::from_static(OPEN_METRICS);
                        answer.headers_mut().insert(header::CONTENT_TYPE, kind);
                        answer
                    }
                    Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
                }
            }
            _ => text(StatusCode::NOT_FOUND, "here are /metrics, /healthz and /readyz\n".to_owned()),
        }
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    let plain = header::HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(header::CONTENT_TYPE, plain);
    answer
}

#[cfg(test)]
mod tests;
