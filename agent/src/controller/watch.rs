//! A watch that never ends: objects come as they are and go by name, and errors are waited out.

use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::Hash;

use futures::{StreamExt as _, pin_mut};
use kube::core::DeserializeGuard;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::Sender;

use crate::kubeapi::Interruptions;

/// Ends a watch that is silent for so long, in seconds. A connection that was dropped without a word is noticed 5 s later.
const WATCH_SECONDS: u32 = 60;

/// Namespace and name of an object; the namespace is empty for nodes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) namespace: String,
    pub(super) name: String,
}

impl Key {
    pub(super) fn of<K: Resource>(object: &K) -> Self {
        Self { namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
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

/// What a watch tells.
#[derive(Debug)]
pub(super) enum Change<K> {
    /// The object is new or has changed.
    Apply(K),
    /// There is no such object any more.
    Gone(Key),
    /// All objects that exist have been told. Comes again after each interruption.
    Complete,
}

/// Watches all `K` of the cluster until nobody listens. `tell` makes of each change what is sent, and keeps of an object
/// only what is needed.
pub(super) async fn watch<K, T>(client: Client, url: String, told: Sender<T>, tell: impl Fn(Change<K>) -> T)
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let what = K::plural(&()).into_owned();
    let config = watcher::Config::default().timeout(WATCH_SECONDS);
    // One object that cannot be read must not stop the others.
    let events = watcher::watcher(Api::<DeserializeGuard<K>>::all(client), config);
    pin_mut!(events);
    let mut names = Names::default();
    let mut interruptions = Interruptions::of(&what, &url);
    while let Some(event) = events.next().await {
        let event = match event {
            Ok(event) => event,
            // The version that was seen last has been forgotten by the server: a new list follows at once.
            Err(watcher::Error::WatchError(status)) if status.code == 410 => {
                tracing::debug!("listing {what} anew: {}", status.message);
                continue;
            }
            Err(error) => {
                interruptions.wait_out(error).await;
                continue;
            }
        };
        interruptions.heard(&event);
        let mut changes = Vec::new();
        match event {
            Event::Apply(object) | Event::InitApply(object) => {
                names.seen(Key::of(&object));
                match object.0 {
                    Ok(object) => changes.push(Change::Apply(object)),
                    Err(invalid) => {
                        let name = invalid.metadata.name.clone().unwrap_or_default();
                        let namespace = invalid.metadata.namespace.clone().unwrap_or_default();
                        tracing::warn!(
                            "skipping one of {what}, {namespace}/{name}, that cannot be read: {invalid}"
                        );
                    }
                }
            }
            Event::Delete(object) => {
                let key = Key::of(&object);
                names.gone(&key);
                changes.push(Change::Gone(key));
            }
            Event::Init => names.begin(),
            Event::InitDone => {
                changes.extend(names.missing().into_iter().map(Change::Gone));
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
    pub(super) fn map<S>(self, small: impl Fn(K) -> S) -> Change<S> {
        match self {
            Self::Apply(object) => Change::Apply(small(object)),
            Self::Gone(key) => Change::Gone(key),
            Self::Complete => Change::Complete,
        }
    }
}

/// Which objects are known, to tell which of them a new list lacks.
#[derive(Debug, Default)]
struct Names {
    known: HashSet<Key>,
    listed: Option<HashSet<Key>>,
}

impl Names {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key { namespace: "shop".into(), name: name.into() }
    }

    #[test]
    fn a_new_list_tells_what_has_gone_meanwhile() {
        let mut names = Names::default();
        names.begin();
        names.seen(key("a"));
        names.seen(key("b"));
        assert!(names.missing().is_empty());
        names.seen(key("c"));
        names.gone(&key("a"));
        names.begin();
        names.seen(key("c"));
        assert_eq!(names.missing(), [key("b")]);
        // A list that breaks off and is begun again.
        names.begin();
        names.begin();
        names.seen(key("d"));
        assert_eq!(names.missing(), [key("c")]);
    }
}
