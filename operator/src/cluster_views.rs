//! Streams of cluster views, a long-lived stream for each Cluster, so that a change among the nodes triggers a
//! reconcile at once. The last view is kept for readers; no disruption is permitted on the basis of a kept view.

use crate::{
    declare_batcher::DeclareBatcher,
    node_admin::{self, Members, NodeAdmin},
    triggers::Triggers,
    watch::Guarded,
};
use kube::runtime::reflector::{ObjectRef, Store};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use taffrail_crds::EventStore;
use taffrail_proto::admin::{ClusterView, DeclareResult, StoreDeclaration, StoreView};
use tokio::{sync::watch, task::JoinHandle, time::Instant};

/// Time limit for the first view of a stream.
const FIRST_VIEW_WITHIN: Duration = Duration::from_secs(5);
/// Time without any stream before the view counts as stale. A change of the coordinator ends the stream, so a short
/// gap is normal.
const STALE_AFTER: Duration = Duration::from_secs(2);
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LONGEST: Duration = Duration::from_secs(5);

/// Last known view of a Cluster's stores and nodes.
#[derive(Clone, Debug, Default)]
pub(crate) struct ViewObservation {
    /// Newest view; `None` before the first view.
    pub(crate) view: Option<Arc<ClusterView>>,
    /// The view is current: the stream is open, or ended a moment ago.
    pub(crate) live: bool,
}

/// Followers of the Clusters of a scope.
#[derive(Clone)]
pub(crate) struct ClusterViews {
    inner: Arc<Inner>,
}

struct Inner {
    admin: NodeAdmin,
    triggers: Triggers,
    stores: Store<Guarded<EventStore>>,
    followers: Mutex<BTreeMap<(String, String), Follower>>,
}

struct Follower {
    cluster_id: String,
    addresses: watch::Sender<Vec<String>>,
    observation: watch::Receiver<ViewObservation>,
    batcher: Arc<DeclareBatcher>,
    task: JoinHandle<()>,
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ClusterViews {
    /// Creates an empty set of followers.
    pub(crate) fn new(admin: NodeAdmin, triggers: Triggers, stores: Store<Guarded<EventStore>>) -> Self {
        Self { inner: Arc::new(Inner { admin, triggers, stores, followers: Mutex::default() }) }
    }

    /// Follows a Cluster at these admin addresses. A different cluster id replaces the follower.
    pub(crate) fn follow(&self, namespace: &str, cluster: &str, cluster_id: &str, addresses: Vec<String>) {
        let key = (namespace.to_owned(), cluster.to_owned());
        let mut followers = self.inner.followers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(follower) = followers.get(&key).filter(|follower| follower.cluster_id == cluster_id) {
            follower.addresses.send_if_modified(|known| {
                let changed = *known != addresses;
                *known = addresses;
                changed
            });
            return;
        }
        let (to_task, addresses) = watch::channel(addresses);
        let (publish, observation) = watch::channel(ViewObservation::default());
        let task = FollowTask {
            cluster_views: self.clone(),
            namespace: namespace.to_owned(),
            cluster: cluster.to_owned(),
            cluster_id: cluster_id.to_owned(),
            addresses,
            publish,
        };
        #[expect(clippy::disallowed_methods, reason = "the follower owns this task and aborts the task on drop")]
        let task = tokio::spawn(task.run());
        let batcher = Arc::default();
        let follower = Follower { cluster_id: cluster_id.to_owned(), addresses: to_task, observation, batcher, task };
        followers.insert(key, follower);
    }

    /// Stops following a Cluster.
    pub(crate) fn forget(&self, namespace: &str, cluster: &str) {
        let key = (namespace.to_owned(), cluster.to_owned());
        self.inner.followers.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
    }

    /// Returns the last known view of a Cluster. `None`: the Cluster is not followed, so not formed or not reached yet.
    pub(crate) fn observation(&self, namespace: &str, cluster: &str) -> Option<ViewObservation> {
        let key = (namespace.to_owned(), cluster.to_owned());
        let followers = self.inner.followers.lock().unwrap_or_else(PoisonError::into_inner);
        followers.get(&key).map(|follower| follower.observation.borrow().clone())
    }

    /// Returns the members of a followed Cluster.
    pub(crate) fn members(&self, namespace: &str, cluster: &str) -> Option<Members> {
        let key = (namespace.to_owned(), cluster.to_owned());
        let followers = self.inner.followers.lock().unwrap_or_else(PoisonError::into_inner);
        followers.get(&key).map(|follower| self.inner.admin.members(follower.addresses.borrow().clone()))
    }

    /// Declares a store to a followed Cluster, together with other waiting declarations.
    ///
    /// # Errors
    /// The Cluster is not followed, or no member answers.
    pub(crate) async fn declare(
        &self,
        namespace: &str,
        cluster: &str,
        store: StoreDeclaration,
    ) -> Result<DeclareResult, node_admin::Error> {
        let batcher = {
            let key = (namespace.to_owned(), cluster.to_owned());
            let followers = self.inner.followers.lock().unwrap_or_else(PoisonError::into_inner);
            followers.get(&key).map(|follower| follower.batcher.clone())
        };
        let batcher = batcher.ok_or(node_admin::Error::Nobody)?;
        let call = |stores| async move {
            let members = self.members(namespace, cluster).ok_or(node_admin::Error::Nobody)?;
            members.declare(stores).await
        };
        batcher.declare(store, call).await
    }
}

/// Task that follows a Cluster until aborted.
struct FollowTask {
    cluster_views: ClusterViews,
    namespace: String,
    cluster: String,
    cluster_id: String,
    addresses: watch::Receiver<Vec<String>>,
    publish: watch::Sender<ViewObservation>,
}

impl FollowTask {
    async fn run(mut self) {
        let mut retry = RETRY_FIRST;
        let mut last_view = Instant::now();
        loop {
            let addresses = self.addresses.borrow_and_update().clone();
            let mut reached = false;
            for address in &addresses {
                if self.read_stream(address).await {
                    reached = true;
                    break;
                }
            }
            if reached {
                retry = RETRY_FIRST;
                last_view = Instant::now();
            } else if last_view.elapsed() > STALE_AFTER {
                self.mark_stale().await;
            }
            tokio::select! {
                changed = self.addresses.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(retry) => {}
            }
            retry = (retry * 2).min(RETRY_LONGEST);
        }
    }

