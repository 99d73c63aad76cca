//! nginx and curl in pods, and the requests that each of them logged.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::{
    Api,
    api::{LogParams, PostParams},
};
use serde_json::{Value, json};
use traffictrace_crd::{HttpProtocol, HttpSide, HttpStatus};

use super::Namespace;
use crate::support::{Result, TestError, wait};

/// Time limit for a pod to start or to end on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);
/// Port of nginx for HTTP/1.
const PORT: u16 = 8080;
/// Port of nginx for HTTP/2 without TLS.
const HTTP2_PORT: u16 = 8081;

/// Configuration of nginx: all paths but a few are answered with 200, and the log has a line for each request.
const NGINX: &str = "daemon off; pid /work/pid; error_log stderr; events {} http {
    log_format requests '$server_protocol $request_method $uri $status';
    access_log /dev/stdout requests;
    client_body_temp_path /work/a; proxy_temp_path /work/b; fastcgi_temp_path /work/c;
    uwsgi_temp_path /work/d; scgi_temp_path /work/e;
    server {
        listen 8080; listen [::]:8080; listen 8081 http2; listen [::]:8081 http2;
        location / { return 200 found; } location /absent { return 404; }
        location /moved { return 301 /; } location /broken { return 501; }
    }
}";

/// The key by which requests are counted: protocol, method, path with its numbers folded, class of the status.
pub type Kind = (String, String, String, String);
/// Number of requests by kind.
pub type Requests = BTreeMap<Kind, i64>;

/// Hosts of HTTP/2 requests. Each host has a connection of its own, since curl 7.88 cannot reuse one.
const HTTP2_HOSTS: &str = "h[1-8].example";

/// Requests of one run of curl. If they use HTTP/2, each is sent to eight hosts.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// Method of the requests.
    pub method: &'static str,
    /// Path of the requests, which may contain a range such as `[1-9]`.
    pub path: &'static str,
    /// True if the requests use HTTP/2.
    pub http2: bool,
}

impl Namespace {
    /// Starts an nginx on a node and waits until it listens; returns its address, preferably an IPv4 one.
    ///
    /// # Errors
    ///
    /// Fails when nginx does not start.
    pub async fn start_nginx(&self, name: &str, node: &str, group: &str) -> Result<IpAddr> {
        let config = json!({ "metadata": { "name": name }, "data": { "nginx.conf": NGINX } });
        self.make::<ConfigMap>(&config).await?;
        let container = json!({
            "name": "nginx", "command": ["/nginx", "-p", "/work", "-e", "stderr", "-c", "/config/nginx.conf"],
            // As root, nginx would look up the name of its user for workers, and the image has no file with user names.
            "securityContext": { "runAsUser": 65534, "runAsGroup": 65534 },
            "readinessProbe": { "tcpSocket": { "port": PORT }, "periodSeconds": 1 },
            "volumeMounts": [
                { "name": "work", "mountPath": "/work" }, { "name": "config", "mountPath": "/config" },
            ],
        });
        let volumes =
            json!([{ "name": "work", "emptyDir": {} }, { "name": "config", "configMap": { "name": name } }]);
        self.make::<Pod>(&pod(name, node, group, &container, &volumes)).await?;
        wait::until_async("nginx to listen", LIMIT, async || {
            let status = self.pod(name).await?.status.unwrap_or_default();
            let ready = status.conditions.iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True");
            Ok(if ready { Ok(()) } else { Err(format!("{:?}", status.container_statuses)) })
        })
        .await?;
        let addresses = self.addresses(name).await?;
        addresses.first().copied().ok_or_else(|| TestError::unexpected("the pod's addresses", "none"))
    }

    /// Runs curl in a pod on a node until it ends; returns the requests that it made.
    ///
    /// # Errors
    ///
    /// Fails when curl does not end, or its output has another form.
    pub async fn run_curl(
        &self,
        name: &str,
        node: &str,
        group: &str,
        server: IpAddr,
        asks: &[Ask],
    ) -> Result<Requests> {
        let container = json!({ "name": "curl", "command": ["/curl"], "args": arguments(server, asks) });
        self.make::<Pod>(&pod(name, node, group, &container, &json!([]))).await?;
        wait::until_async("curl to end", LIMIT, async || {
            let status = self.pod(name).await?.status.unwrap_or_default();
            let over = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
            Ok(if over { Ok(()) } else { Err(format!("{:?}", status.container_statuses)) })
        })
        .await?;
        self.logged(name).await
    }

