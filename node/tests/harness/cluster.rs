//! [`Cluster`]: the nodes of a test and the calls of an operator, sent to any node and repeated until they are answered.

use super::{points::Points, process::Slot};
use crate::common::{PATIENCE, Ports, until};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};
use taffrail_proto::{
    admin::{self, admin_client::AdminClient},
    v1,
};
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};
use uuid::Uuid;

const CALL: Duration = Duration::from_secs(20);
const NAMESPACE: &str = "default";
/// Holder of the disruption grants of the test.
const HOLDER: &str = "operator";
/// Duration of a grant; longer than any step under it.
const GRANT_MS: u64 = 600_000;

/// Expected end of a phase.
#[derive(Clone, Debug)]
pub(crate) struct Wanted<'a> {
    /// Names of the nodes.
    pub(crate) nodes: &'a [&'a str],
    /// Stores and their voters.
    pub(crate) stores: &'a [(&'a str, u32)],
}

/// All ids ever seen, with the objects that they named.
#[derive(Default)]
pub(crate) struct KnownIds {
    nodes: BTreeMap<u64, String>,
    stores: BTreeMap<String, String>,
    replicas: BTreeMap<u64, (String, u64)>,
}

impl KnownIds {
    fn look(&mut self, view: &admin::ClusterView) {
        for node in view.nodes.iter().filter_map(|n| n.node.as_ref()) {
            same(&mut self.nodes, node.node_id, node.disk_id.clone());
        }
        let disks: BTreeSet<&String> = self.nodes.values().collect();
        assert_eq!(disks.len(), self.nodes.len(), "a disk has two node ids: {:?}", self.nodes);
        for store in view.stores.iter().filter_map(|s| s.store.as_ref()) {
            same(&mut self.stores, store.id.clone(), store.name.clone());
            for member in &store.members {
                same(&mut self.replicas, member.replica_id, (store.id.clone(), member.node_id));
            }
        }
        let names: BTreeSet<&String> = self.stores.values().collect();
        assert_eq!(names.len(), self.stores.len(), "a store was created twice: {:?}", self.stores);
    }
    pub(crate) fn nodes(&self) -> impl Iterator<Item = u64> {
        self.nodes.keys().copied()
    }
    pub(crate) fn replicas(&self) -> impl Iterator<Item = (u64, u64)> {
        self.replicas.iter().map(|(replica, (_, node))| (*replica, *node))
    }
}

/// Checks that an id still names the same object.
fn same<K: Ord + std::fmt::Debug + Clone, V: PartialEq + std::fmt::Debug + Clone>(
    known: &mut BTreeMap<K, V>,
    id: K,
    is: V,
) {
    let was = known.entry(id.clone()).or_insert_with(|| is.clone());
    assert_eq!(*was, is, "id {id:?} was reused");
}

/// Nodes, fault points and observed ids of one test.
pub(crate) struct Cluster {
    pub(crate) id: Uuid,
    pub(crate) slots: Vec<Slot>,
    pub(crate) points: Points,
    pub(crate) seen: KnownIds,
}

impl Cluster {
    /// Creates the nodes; none of them runs yet.
    pub(crate) fn new(root: &Path, names: &[&str]) -> Self {
        let points = Points::new(root);
        let ports = Ports::free(names.len());
        let slot = |(name, own): (&&str, &Ports)| Slot::new(root, name, *own, &ports, points.path());
        let slots = names.iter().zip(&ports).map(slot).collect();
        Self { id: taffrail_client::new_id(), slots, points, seen: KnownIds::default() }
    }

    /// Deaths at fault points.
    pub(crate) fn deaths(&self) -> usize {
        self.slots.iter().map(Slot::deaths).sum()
    }

    /// Calls a node until the node answers.
    pub(crate) async fn ask_one<T>(
        &self,
        slot: usize,
        what: &str,
        call: impl AsyncFn(AdminClient<Channel>) -> Result<tonic::Response<T>, Status>,
    ) -> T {
        until(what, async || self.try_one(&self.slots[slot], &call).await).await
    }