    /// Reads the stream of a node to its end. Returns whether any view arrived.
    async fn read_stream(&mut self, address: &str) -> bool {
        let mut stream = match self.cluster_views.inner.admin.watch(address).await {
            Ok(stream) => stream,
            Err(error) => {
                tracing::debug!(%error, cluster = self.cluster, "cannot open the stream of views");
                return false;
            }
        };
        let Ok(first) = tokio::time::timeout(FIRST_VIEW_WITHIN, stream.message()).await else {
            return false;
        };
        let mut next = first;
        let mut any = false;
        loop {
            match next {
                Ok(Some(view)) => {
                    if view.status.as_ref().is_none_or(|status| status.cluster_id != self.cluster_id) {
                        tracing::warn!(address, cluster = self.cluster, "a node of another cluster answered");
                        return any;
                    }
                    any = true;
                    self.accept_view(view).await;
                }
                Ok(None) => return any,
                Err(error) => {
                    tracing::debug!(%error, cluster = self.cluster, "the stream of views broke");
                    return any;
                }
            }
            next = tokio::select! {
                message = stream.message() => message,
                changed = self.addresses.changed() => {
                    // The pod is gone or has moved, and its stream may hang for long.
                    if changed.is_err() || !self.addresses.borrow_and_update().iter().any(|known| known == address) {
                        return any;
                    }
                    stream.message().await
                }
            };
        }
    }

    async fn accept_view(&self, mut view: ClusterView) {
        strip_volatile(&mut view);
        let before = self.publish.borrow().clone();
        let changes = changes(before.view.as_deref().filter(|_| before.live), &view);
        self.publish.send_replace(ViewObservation { view: Some(Arc::new(view)), live: true });
        match changes {
            Changes::None => {}
            Changes::Stores(names) => {
                self.trigger_cluster().await;
                for (namespace, name) in names {
                    self.trigger_store(&name, &namespace).await;
                }
            }
            Changes::All => self.trigger_all().await,
        }
    }

    async fn mark_stale(&self) {
        let was_live = self.publish.send_if_modified(|observation| std::mem::take(&mut observation.live));
        if was_live {
            tracing::warn!(
                cluster = self.cluster,
                namespace = self.namespace,
                "no member sends a view, the last view is stale"
            );
            self.trigger_all().await;
        }
    }

    async fn trigger_all(&self) {
        self.trigger_cluster().await;
        let ours = |store: &Guarded<EventStore>| {
            let parsed = store.0.as_ref().ok();
            parsed.is_some_and(|store| {
                store.spec.cluster_ref.name.as_str() == self.cluster
                    && store.metadata.namespace.as_deref() == Some(&self.namespace)
            })
        };
        for store in self.cluster_views.inner.stores.state_filter(ours) {
            let reference = ObjectRef::from_obj(store.as_ref());
            // A closed channel means that the process is stopping.
            let _stopping = self.cluster_views.inner.triggers.stores.send(reference).await;
        }
    }

