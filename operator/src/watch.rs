//! Watches with a backoff of their own. The controller runtime merges all triggers into one stream with one shared
//! backoff, so an error of one watch would pause all others: errors are logged, counted and dropped here.

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

/// An object of ours that may not parse: one bad object must not stop the list of all others.
pub(crate) type Guarded<K> = DeserializeGuard<K>;

/// The API of a kind, in one namespace or in all.
pub(crate) fn api<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// Follows all objects of a kind, keeps them in `cache`, and passes on each that changes.
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

/// As [`follow`], but passes an object on only when its fingerprint differs from the last one. A deletion always passes,
/// and after a new full list everything does once.
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

/// Tells when a watch has seen its first full list. It stands behind the cache, which has it by then.
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

/// A first list that takes longer is worth a word.
const SLOW_CACHE: Duration = Duration::from_secs(10);

/// Which caches have not seen their first full list. Every pass and the readiness wait for them; the wait of the cache
/// itself serves one task only, because it wakes the last one that asked.
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
    /// One more cache is to be filled. All are named before the first wait.
    pub(crate) fn expect(&self, name: &'static str) {
        self.waiting.send_modify(|waiting| waiting.push(name));
    }

    /// A cache has seen its first full list.
    pub(crate) fn synced(&self, name: &'static str) {
        self.waiting.send_if_modified(|waiting| {
            let found = waiting.iter().position(|other| *other == name);
            found.map(|index| waiting.swap_remove(index)).is_some()
        });
    }

    /// Waits until all are filled.
    pub(crate) async fn all_synced(&self) {
        let mut changes = self.waiting.subscribe();
        loop {
            let synced = tokio::time::timeout(SLOW_CACHE, changes.wait_for(Vec::is_empty)).await.is_ok();
            if synced {
                return;
            }
            tracing::warn!(caches = ?*self.waiting.borrow(), "still waiting for the first list");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everyone_who_waits_is_woken_when_the_last_cache_is_filled() {
        let cache_sync = CacheSync::default();
        // Two watches of one kind have one name.
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