    /// Returns the requests that a pod's program wrote to its log.
    ///
    /// # Errors
    ///
    /// Fails when the log cannot be read or has other lines.
    pub async fn logged(&self, pod: &str) -> Result<Requests> {
        let log = self.api::<Pod>().logs(pod, &LogParams::default()).await;
        let log = log.map_err(TestError::kube(format!("read the log of {pod}")))?;
        let mut requests = Requests::new();
        for line in log.lines() {
            let kind = kind(line).ok_or_else(|| TestError::unexpected(format!("the log of {pod}"), line))?;
            *requests.entry(kind).or_insert(0) += 1;
        }
        Ok(requests)
    }

    async fn make<K>(&self, object: &Value) -> Result<()>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + serde::de::DeserializeOwned
            + serde::Serialize,
        K::DynamicType: Default,
    {
        let parsed: K = serde_json::from_value(object.clone())
            .map_err(|error| TestError::unexpected("the test's own object", error))?;
        let api: Api<K> = self.api();
        let created = api.create(&PostParams::default(), &parsed).await;
        created.map(drop).map_err(TestError::kube(format!("create {}", object["metadata"]["name"])))
    }
}

fn pod(name: &str, node: &str, group: &str, container: &Value, volumes: &Value) -> Value {
    let mut container = container.clone();
    container["image"] = json!("traffictrace-e2e-http:dev");
    // The image is loaded into the nodes, and is in no registry.
    container["imagePullPolicy"] = json!("Never");
    json!({
        "metadata": { "name": name, "labels": { "app": name, "trace": group } },
        "spec": {
            "nodeSelector": { "kubernetes.io/hostname": node },
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": false,
            "containers": [container],
            "volumes": volumes,
        },
    })
}

/// Arguments of a single curl for all requests, so that it reuses its connections.
fn arguments(server: IpAddr, asks: &[Ask]) -> Vec<String> {
    let mut arguments: Vec<String> = Vec::new();
    for ask in asks {
        if !arguments.is_empty() {
            arguments.push("--next".to_owned());
        }
        let written = "HTTP/%{http_version} %{method} %{url} %{http_code}\\n";
        let method = if ask.method == "HEAD" { ["--head", "--silent"] } else { ["--request", ask.method] };
        let options = ["--silent", "--output", "/dev/null", "--write-out", written];
        arguments.extend(options.into_iter().chain(method).map(str::to_owned));
        if ask.http2 {
            let end = SocketAddr::new(server, HTTP2_PORT);
            let options =
                ["--http2-prior-knowledge".to_owned(), "--connect-to".to_owned(), format!("::{end}")];
            arguments.extend(options);
            arguments.push(format!("http://{HTTP2_HOSTS}:{HTTP2_PORT}{}", ask.path));
        } else {
            arguments.push(format!("http://{}{}", SocketAddr::new(server, PORT), ask.path));
        }
    }
    arguments
}

/// Parses a line such as `HTTP/1.1 GET /items/7 200`, also with an address before the path.
fn kind(line: &str) -> Option<Kind> {
    let mut words = line.split(' ');
    let protocol = words.next()?;
    let protocol = protocol.strip_suffix(".0").filter(|p| *p == "HTTP/2").unwrap_or(protocol);
    let (method, target) = (words.next()?.to_owned(), words.next()?);
    let path = match target.strip_prefix("http://") {
        Some(address) => &address[address.find('/')?..],
        None => target,
    };
    let status = words.next()?.parse::<u16>().ok()?;
    let fold = |segment: &str| {
        if segment.parse::<u64>().is_ok() { "{id}".to_owned() } else { segment.to_owned() }
    };
    let path = path.split('/').map(fold).collect::<Vec<_>>().join("/");
    Some((protocol.to_owned(), method, path, format!("{}xx", status / 100)))
}

/// Returns the requests that a status shows for one side.
pub fn shown(http: &HttpStatus, side: HttpSide) -> Requests {
    let mut requests = Requests::new();
    for row in http.top_endpoints.iter().filter(|row| row.side == side) {
        let protocol = match row.protocol {
            HttpProtocol::Http10 => "HTTP/1.0",
            HttpProtocol::Http11 => "HTTP/1.1",
            HttpProtocol::Http2 => "HTTP/2",
            HttpProtocol::Grpc => "gRPC",
        };
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        for (class, count) in &row.by_class {
            let kind = (protocol.to_owned(), text(&row.method), text(&row.path), class.clone());
            *requests.entry(kind).or_insert(0) += count;
        }
    }
    requests
}
