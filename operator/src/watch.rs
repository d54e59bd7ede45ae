//! Watches with separate backoffs. The controller runtime merges all triggers into a single stream with a
//! shared backoff, so an error of one watch would pause every other watch. This module therefore logs, counts
//! and drops the errors.

use crate::metrics::Metrics;
use futures::{Stream, StreamExt};
use k8s_openapi::NamespaceResourceScope;
use kube::{
    Client,
    api::Api,
    core::{DeserializeGuard, Resource},
    runtime::{WatchStreamExt, reflector::store::Writer, watcher},
};
use serde::de::DeserializeOwned;
use std::{collections::BTreeMap, fmt::Debug, time::Duration};
use tokio::sync::watch;

/// Cluster or EventStore that may not parse: a bad object must not break the list of all objects.
pub(crate) type Guarded<K> = DeserializeGuard<K>;

/// Returns the API of a kind, in a namespace or in all namespaces.
pub(crate) fn api<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// Keeps `cache` filled with all objects of a kind and passes on each changed object.
pub(crate) fn follow<K>(
    api: Api<K>,
    config: watcher::Config,
    cache: Writer<K>,
    name: &'static str,
    metrics: Metrics,
    cache_sync: CacheSync,
) -> impl Stream<Item = Result<K, watcher::Error>> + Send
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let mut first_list = FirstList::new(cache_sync, name);
    let events = watcher(api, config).default_backoff().reflect(cache);
    events.inspect(move |event| first_list.note(event)).touched_objects().filter_map(move |touched| {
        let touched = match touched {
            Ok(object) => Some(Ok(object)),
            Err(error) => {
                metrics.watch_error(name);
                tracing::warn!(watch = name, %error, "a watch failed and is restarted");
                None
            }
        };
        std::future::ready(touched)
    })
}

/// Like [`follow`], but passes an object on only if its fingerprint has changed. A deletion always passes, and after a
/// new full list every object passes once.
pub(crate) fn follow_changes<K>(
    api: Api<K>,
    cache: Writer<K>,
    name: &'static str,
    metrics: Metrics,
    cache_sync: CacheSync,
    fingerprint: impl Fn(&K) -> u64 + Send + 'static,
) -> impl Stream<Item = Result<K, watcher::Error>> + Send
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let mut known: BTreeMap<(Option<String>, Option<String>), u64> = BTreeMap::new();
    let key = |object: &K| (object.meta().namespace.clone(), object.meta().name.clone());
    let mut first_list = FirstList::new(cache_sync, name);
    watcher(api, watcher::Config::default()).default_backoff().reflect(cache).filter_map(move |event| {
        first_list.note(&event);
        let passed = match event {
            Ok(watcher::Event::Init) => {
                known.clear();
                None
            }
            Ok(watcher::Event::InitDone) => None,
            Ok(watcher::Event::InitApply(object) | watcher::Event::Apply(object)) => {
                let now = fingerprint(&object);
                (known.insert(key(&object), now) != Some(now)).then_some(Ok(object))
            }
            Ok(watcher::Event::Delete(object)) => {
                known.remove(&key(&object));
                Some(Ok(object))
            }
            Err(error) => {
                metrics.watch_error(name);
                tracing::warn!(watch = name, %error, "a watch failed and is restarted");
                None
            }
        };
        std::future::ready(passed)
    })
}

/// Reports the first full list of a watch. Placed behind the cache in the stream, so the cache already holds the list.
struct FirstList {
    cache_sync: Option<CacheSync>,
    name: &'static str,
}

impl FirstList {
    fn new(cache_sync: CacheSync, name: &'static str) -> Self {
        cache_sync.expect(name);
        Self { cache_sync: Some(cache_sync), name }
    }

    fn note<K>(&mut self, event: &Result<watcher::Event<K>, watcher::Error>) {
        if matches!(event, Ok(watcher::Event::InitDone))
            && let Some(cache_sync) = self.cache_sync.take()
        {
            cache_sync.synced(self.name);
        }
    }
}

/// Wait for a first list before a warning is logged.
const SLOW_CACHE: Duration = Duration::from_secs(10);

/// Caches still without a first full list. Every reconcile and the readiness probe wait for all caches. The built-in
/// wait of a reflector cache serves a single task only, because only the last waiter is woken.
#[derive(Clone, Debug)]
pub(crate) struct CacheSync {
    waiting: watch::Sender<Vec<&'static str>>,
}

impl Default for CacheSync {
    fn default() -> Self {
        Self { waiting: watch::Sender::new(Vec::new()) }
    }
}

impl CacheSync {
    /// Registers a cache to wait for. All caches are registered before the first wait.
    pub(crate) fn expect(&self, name: &'static str) {
        self.waiting.send_modify(|waiting| waiting.push(name));
    }

    /// Notes the first full list of a cache.
    pub(crate) fn synced(&self, name: &'static str) {
        self.waiting.send_if_modified(|waiting| {
            let found = waiting.iter().position(|other| *other == name);
            found.map(|index| waiting.swap_remove(index)).is_some()
        });
    }

    /// Waits until all caches are filled, and logs a warning while the wait is long.
    pub(crate) async fn all_synced(&self) {
        let mut changes = self.waiting.subscribe();
        loop {
            let synced = tokio::time::timeout(SLOW_CACHE, changes.wait_for(Vec::is_empty)).await.is_ok();
            if synced {
                return;
            }
            tracing::warn!(caches = ?*self.waiting.borrow(), "still waiting for the first list of these caches");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everyone_who_waits_is_woken_when_the_last_cache_is_filled() {
        let cache_sync = CacheSync::default();
        // Two watches of the same kind have the same name.
        for name in ["a", "b", "b"] {
            cache_sync.expect(name);
        }
        let (one, other) = (cache_sync.clone(), cache_sync.clone());
        let fill = async {
            for name in ["b", "a", "b"] {
                tokio::task::yield_now().await;
                cache_sync.synced(name);
            }
        };
        tokio::join!(one.all_synced(), fill, other.all_synced());
        cache_sync.all_synced().await;
    }
}