    /// Calls the nodes in turn until a node answers.
    async fn ask<T>(
        &self,
        what: &str,
        call: impl AsyncFn(AdminClient<Channel>) -> Result<tonic::Response<T>, Status>,
    ) -> T {
        until(what, async || {
            let mut last = String::new();
            for slot in self.slots.iter().filter(|slot| slot.runs()) {
                match self.try_one(slot, &call).await {
                    Ok(answer) => return Ok(answer),
                    Err(why) => last = format!("{}: {why}", slot.name),
                }
            }
            Err(last)
        })
        .await
    }

    async fn try_one<T>(
        &self,
        slot: &Slot,
        call: &impl AsyncFn(AdminClient<Channel>) -> Result<tonic::Response<T>, Status>,
    ) -> Result<T, String> {
        let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{}", slot.ports.admin)).unwrap();
        let endpoint = endpoint.connect_timeout(Duration::from_secs(2)).timeout(CALL);
        let channel = endpoint.connect().await.map_err(|e| e.to_string())?;
        match call(AdminClient::new(channel)).await {
            Ok(answer) => Ok(answer.into_inner()),
            Err(status) if matches!(status.code(), Code::InvalidArgument | Code::Unimplemented) => {
                panic!("{}: {status:?}", slot.name)
            }
            Err(status) => Err(format!("{:?}: {}", status.code(), status.message())),
        }
    }

    /// Status of a node, once the node has read its disk.
    pub(crate) async fn status(&self, slot: usize) -> admin::NodeStatus {
        let call = async |mut node: AdminClient<Channel>| node.status(admin::StatusRequest {}).await;
        until("a node's status", async || {
            let status = self.try_one(&self.slots[slot], &call).await?;
            if status.disk_id.is_empty() { Err(format!("{status:?}")) } else { Ok(status) }
        })
        .await
    }

    /// Bootstraps the cluster on a blank node.
    pub(crate) async fn bootstrap(&self, slot: usize) {
        let (cluster_id, disk_id) = (self.id.to_string(), self.status(slot).await.disk_id);
        let request = admin::BootstrapRequest { cluster_id, disk_id };
        let call = async |mut node: AdminClient<Channel>| node.bootstrap(request.clone()).await;
        self.ask_one(slot, "bootstrap", call).await;
    }

    /// Lets a blank node join and waits for its node id.
    pub(crate) async fn join(&self, slot: usize) -> u64 {
        let (cluster_id, disk_id) = (self.id.to_string(), self.status(slot).await.disk_id);
        let request = admin::JoinRequest { cluster_id, disk_id };
        self.ask_one(slot, "join", async |mut node: AdminClient<Channel>| node.join(request.clone()).await).await;
        until("a node to be a member", async || {
            let status = self.status(slot).await;
            if status.node_id == 0 { Err(format!("{status:?}")) } else { Ok(status.node_id) }
        })
        .await
    }

    /// A running node that neither leads the only store nor coordinates.
    pub(crate) async fn follower(&mut self) -> usize {
        let view = self.view().await;
        let leader = view.stores[0].store.as_ref().unwrap().leader_node_id();
        let coordinator = view.status.as_ref().unwrap().coordinator_node_id();
        let mut found = None;
        for slot in 0..self.slots.len() {
            if self.slots[slot].runs() {
                let node = self.status(slot).await.node_id;
                if node != leader && node != coordinator {
                    found = Some(slot);
                }
            }
        }
        found.unwrap()
    }

    /// Starts the first nodes, forms a cluster of them, and waits for the end of the formation. No fault point is armed.
    pub(crate) async fn form(&mut self, nodes: &[&str]) {
        self.points.arm(None);
        self.slots[..nodes.len()].iter_mut().for_each(Slot::start);
        self.bootstrap(0).await;
        for slot in 1..nodes.len() {
            self.join(slot).await;
        }
        self.settle(&Wanted { nodes, stores: &[] }).await;
    }

