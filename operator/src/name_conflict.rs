//! Name conflicts: another object already uses a name that a Cluster or EventStore needs. The other object is never
//! adopted. The status reports the conflict, and the end of the conflict triggers a reconcile.
//!
//! Owner: [`ConflictWatches`], a task for each blocked Cluster or EventStore. Bound: `WATCHES_MAX` watches; beyond the
//! bound only a timer retries. Without conflicts there is no watch at all.

use crate::{
    owned::{Owned, is_owned},
    triggers::Triggers,
};
use futures::StreamExt;
use kube::{
    Client,
    api::{Api, ApiResource, DynamicObject},
    core::{PartialObjectMeta, Resource},
    runtime::{WatchStreamExt, reflector::ObjectRef, watcher},
};
use std::{
    collections::BTreeMap,
    fmt,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::task::JoinHandle;

/// Maximum number of concurrent watches; each watch covers the metadata of a single object.
const WATCHES_MAX: usize = 256;

/// Foreign object with a needed name.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NameConflict {
    resource: ApiResource,
    name: String,
    /// UID of the foreign object: a different object of the same name is a new conflict.
    uid: Option<String>,
}

impl NameConflict {
    /// Describes `found`, the metadata of an object of kind `K`.
    pub(crate) fn of<K: Owned>(found: &impl Resource) -> Self {
        let meta = found.meta();
        Self {
            resource: ApiResource::erase::<K>(&()),
            name: meta.name.clone().unwrap_or_default(),
            uid: meta.uid.clone(),
        }
    }
}

impl fmt::Display for NameConflict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.resource.kind, self.name)
    }
}

/// Returns a sentence with every conflicting object and the remedy.
pub(crate) fn sentence(objects: &[NameConflict]) -> String {
    let names: Vec<String> = objects.iter().map(ToString::to_string).collect();
    let (belong, them) = if objects.len() == 1 { ("exists and belongs", "it") } else { ("exist and belong", "them") };
    format!("{} {belong} to something else; rename or delete {them}, or choose another name", names.join(", "))
}

/// Cluster or EventStore blocked by a name conflict.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Waiter {
    Cluster { namespace: String, name: String },
    EventStore { namespace: String, name: String },
}

impl Waiter {
    pub(crate) fn cluster(namespace: &str, name: &str) -> Self {
        Self::Cluster { namespace: namespace.to_owned(), name: name.to_owned() }
    }

    pub(crate) fn event_store(namespace: &str, name: &str) -> Self {
        Self::EventStore { namespace: namespace.to_owned(), name: name.to_owned() }
    }

    fn namespace(&self) -> &str {
        match self {
            Self::Cluster { namespace, .. } | Self::EventStore { namespace, .. } => namespace,
        }
    }

    async fn trigger(&self, triggers: &Triggers) {
        // A closed channel means that the process is stopping.
        let _stopping = match self {
            Self::Cluster { namespace, name } => {
                triggers.clusters.send(ObjectRef::new(name).within(namespace)).await.is_err()
            }
            Self::EventStore { namespace, name } => {
                triggers.stores.send(ObjectRef::new(name).within(namespace)).await.is_err()
            }
        };
    }
}

/// Watches for the end of name conflicts.
#[derive(Clone)]
pub(crate) struct ConflictWatches {
    client: Client,
    triggers: Triggers,
    watches: Arc<Mutex<BTreeMap<Waiter, ConflictWatch>>>,
}

struct ConflictWatch {
    conflicts: Vec<NameConflict>,
    task: JoinHandle<()>,
}

impl Drop for ConflictWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ConflictWatches {
    /// Creates an empty set of watches.
    pub(crate) fn new(client: Client, triggers: Triggers) -> Self {
        Self { client, triggers, watches: Arc::default() }
    }

    /// Triggers a reconcile of `waiter`, with the UID `uid`, as soon as any of the conflicting objects is gone,
    /// replaced, or owned by `waiter`. Returns false if the bound of watches is reached and only a timer retries.
    pub(crate) fn watch(&self, waiter: &Waiter, uid: &str, conflicts: &[NameConflict]) -> bool {
        let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        watches.retain(|_, watch| !watch.task.is_finished());
        if watches.get(waiter).is_some_and(|watch| watch.conflicts == conflicts) {
            return true;
        }
        watches.remove(waiter);
        let count: usize = watches.values().map(|watch| watch.conflicts.len()).sum();
        if conflicts.is_empty() || count + conflicts.len() > WATCHES_MAX {
            return false;
        }
        let free = conflicts.iter().map(|object| {
            let api = Api::namespaced_with(self.client.clone(), waiter.namespace(), &object.resource);
            Box::pin(until_free(api, object.clone(), uid.to_owned()))
        });
        let any = futures::future::select_all(free);
        let (of, triggers) = (waiter.clone(), self.triggers.clone());
        #[expect(clippy::disallowed_methods, reason = "the watch owns this task and aborts the task on drop")]
        let task = tokio::spawn(async move {
            any.await;
            of.trigger(&triggers).await;
        });
        watches.insert(waiter.clone(), ConflictWatch { conflicts: conflicts.to_vec(), task });
        true
    }

    /// Drops the watch of `waiter`: the conflict has ended, or the names are no longer needed.
    pub(crate) fn forget(&self, waiter: &Waiter) {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner).remove(waiter);
    }
}

