//! Watches that never end: each reports changed and removed objects, and waits after errors.

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

/// Range of the duration of a watch in seconds, after which it is requested again. kube's watcher notices a connection
/// that was silently dropped 5 s after that. Each process picks its own duration, so that those of a cluster do not all
/// ask at once.
const WATCH_SECONDS: std::ops::Range<u32> = 90..150;

/// Identity of an object: namespace (empty for nodes), name, and UID, which differs if the object was created again.
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

/// A change reported by a watch.
#[derive(Debug)]
pub(crate) enum Change<K> {
    /// The object is new or has changed.
    Apply(K),
    /// The object no longer exists or is no longer selected.
    Gone(Key),
    /// All existing objects have been reported. Sent again after each interruption of the watch, since all objects are
    /// then listed anew.
    Complete,
}

/// The objects to watch, and the API server that has them.
#[derive(Clone)]
pub(crate) struct Source {
    client: Client,
    /// The API server's address, for messages.
    url: String,
    metrics: Common,
    config: watcher::Config,
}

impl Source {
    /// Selects all objects of the cluster. They are listed from the API server's watch cache, which answers without
    /// etcd. Newer changes arrive by the watch.
    pub(crate) fn new(api: &ApiServer, metrics: Common) -> Self {
        let config = watcher::Config::default().any_semantic().timeout(fastrand::u32(WATCH_SECONDS));
        Self { client: api.client.clone(), url: api.url.clone(), metrics, config }
    }

    /// Limits the watch to objects with these fields.
    pub(crate) fn fields(mut self, selector: &str) -> Self {
        self.config = self.config.fields(selector);
        self
    }

    /// Limits the watch to objects with these labels.
    pub(crate) fn labels(mut self, selector: &str) -> Self {
        self.config = self.config.labels(selector);
        self
    }
}

/// Watches objects of type `K` until the receiver is dropped. `tell` converts each change into a message, and keeps
/// only the needed part of an object.
pub(crate) async fn watch<K, T>(source: Source, told: Sender<T>, tell: impl Fn(Change<K>) -> T)
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    // The guard lets the watch go on if one object cannot be read.
    let api = Api::<DeserializeGuard<K>>::all(source.client);
    let events = watcher::watcher(api, source.config);
    let interruptions = Interruptions::of(&K::plural(&()), source.url, source.metrics);
    follow(events, interruptions, told, |object| object.0.map_err(|e| e.to_string()), tell).await;
}

/// Watches the objects' metadata only, so that the API server sends nothing else.
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
                            "watching {}: cannot parse {key}, leaving it out: {invalid}",
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
    /// Converts the object of a change.
    pub(crate) fn map<S>(self, small: impl FnOnce(K) -> S) -> Change<S> {
        match self {
            Self::Apply(object) => Change::Apply(small(object)),
            Self::Gone(key) => Change::Gone(key),
            Self::Complete => Change::Complete,
        }
    }
}

/// The known objects, to find those that a new list lacks.
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

    /// Completes the list. Returns the known objects that the list lacks.
    fn missing(&mut self) -> Vec<Key> {
        let listed = self.listed.take().unwrap_or_default();
        let missing = self.known.difference(&listed).cloned().collect();
        self.known = listed;
        missing
    }
}

/// Interruptions of one watch. Each is followed by a pause, and logged unless its reason is the same as before.
#[derive(Debug)]
struct Interruptions {
    what: String,
    url: String,
    said: String,
    backoff: Backoff,
    metrics: Common,
}

impl Interruptions {
    /// Creates the record for the watch of `what`, such as `pods`.
    fn of(what: &str, url: String, metrics: Common) -> Self {
        Self { what: what.to_owned(), url, said: String::new(), backoff: Backoff::default(), metrics }
    }

    /// Counts and logs an interruption, and pauses before the watch is polled again.
    async fn wait_out(&mut self, error: watcher::Error) {
        self.metrics.watch_interrupted(&self.what);
        let asked = match request(error) {
            // The server no longer has the version that the watch would continue from, for example after a restart, so
            // the watch lists again. That is normal, but a pause spreads the lists of all nodes.
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

    /// Records an event of the watch, which ends an interruption. `Init` does not: it only means that a list is about
    /// to be requested.
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

/// Returns the failed request of a watch, or the text of another error.
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
        // The list is interrupted and begins anew.
        keys.begin();
        keys.begin();
        keys.seen(key("d"));
        assert_eq!(keys.missing(), [key("c")]);
    }
}
