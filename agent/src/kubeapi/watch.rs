//! Watches that never end: objects come as they are and go by name, and errors are waited out.

use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::Hash;
use std::pin::pin;

use futures::{Stream, StreamExt as _};
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::Sender;

use super::{ApiServer, Backoff, explain, retry_after};
use crate::server::metrics::Common;

/// A watch ends after so long, in seconds, and is asked for anew: a connection that was dropped without a word is noticed
/// 5 s later. Each process takes a time of its own between the two, so that those of a cluster do not all ask at once.
const WATCH_SECONDS: std::ops::Range<u32> = 90..150;

/// An object: namespace (empty for nodes), name, and UID, since one that was made anew under its name is another.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
}

impl Key {
    pub(crate) fn of<K: Resource>(object: &K) -> Self {
        Self {
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            uid: object.uid().unwrap_or_default(),
        }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

/// News of a watch.
#[derive(Debug)]
pub(crate) enum Change<K> {
    /// The object is new or has changed.
    Apply(K),
    /// There is no such object any more, or it is not selected any more.
    Gone(Key),
    /// All objects that exist have been told. Comes again after each interruption.
    Complete,
}

/// The objects to watch, and the server that has them.
#[derive(Clone)]
pub(crate) struct Source {
    client: Client,
    /// The API server's address, for messages.
    url: String,
    metrics: Common,
    config: watcher::Config,
}

impl Source {
    /// All objects of the cluster, listed from the watch cache of the API server: it answers without etcd, and what it
    /// does not have yet the watch brings.
    pub(crate) fn new(api: &ApiServer, metrics: Common) -> Self {
        let config = watcher::Config::default().any_semantic().timeout(fastrand::u32(WATCH_SECONDS));
        Self { client: api.client.clone(), url: api.url.clone(), metrics, config }
    }

    /// Only the objects with these fields.
    pub(crate) fn fields(mut self, selector: &str) -> Self {
        self.config = self.config.fields(selector);
        self
    }

    /// Only the objects with these labels.
    pub(crate) fn labels(mut self, selector: &str) -> Self {
        self.config = self.config.labels(selector);
        self
    }
}

/// Watches `K` until nobody listens. `tell` makes of each change what is sent, and keeps of an object only what is needed.
pub(crate) async fn watch<K, T>(source: Source, told: Sender<T>, tell: impl Fn(Change<K>) -> T)
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    // One object that cannot be read must not stop the others.
    let api = Api::<DeserializeGuard<K>>::all(source.client);
    let events = watcher::watcher(api, source.config);
    let interruptions = Interruptions::of(&K::plural(&()), source.url, source.metrics);
    follow(events, interruptions, told, |object| object.0.map_err(|e| e.to_string()), tell).await;
}

/// The same of the objects' metadata alone, which the API server sends without the rest.
pub(crate) async fn watch_metadata<K, T>(
    source: Source,
    told: Sender<T>,
    tell: impl Fn(Change<PartialObjectMeta<K>>) -> T,
) where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let events = watcher::watcher(Api::<PartialObjectMeta<K>>::all(source.client), source.config);
    let interruptions = Interruptions::of(&K::plural(&()), source.url, source.metrics);
    follow(events, interruptions, told, Ok, tell).await;
}

async fn follow<G, K, T>(
    events: impl Stream<Item = watcher::Result<Event<G>>>,
    mut interruptions: Interruptions,
    told: Sender<T>,
    read: impl Fn(G) -> Result<K, String>,
    tell: impl Fn(Change<K>) -> T,
) where
    G: Resource,
{
    let mut events = pin!(events);
    let mut keys = Keys::default();
    while let Some(event) = events.next().await {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                interruptions.wait_out(error).await;
                continue;
            }
        };
        interruptions.heard(&event);
        let mut changes = Vec::new();
        match event {
            Event::Apply(object) | Event::InitApply(object) => {
                let key = Key::of(&object);
                match read(object) {
                    Ok(object) => changes.push(Change::Apply(object)),
                    Err(invalid) => {
                        tracing::warn!(
                            "leaving out one of {}, {key}, that cannot be read: {invalid}",
                            interruptions.what
                        );
                    }
                }
                keys.seen(key);
            }
            Event::Delete(object) => {
                let key = Key::of(&object);
                keys.gone(&key);
                changes.push(Change::Gone(key));
            }
            Event::Init => keys.begin(),
            Event::InitDone => {
                changes.extend(keys.missing().into_iter().map(Change::Gone));
                changes.push(Change::Complete);
            }
        }
        for change in changes {
            if told.send(tell(change)).await.is_err() {
                return;
            }
        }
    }
}

