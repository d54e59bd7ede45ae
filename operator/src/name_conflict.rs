//! Names that we need and something else has. Nothing is seized; whoever needs the name says so, and looks again as soon
//! as the other object goes.
//!
//! Owner: [`Waits`], one task for each object of ours that is blocked. Bounded by `WATCHES_MAX`: beyond it an object is
//! looked at again on its timer only. There is no watch at all while no name is taken.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::core::{PartialObjectMeta, Resource};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt, watcher};
use tokio::task::JoinHandle;

use crate::apply::{Owned, is_owned};
use crate::cluster_views::Triggers;

/// Watches at once, of single objects and their metadata only.
const WATCHES_MAX: usize = 256;

/// An object that has a name which we need, and is not ours.
#[derive(Clone, Debug, PartialEq)]
pub struct Taken {
    resource: ApiResource,
    name: String,
    /// This very object: another one of the same name is news.
    uid: Option<String>,
}

impl Taken {
    /// The object of kind `K` with this metadata.
    pub fn of<K: Owned>(found: &impl Resource) -> Self {
        let meta = found.meta();
        Self {
            resource: ApiResource::erase::<K>(&()),
            name: meta.name.clone().unwrap_or_default(),
            uid: meta.uid.clone(),
        }
    }
}

impl fmt::Display for Taken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.resource.kind, self.name)
    }
}

/// What is wrong and what to do, naming every object.
pub(crate) fn sentence(objects: &[Taken]) -> String {
    let names: Vec<String> = objects.iter().map(ToString::to_string).collect();
    let (belong, them) = if objects.len() == 1 { ("exists and belongs", "it") } else { ("exist and belong", "them") };
    format!("{} {belong} to something else; rename or delete {them}, or choose another name", names.join(", "))
}

/// The object of ours that needs the names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Waiter {
    /// A Cluster.
    Cluster {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// An EventStore.
    EventStore {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
}

impl Waiter {
    /// A Cluster.
    pub fn cluster(namespace: &str, name: &str) -> Self {
        Self::Cluster { namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// An EventStore.
    pub fn event_store(namespace: &str, name: &str) -> Self {
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

/// Waits for taken names to become free.
#[derive(Clone)]
pub struct Waits {
    client: Client,
    triggers: Triggers,
    waiting: Arc<Mutex<BTreeMap<Waiter, Wait>>>,
}

struct Wait {
    taken: Vec<Taken>,
    task: JoinHandle<()>,
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Waits {
    /// Waits for nothing yet.
    pub fn new(client: Client, triggers: Triggers) -> Self {
        Self { client, triggers, waiting: Arc::default() }
    }

    /// Triggers a pass of `waiter`, whose UID is `uid`, as soon as any of these objects is gone, another one, or its own.
    /// False: too much is waited for already, so only a timer helps.
    pub fn wait(&self, waiter: &Waiter, uid: &str, taken: &[Taken]) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|_, wait| !wait.task.is_finished());
        if waiting.get(waiter).is_some_and(|wait| wait.taken == taken) {
            return true;
        }
        waiting.remove(waiter);
        let watches: usize = waiting.values().map(|wait| wait.taken.len()).sum();
        if taken.is_empty() || watches + taken.len() > WATCHES_MAX {
            return false;
        }
        let free = taken.iter().map(|object| {
            let api = Api::namespaced_with(self.client.clone(), waiter.namespace(), &object.resource);
            Box::pin(until_free(api, object.clone(), uid.to_owned()))
        });
        let any = futures::future::select_all(free);
        let (of, triggers) = (waiter.clone(), self.triggers.clone());
        #[allow(clippy::disallowed_methods, reason = "the wait owns this task and ends it when it is dropped")]
        let task = tokio::spawn(async move {
            any.await;
            of.trigger(&triggers).await;
        });
        waiting.insert(waiter.clone(), Wait { taken: taken.to_vec(), task });
        true
    }

    /// Nothing is in the way any more, or nobody needs the names.
    pub fn forget(&self, waiter: &Waiter) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(waiter);
    }
}

async fn until_free(api: Api<PartialObjectMeta<DynamicObject>>, object: Taken, owner: String) {
    let config = watcher::Config::default().fields(&format!("metadata.name={}", object.name));
    let mut events = pin!(watcher(api, config).default_backoff());
    let mut look = Look { object, owner, present: false };
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                if look.is_free(&event) {
                    return;
                }
            }
            Err(error) => tracing::debug!(%error, object = %look.object, "the watch of a taken name is restarted"),
        }
    }
}