    /// The coordinator's view.
    pub(crate) async fn view(&mut self) -> admin::ClusterView {
        let call = async |mut node: AdminClient<Channel>| node.view(admin::ViewRequest {}).await;
        let view = self.ask("a view", call).await;
        self.seen.look(&view);
        view
    }

    /// Declares stores until all are accepted.
    pub(crate) async fn declare(&self, stores: &[(&str, u32)]) {
        let declare = |(name, replicas): &(&str, u32)| admin::StoreDeclaration {
            namespace: NAMESPACE.into(),
            name: (*name).into(),
            replicas: *replicas,
            store_id: String::new(),
            declared_by: format!("uid-{name}"),
        };
        let request = admin::DeclareStoresRequest { stores: stores.iter().map(declare).collect() };
        until("the stores to be accepted", async || {
            let call = async |mut node: AdminClient<Channel>| node.declare_stores(request.clone()).await;
            let answer = self.ask("declarations", call).await;
            match answer.results.iter().find(|result| !result.reason.is_empty()) {
                None => Ok(()),
                Some(refused) => Err(format!("{refused:?}")),
            }
        })
        .await;
    }

    /// Acquires the disruption grant for a node, repeating the call until the grant is given.
    pub(crate) async fn acquire(&self, node_id: u64) {
        let request = admin::AcquireDisruptionRequest { node_id, holder: HOLDER.into(), ttl_ms: GRANT_MS };
        until("the disruption grant", async || {
            let call = async |mut node: AdminClient<Channel>| node.acquire_disruption(request.clone()).await;
            let answer = self.ask("a grant", call).await;
            if answer.granted { Ok(()) } else { Err(answer.denied_by) }
        })
        .await;
    }

    /// Releases the grant once the node has caught up or is removed.
    pub(crate) async fn release(&self, node_id: u64) {
        let request = admin::ReleaseDisruptionRequest { node_id, holder: HOLDER.into() };
        until("the end of the disruption", async || {
            let call = async |mut node: AdminClient<Channel>| node.release_disruption(request.clone()).await;
            let answer = self.ask("a release", call).await;
            if answer.released { Ok(()) } else { Err(format!("node {node_id} has not caught up")) }
        })
        .await;
    }

    /// Drains all nodes with this name, and returns the nodes whose grants are to be released.
    pub(crate) async fn drain(&mut self, name: &str) -> Option<u64> {
        let end = tokio::time::Instant::now() + PATIENCE;
        let mut granted = None;
        loop {
            let view = self.view().await;
            let of_name = view.nodes.iter().filter_map(|n| n.node.as_ref()).find(|n| n.name == name);
            let Some(node_id) = of_name.map(|n| n.node_id) else { return granted };
            if granted != Some(node_id) {
                if let Some(before) = granted {
                    self.release(before).await;
                }
                self.acquire(node_id).await;
                granted = Some(node_id);
            }
            let request = admin::DrainNodeRequest { node_id };
            let call = async |mut node: AdminClient<Channel>| node.drain_node(request).await;
            let answer = self.ask("a drain", call).await;
            assert!(tokio::time::Instant::now() < end, "node {node_id} is not drained: {answer:?}");
        }
    }

    /// Replaces a lost node, repeating the call until the replacement is done.
    pub(crate) async fn replace(&self, old: u64, new: u64) {
        until("the replacement", async || {
            let answer = self.ask_to_replace(old, new).await;
            if answer.done { Ok(()) } else { Err(answer.waiting_for) }
        })
        .await;
    }

    /// Checks that no node is replaced while another node is down under a grant.
    pub(crate) async fn replacement_is_held_up(&mut self, old: u64, new: u64) {
        until("the replacement to wait for the grant", async || {
            let answer = self.ask_to_replace(old, new).await;
            assert!(!answer.done, "node {old} was replaced without a grant");
            if answer.waiting_for.contains("grant") { Ok(()) } else { Err(answer.waiting_for) }
        })
        .await;
        let view = self.view().await;
        assert!(view.replacements.is_empty(), "replaced without a grant: {:?}", view.replacements);
    }