async fn until_free(api: Api<PartialObjectMeta<DynamicObject>>, object: NameConflict, owner: String) {
    let config = watcher::Config::default().fields(&format!("metadata.name={}", object.name));
    let mut events = pin!(watcher(api, config).default_backoff());
    let mut observation = NameObservation { object, owner, present: false };
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                if observation.is_free(&event) {
                    return;
                }
            }
            Err(error) => {
                tracing::debug!(%error, object = %observation.object, "the watch of a taken name is restarted")
            }
        }
    }
}

/// State of the watch of a single name.
struct NameObservation {
    object: NameConflict,
    owner: String,
    present: bool,
}

impl NameObservation {
    fn is_free(&mut self, event: &watcher::Event<PartialObjectMeta<DynamicObject>>) -> bool {
        match event {
            watcher::Event::Init => {
                self.present = false;
                false
            }
            watcher::Event::InitApply(found) | watcher::Event::Apply(found) => {
                // The API server applies the selector; the name is checked in any case.
                if found.metadata.name.as_deref() != Some(&self.object.name) {
                    return false;
                }
                self.present = true;
                found.metadata.uid != self.object.uid || is_owned(found, &self.owner)
            }
            watcher::Event::InitDone => !self.present,
            watcher::Event::Delete(found) => found.metadata.name.as_deref() == Some(&self.object.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_api::FakeApi;
    use k8s_openapi::api::core::v1::Service;
    use kube::core::DeserializeGuard;
    use serde_json::json;
    use tokio::sync::mpsc;

    fn service(uid: &str, owner: Option<&str>) -> Service {
        let owners: Vec<_> = owner
            .iter()
            .map(|uid| json!({"apiVersion": "v1", "kind": "X", "name": "x", "uid": uid, "controller": true}))
            .collect();
        let object =
            json!({"metadata": {"name": "main-clients", "namespace": "ns", "uid": uid, "ownerReferences": owners}});
        serde_json::from_value(object).expect("a Service")
    }

    fn metadata(uid: &str, owner: Option<&str>) -> PartialObjectMeta<DynamicObject> {
        serde_json::from_value(serde_json::to_value(service(uid, owner)).expect("JSON")).expect("metadata")
    }

    #[test]
    fn a_name_is_free_once_the_object_is_gone_replaced_or_ours() {
        let observation = || NameObservation {
            object: NameConflict::of::<Service>(&service("a", None)),
            owner: "us".to_owned(),
            present: false,
        };
        let mut there = observation();
        for event in [
            watcher::Event::Init,
            watcher::Event::InitApply(metadata("a", None)),
            watcher::Event::InitDone,
            watcher::Event::Apply(metadata("a", Some("b"))),
        ] {
            assert!(!there.is_free(&event), "{event:?}");
        }
        assert!(there.is_free(&watcher::Event::Delete(metadata("a", None))));
        let mut gone = observation();
        assert!(!gone.is_free(&watcher::Event::Init) && gone.is_free(&watcher::Event::InitDone));
        assert!(observation().is_free(&watcher::Event::Apply(metadata("another", None))));
        assert!(observation().is_free(&watcher::Event::Apply(metadata("a", Some("us")))));
    }

    #[test]
    fn every_object_is_named_with_the_remedy() {
        let one = NameConflict::of::<Service>(&service("a", None));
        let words = sentence(std::slice::from_ref(&one));
        assert!(words.starts_with("Service main-clients exists and belongs to something else; rename or delete it"));
        let words = sentence(&[one.clone(), one]);
        assert!(
            words.contains("Service main-clients, Service main-clients exist") && words.contains("them"),
            "{words}"
        );
    }

    #[tokio::test]
    async fn what_is_gone_before_the_watch_begins_triggers_at_once() {
        let api = FakeApi::start().await;
        let (clusters, mut triggered) = mpsc::channel(1);
        let (stores, _) = mpsc::channel(1);
        let conflict_watches = ConflictWatches::new(api.client(), Triggers { clusters, stores });
        let waiter = Waiter::cluster("ns", "main");
        assert!(conflict_watches.watch(&waiter, "us", &[NameConflict::of::<Service>(&service("a", None))]));
        let trigger: ObjectRef<DeserializeGuard<taffrail_crds::Cluster>> = triggered.recv().await.expect("a trigger");
        assert_eq!((trigger.name.as_str(), trigger.namespace.as_deref()), ("main", Some("ns")));
    }

    #[tokio::test]
    async fn watches_are_bounded_and_end_when_they_are_forgotten() {
        let api = FakeApi::start().await;
        api.silence("services");
        let (clusters, _clusters) = mpsc::channel(1);
        let (stores, _stores) = mpsc::channel(1);
        let conflict_watches = ConflictWatches::new(api.client(), Triggers { clusters, stores });
        let conflicts = [NameConflict::of::<Service>(&service("a", None))];
        let waiter = |n: usize| Waiter::event_store("ns", &format!("s{n}"));
        assert!((0..WATCHES_MAX).all(|n| conflict_watches.watch(&waiter(n), "us", &conflicts)));
        assert!(conflict_watches.watch(&waiter(0), "us", &conflicts), "it waits already");
        assert!(!conflict_watches.watch(&waiter(WATCHES_MAX), "us", &conflicts));
        conflict_watches.forget(&waiter(0));
        assert!(conflict_watches.watch(&waiter(WATCHES_MAX), "us", &conflicts));
    }
}