    async fn trigger_cluster(&self) {
        let reference = ObjectRef::new(&self.cluster).within(&self.namespace);
        let _stopping = self.cluster_views.inner.triggers.clusters.send(reference).await;
    }

    async fn trigger_store(&self, name: &str, namespace: &str) {
        let reference = ObjectRef::new(name).within(namespace);
        let _stopping = self.cluster_views.inner.triggers.stores.send(reference).await;
    }
}

/// Clears the fields changed by every append: a reconcile does not use these fields, and each change would
/// trigger a reconcile.
fn strip_volatile(view: &mut ClusterView) {
    for store in view.stores.iter_mut().filter_map(|view| view.store.as_mut()) {
        store.last_position = None;
        store.event_count = None;
        store.applied_index = None;
        store.digest.clear();
    }
    for grant in &mut view.grants {
        grant.expires_in_ms = 0;
    }
    if let Some(status) = view.status.as_mut() {
        status.answered_by_node_id = 0;
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Changes {
    None,
    /// Only these stores (namespace, name) changed; empty if the change shows in no store.
    Stores(Vec<(String, String)>),
    All,
}

fn changes(before: Option<&ClusterView>, now: &ClusterView) -> Changes {
    let Some(before) = before else { return Changes::All };
    if before == now {
        return Changes::None;
    }
    let members = |view: &ClusterView| -> Vec<(u64, String, i32)> {
        let nodes = view.nodes.iter().filter_map(|node| node.node.as_ref());
        nodes.map(|node| (node.node_id, node.name.clone(), node.state)).collect()
    };
    // A store waiting for nodes, or for the purge of a retained store, is not in the view, so all
    // stores are reconciled.
    if members(before) != members(now) || before.stores.len() != now.stores.len() {
        return Changes::All;
    }
    let by_id = |view: &ClusterView| -> BTreeMap<String, StoreView> {
        let pairs = view.stores.iter().filter_map(|view| Some((view.store.as_ref()?.id.clone(), view.clone())));
        pairs.collect()
    };
    let old = by_id(before);
    let differing = by_id(now).into_iter().filter(|(id, view)| old.get(id) != Some(view));
    Changes::Stores(differing.filter_map(|(_, view)| view.store.map(|store| (store.namespace, store.name))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use taffrail_proto::{
        admin::NodeView,
        v1::{Node, Store as StoreMessage},
    };

    fn view(terms: &[(&str, u64)]) -> ClusterView {
        let store = |(name, term): &(&str, u64)| StoreView {
            store: Some(StoreMessage {
                id: format!("id-{name}"),
                namespace: "ns".to_owned(),
                name: (*name).to_owned(),
                term: Some(*term),
                event_count: Some(*term * 100),
                ..StoreMessage::default()
            }),
            ..StoreView::default()
        };
        let mut view = ClusterView {
            nodes: vec![NodeView { node: Some(Node { node_id: 1, ..Node::default() }), ..NodeView::default() }],
            stores: terms.iter().map(store).collect(),
            ..ClusterView::default()
        };
        strip_volatile(&mut view);
        view
    }

    #[test]
    fn appends_are_no_change() {
        let mut busy = view(&[("a", 1)]);
        if let Some(store) = busy.stores[0].store.as_mut() {
            store.event_count = Some(store.event_count() + 5);
        }
        strip_volatile(&mut busy);
        assert_eq!(changes(Some(&view(&[("a", 1)])), &busy), Changes::None);
    }

    #[test]
    fn a_changed_store_is_named_and_others_are_left_alone() {
        let changed = changes(Some(&view(&[("a", 1), ("b", 1)])), &view(&[("a", 1), ("b", 2)]));
        assert_eq!(changed, Changes::Stores(vec![("ns".to_owned(), "b".to_owned())]));
    }

    #[test]
    fn all_look_again_when_nodes_or_the_number_of_stores_change() {
        assert_eq!(changes(None, &view(&[])), Changes::All);
        assert_eq!(changes(Some(&view(&[])), &view(&[("a", 1)])), Changes::All);
        let mut more = view(&[]);
        more.nodes.push(NodeView::default());
        more.nodes[1].node = Some(Node::default());
        assert_eq!(changes(Some(&view(&[])), &more), Changes::All);
    }
}
