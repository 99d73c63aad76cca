use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;
use crate::server::metrics::AgentMetrics;

async fn started(health: &Health) -> (SocketAddr, Tasks) {
    let (_, registry) = AgentMetrics::new();
    let mut tasks = Tasks::default();
    let args = ServerArgs { listen: Some("127.0.0.1:0".parse().unwrap()) };
    let address = args.start(registry, health.clone(), &mut tasks).await.unwrap().unwrap();
    (address, tasks)
}

/// Returns the whole answer to one request.
async fn ask(address: SocketAddr, method: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn each_path_answers() {
    let health = Health::new(&["pods"]);
    let (address, _tasks) = started(&health).await;
    let metrics = ask(address, "GET", "/metrics").await;
    assert!(metrics.starts_with("HTTP/1.1 200"), "{metrics}");
    assert!(
        metrics.contains("traffictrace_agent_build_info{version=") && metrics.ends_with("# EOF\n"),
        "{metrics}"
    );
    assert!(ask(address, "GET", "/healthz").await.starts_with("HTTP/1.1 200"));
    let ready = ask(address, "GET", "/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 503") && ready.ends_with("pods: not yet\n"), "{ready}");
    health.has("pods");
    assert!(ask(address, "GET", "/readyz").await.starts_with("HTTP/1.1 200"));
    assert!(ask(address, "GET", "/secrets").await.starts_with("HTTP/1.1 404"));
    assert!(ask(address, "POST", "/metrics").await.starts_with("HTTP/1.1 405"));
}

#[tokio::test]
async fn clients_that_say_nothing_take_no_more_than_their_places() {
    let (address, _tasks) = started(&Health::new(&[])).await;
    let mut silent = Vec::new();
    for _ in 0..CONNECTIONS - 1 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    assert!(ask(address, "GET", "/healthz").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let (address, mut tasks) = started(&Health::new(&[])).await;
    let (_, registry) = AgentMetrics::new();
    let args = ServerArgs { listen: Some(address) };
    let error = args.start(registry, Health::new(&[]), &mut tasks).await.unwrap_err().to_string();
    assert!(error.contains(&address.to_string()) && error.contains("--listen"), "{error}");
}