    async fn ask_to_replace(&self, old_node_id: u64, new_node_id: u64) -> admin::ReplaceNodeResponse {
        let request = admin::ReplaceNodeRequest { old_node_id, new_node_id };
        let call = async |mut node: AdminClient<Channel>| node.replace_node(request).await;
        self.ask("a replacement", call).await
    }

    /// Deletes a store with its data, repeating the call until no node holds data of the store.
    pub(crate) async fn remove(&mut self, name: &str) {
        let view = self.view().await;
        let store = view.stores.iter().filter_map(|s| s.store.as_ref()).find(|s| s.name == name).unwrap();
        let request = admin::CloseStoreRequest {
            store_id: store.id.clone(),
            mode: admin::CloseMode::Delete.into(),
            declared_by: format!("uid-{name}"),
        };
        until("the store to be gone", async || {
            let call = async |mut node: AdminClient<Channel>| node.close_store(request.clone()).await;
            let answer = self.ask("a removal", call).await;
            if answer.done { Ok(()) } else { Err(answer.waiting_for) }
        })
        .await;
    }

    /// Waits for the expected end, and until the coordinator has nothing left to write.
    pub(crate) async fn settle(&mut self, wanted: &Wanted<'_>) {
        let end = tokio::time::Instant::now() + PATIENCE;
        let mut before = None;
        loop {
            let writes = self.points.reached().total();
            let view = self.view().await;
            match differs(&view, wanted) {
                // A pass publishes its view before it acts. No write between two good views proves that the pass of the first
                // view had nothing to do.
                Ok(()) if before == Some(self.points.reached().total()) => return,
                Ok(()) => before = Some(writes),
                Err(why) => {
                    before = None;
                    assert!(tokio::time::Instant::now() < end, "waited for {wanted:?}; last seen: {why}");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }
}

/// The difference between a view and the expected end.
fn differs(view: &admin::ClusterView, wanted: &Wanted<'_>) -> Result<(), String> {
    let mut names = Vec::new();
    let mut ids = BTreeSet::new();
    for seen in &view.nodes {
        let node = seen.node.as_ref().ok_or("a node without a record")?;
        let good =
            node.state() == v1::NodeState::Member && node.reachable && seen.caught_up && seen.waiting_for.is_empty();
        if !good {
            return Err(format!("{seen:?}"));
        }
        names.push(node.name.as_str());
        ids.insert(node.node_id);
    }
    names.sort_unstable();
    if names != wanted.nodes {
        return Err(format!("nodes {names:?}"));
    }
    let voters = view.nodes.iter().filter(|n| n.node.as_ref().is_some_and(|n| n.system_voter)).count();
    if voters != taffrail_core::catalogue::system_voters(names.len()) {
        return Err(format!("{voters} system voters of {} nodes", names.len()));
    }
    let problems = view.status.as_ref().map(|s| s.problems.clone()).unwrap_or_default();
    if !(view.replacements.is_empty() && view.grants.is_empty() && problems.is_empty()) {
        return Err(format!("{:?} {:?} {problems:?}", view.replacements, view.grants));
    }
    let mut stores = Vec::new();
    for seen in &view.stores {
        let store = seen.store.as_ref().ok_or("a store without a record")?;
        let on: BTreeSet<u64> = store.members.iter().filter(|m| m.voter()).map(|m| m.node_id).collect();
        let all_vote = store.members.len() == on.len() && on.is_subset(&ids) && store.replicas as usize == on.len();
        let active = store.state() == v1::StoreState::Active && store.leader_node_id.is_some();
        if !(all_vote && active && seen.quorum && seen.fully_replicated && seen.reason.is_empty()) {
            return Err(format!("{seen:?}"));
        }
        stores.push((store.name.as_str(), store.replicas));
    }
    stores.sort_unstable();
    if stores == wanted.stores { Ok(()) } else { Err(format!("stores {stores:?}")) }
}
