//! Follows the pods of this node.

use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1 as api;
use kube::core::DeserializeGuard;
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::mpsc;

use super::{Event, WATCH_SECONDS};
use crate::kubeapi::Interruptions;
use crate::session::Pod;

/// Sends every pod of the node that is new, changed or gone. Ends when nobody listens.
pub(super) async fn follow(client: Client, url: String, node: String, events: mpsc::Sender<Event>) {
    let pods: Api<DeserializeGuard<api::Pod>> = Api::all(client);
    let config = watcher::Config::default().fields(&format!("spec.nodeName={node}")).timeout(WATCH_SECONDS);
    let mut watch = watcher(pods, config).boxed();
    let mut interruptions = Interruptions::of("this node's pods", &url);
    let mut listed = Vec::new();
    while let Some(event) = watch.next().await {
        let event = match event {
            Ok(event) => {
                interruptions.heard(&event);
                event
            }
            Err(error) => {
                interruptions.wait_out(error).await;
                continue;
            }
        };
        let event = match event {
            watcher::Event::Init => {
                listed.clear();
                continue;
            }
            watcher::Event::InitApply(pod) => {
                listed.extend(read(&pod));
                continue;
            }
            watcher::Event::InitDone => Event::Pods(std::mem::take(&mut listed)),
            watcher::Event::Apply(pod) => match read(&pod) {
                Some(pod) => Event::Pod(Box::new(pod)),
                None => continue,
            },
            watcher::Event::Delete(pod) => Event::PodGone(pod.uid().unwrap_or_default()),
        };
        if events.send(event).await.is_err() {
            return;
        }
    }
}

fn read(pod: &DeserializeGuard<api::Pod>) -> Option<Pod> {
    match &pod.0 {
        Ok(pod) => Pod::read(pod, Timestamp::now()),
        Err(invalid) => {
            let name = invalid.metadata.name.as_deref().unwrap_or_default();
            tracing::warn!(pod = name, "this pod cannot be read and is left out: {invalid}");
            None
        }
    }
}
