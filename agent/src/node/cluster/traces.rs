//! Follows the TrafficTraces of the cluster.
//!
//! Only their metadata is watched: a status is written every few seconds and read by people, not by nodes. The object
//! is fetched when its generation changes, which is when its spec does.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::watcher;
use kube::{Api, Client};
use tokio::sync::mpsc;
use traffictrace_crd::TrafficTrace;

use super::{Event, WATCH_SECONDS};
use crate::kubeapi::{Interruptions, explain};
use crate::session::Uid;

/// How long a fetch that failed waits for another try.
const RETRY: Duration = Duration::from_secs(2);

/// The metadata of a trace, as it is watched.
type TraceMeta = PartialObjectMeta<TrafficTrace>;

/// What is known of a trace.
#[derive(Debug)]
struct Known {
    generation: Option<i64>,
    /// Its start time is not written yet, which changes no generation. An old trace waits for it, see
    /// [`crate::session::Trace`].
    unstarted: bool,
}

/// A trace that was fetched, or the reason why not.
struct Fetched {
    meta: TraceMeta,
    result: kube::Result<DeserializeGuard<TrafficTrace>>,
}

struct Follower {
    client: Client,
    url: String,
    known: HashMap<Uid, Known>,
    fetches: FuturesUnordered<BoxFuture<'static, Fetched>>,
    events: mpsc::Sender<Event>,
}

/// Sends every trace that is new, changed or gone. Ends when nobody listens.
pub(super) async fn follow(client: Client, url: String, events: mpsc::Sender<Event>) {
    let api: Api<TraceMeta> = Api::all(client.clone());
    let mut watch = watcher(api, watcher::Config::default().timeout(WATCH_SECONDS)).boxed();
    let mut interruptions = Interruptions::of("traffictraces", &url);
    let mut follower =
        Follower { client, url, known: HashMap::new(), fetches: FuturesUnordered::new(), events };
    let mut listed = HashSet::new();
    loop {
        let sent = tokio::select! {
            Some(fetched) = follower.fetches.next() => follower.take(fetched).await,
            event = watch.next() => match event {
                Some(Ok(event)) => {
                    interruptions.heard(&event);
                    follower.see(event, &mut listed).await
                }
                Some(Err(error)) => {
                    interruptions.wait_out(error).await;
                    Ok(())
                }
                None => return,
            },
        };
        if sent.is_err() {
            return;
        }
    }
}

type Sent = Result<(), mpsc::error::SendError<Event>>;

impl Follower {
    async fn see(&mut self, event: watcher::Event<TraceMeta>, listed: &mut HashSet<Uid>) -> Sent {
        match event {
            watcher::Event::Init => listed.clear(),
            watcher::Event::InitApply(meta) => {
                listed.extend(meta.metadata.uid.clone());
                self.apply(meta);
            }
            watcher::Event::InitDone => {
                let gone: Vec<Uid> =
                    self.known.keys().filter(|uid| !listed.contains(*uid)).cloned().collect();
                for uid in gone {
                    self.forget(uid).await?;
                }
            }
            watcher::Event::Apply(meta) => self.apply(meta),
            watcher::Event::Delete(meta) => {
                if let Some(uid) = meta.metadata.uid {
                    self.forget(uid).await?;
                }
            }
        }
        Ok(())
    }

    fn apply(&mut self, meta: TraceMeta) {
        let Some(uid) = meta.metadata.uid.clone() else { return };
        let generation = meta.metadata.generation;
        let known = self.known.get(&uid);
        if known.is_none_or(|known| known.generation != generation || known.unstarted) {
            self.known.insert(uid, Known { generation, unstarted: false });
            self.fetch(meta, Duration::ZERO);
        }
    }

    fn fetch(&mut self, meta: TraceMeta, after: Duration) {
        let namespace = meta.metadata.namespace.clone().unwrap_or_default();
        let name = meta.metadata.name.clone().unwrap_or_default();
        let api: Api<DeserializeGuard<TrafficTrace>> = Api::namespaced(self.client.clone(), &namespace);
        let fetch = async move {
            tokio::time::sleep(after).await;
            Fetched { result: api.get(&name).await, meta }
        };
        self.fetches.push(fetch.boxed());
    }

    async fn take(&mut self, Fetched { meta, result }: Fetched) -> Sent {
        let Some(uid) = meta.metadata.uid.clone() else { return Ok(()) };
        // Deleted meanwhile.
        let Some(known) = self.known.get_mut(&uid) else { return Ok(()) };
        let name = meta.metadata.name.as_deref().unwrap_or_default();
        match result {
            Ok(DeserializeGuard(Ok(trace))) if trace.metadata.uid.as_ref() == Some(&uid) => {
                known.generation = trace.metadata.generation;
                known.unstarted = trace.status.as_ref().is_none_or(|status| status.start_time.is_none());
                self.events.send(Event::Trace(Box::new(trace))).await?;
            }
            // One of the same name that was made anew: the watch tells of it.
            Ok(DeserializeGuard(Ok(_))) => {}
            Ok(DeserializeGuard(Err(invalid))) => {
                tracing::warn!(trace = name, "this TrafficTrace cannot be read and is left out: {invalid}");
            }
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            Err(error) => {
                tracing::warn!(
                    trace = name,
                    "cannot fetch the TrafficTrace, trying again: {}",
                    explain(&error, "traffictraces", &self.url)
                );
                self.fetch(meta, RETRY);
            }
        }
        Ok(())
    }

    async fn forget(&mut self, uid: Uid) -> Sent {
        self.known.remove(&uid);
        self.events.send(Event::TraceGone(uid)).await
    }
}