impl<K> Change<K> {
    /// The same change of what is kept of an object.
    pub(crate) fn map<S>(self, small: impl FnOnce(K) -> S) -> Change<S> {
        match self {
            Self::Apply(object) => Change::Apply(small(object)),
            Self::Gone(key) => Change::Gone(key),
            Self::Complete => Change::Complete,
        }
    }
}

/// Which objects are known, to tell which of them a new list lacks.
#[derive(Debug, Default)]
struct Keys {
    known: HashSet<Key>,
    listed: Option<HashSet<Key>>,
}

impl Keys {
    fn begin(&mut self) {
        self.listed = Some(HashSet::new());
    }

    fn seen(&mut self, key: Key) {
        match &mut self.listed {
            Some(listed) => listed.insert(key),
            None => self.known.insert(key),
        };
    }

    fn gone(&mut self, key: &Key) {
        self.known.remove(key);
    }

    /// The list is complete: what was known and is not in it.
    fn missing(&mut self) -> Vec<Key> {
        let listed = self.listed.take().unwrap_or_default();
        let missing = self.known.difference(&listed).cloned().collect();
        self.known = listed;
        missing
    }
}

/// The interruptions of one watch: said once, and waited out.
#[derive(Debug)]
struct Interruptions {
    what: String,
    url: String,
    said: String,
    backoff: Backoff,
    metrics: Common,
}

impl Interruptions {
    /// Of the watch of `what`, such as `pods`.
    fn of(what: &str, url: String, metrics: Common) -> Self {
        Self { what: what.to_owned(), url, said: String::new(), backoff: Backoff::default(), metrics }
    }

    /// Waits before the watch is polled again.
    async fn wait_out(&mut self, error: watcher::Error) {
        self.metrics.watch_interrupted(&self.what);
        let asked = match request(error) {
            // The server does not know any more what the watch would go on from, after its restart for one: the watch
            // lists anew. That is no trouble, but a pause spreads the lists of all the nodes.
            Ok(kube::Error::Api(status)) if status.code == 410 => None,
            Ok(error) => {
                self.say(explain(&error, &self.what, &self.url));
                retry_after(&error)
            }
            Err(other) => {
                self.say(other);
                None
            }
        };
        tokio::time::sleep(self.backoff.next(asked)).await;
    }

    /// The watch has told of something. That a list is about to be asked for is no success yet.
    fn heard<K>(&mut self, event: &Event<K>) {
        if matches!(event, Event::Init) {
            return;
        }
        if !self.said.is_empty() {
            tracing::info!("watching {} goes on", self.what);
            self.said.clear();
        }
        self.backoff.reset();
    }

    fn say(&mut self, reason: String) {
        if reason != self.said {
            tracing::warn!("watching {} is interrupted: {reason}", self.what);
            self.said = reason;
        }
    }
}

/// The request that failed below a watch, or what else is wrong with it.
fn request(error: watcher::Error) -> Result<kube::Error, String> {
    use watcher::Error;
    match error {
        Error::InitialListFailed(cause) | Error::WatchStartFailed(cause) | Error::WatchFailed(cause) => {
            Ok(cause)
        }
        Error::WatchError(status) => Ok(kube::Error::Api(status)),
        other @ Error::NoResourceVersion => Err(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key { namespace: "shop".into(), name: name.into(), uid: name.into() }
    }

    #[test]
    fn a_new_list_tells_what_has_gone_meanwhile() {
        let mut keys = Keys::default();
        keys.begin();
        keys.seen(key("a"));
        keys.seen(key("b"));
        assert!(keys.missing().is_empty());
        keys.seen(key("c"));
        keys.gone(&key("a"));
        keys.begin();
        keys.seen(key("c"));
        assert_eq!(keys.missing(), [key("b")]);
        // A list that breaks off and is begun again.
        keys.begin();
        keys.begin();
        keys.seen(key("d"));
        assert_eq!(keys.missing(), [key("c")]);
    }
}