/// What a watch of one name has shown.
struct Look {
    object: Taken,
    owner: String,
    present: bool,
}

impl Look {
    fn is_free(&mut self, event: &Event<PartialObjectMeta<DynamicObject>>) -> bool {
        match event {
            Event::Init => {
                self.present = false;
                false
            }
            Event::InitApply(found) | Event::Apply(found) => {
                // The selector is the server's business; that it is this name is ours.
                if found.metadata.name.as_deref() != Some(&self.object.name) {
                    return false;
                }
                self.present = true;
                found.metadata.uid != self.object.uid || is_owned(found, &self.owner)
            }
            Event::InitDone => !self.present,
            Event::Delete(found) => found.metadata.name.as_deref() == Some(&self.object.name),
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

    fn seen(uid: &str, owner: Option<&str>) -> PartialObjectMeta<DynamicObject> {
        serde_json::from_value(serde_json::to_value(service(uid, owner)).expect("JSON")).expect("metadata")
    }

    #[test]
    fn a_name_is_free_once_the_object_is_gone_replaced_or_ours() {
        let look =
            || Look { object: Taken::of::<Service>(&service("a", None)), owner: "us".to_owned(), present: false };
        let mut there = look();
        for event in
            [Event::Init, Event::InitApply(seen("a", None)), Event::InitDone, Event::Apply(seen("a", Some("b")))]
        {
            assert!(!there.is_free(&event), "{event:?}");
        }
        assert!(there.is_free(&Event::Delete(seen("a", None))));
        let mut gone = look();
        assert!(!gone.is_free(&Event::Init) && gone.is_free(&Event::InitDone));
        assert!(look().is_free(&Event::Apply(seen("another", None))));
        assert!(look().is_free(&Event::Apply(seen("a", Some("us")))));
    }

    #[test]
    fn every_object_is_named_with_the_remedy() {
        let one = Taken::of::<Service>(&service("a", None));
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
        let waits = Waits::new(api.client(), Triggers { clusters, stores });
        let waiter = Waiter::cluster("ns", "main");
        assert!(waits.wait(&waiter, "us", &[Taken::of::<Service>(&service("a", None))]));
        let trigger: ObjectRef<DeserializeGuard<taffrail_crds::Cluster>> = triggered.recv().await.expect("a trigger");
        assert_eq!((trigger.name.as_str(), trigger.namespace.as_deref()), ("main", Some("ns")));
    }

    #[tokio::test]
    async fn watches_are_bounded_and_end_when_they_are_forgotten() {
        let api = FakeApi::start().await;
        api.silence("services");
        let (clusters, _clusters) = mpsc::channel(1);
        let (stores, _stores) = mpsc::channel(1);
        let waits = Waits::new(api.client(), Triggers { clusters, stores });
        let taken = [Taken::of::<Service>(&service("a", None))];
        let waiter = |n: usize| Waiter::event_store("ns", &format!("s{n}"));
        assert!((0..WATCHES_MAX).all(|n| waits.wait(&waiter(n), "us", &taken)));
        assert!(waits.wait(&waiter(0), "us", &taken), "it waits already");
        assert!(!waits.wait(&waiter(WATCHES_MAX), "us", &taken));
        waits.forget(&waiter(0));
        assert!(waits.wait(&waiter(WATCHES_MAX), "us", &taken));
    }
}
