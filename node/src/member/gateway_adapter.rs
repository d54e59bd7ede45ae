//! Adapter between member and gateway: implements [`Node`], the port of the gateway, on top of a [`Member`].

use super::member::Member;
use crate::{
    coordinator::view,
    disk_space::{DiskSpace, Level, Space},
};
use std::sync::Arc;
use taffrail_core::{
    catalogue::{Catalogue, GroupPhase, NodeState, Store, StoreState},
    ids::{ClusterId, GroupId, NodeId, StoreId},
    names::StoreName,
};
use taffrail_metrics::{DiskSample, Metrics, StateSample, StoreSample};
use taffrail_proto::v1;
use taffrail_raft::peer::Peers;
use taffrail_runtime::{self as rt, TaskKind};
use taffrail_storage::store::{replica::Replica, state_db::Figures};
use taffrail_store_api::{
    Node, PeerChannel, ResolveError, Route, StorageLow, StoreChangeError, StoreFilter, StoreRef, StoreReplica,
    StoreTotals,
};
use tokio::{sync::watch, time::Instant};

/// Value of the metrics label `store` for the system group.
const SYSTEM: &str = "system";

/// Implementation of [`Node`] for the gateway. Serves no store until the node is a member.
pub struct GatewayAdapter {
    member: watch::Receiver<Option<Arc<Member>>>,
    peers: Arc<dyn Peers>,
    /// Address of this node for clients, if known.
    client_address: Option<String>,
    space: Arc<DiskSpace>,
    /// Change counter for watchers: rises when the member appears and with every change of the member.
    changes: watch::Sender<u64>,
}

impl GatewayAdapter {
    /// Creates an adapter that serves `member` once the channel has a member, on a node whose clients use
    /// `client_address`. A task forwards the changes of the member until the adapter is dropped.
    #[must_use]
    pub fn new(
        member: watch::Receiver<Option<Arc<Member>>>,
        peers: Arc<dyn Peers>,
        client_address: Option<String>,
        space: Arc<DiskSpace>,
    ) -> Arc<Self> {
        let this =
            Arc::new(Self { member: member.clone(), peers, client_address, space, changes: watch::channel(0).0 });
        let weak = Arc::downgrade(&this);
        rt::spawn_task("status changes", TaskKind::Part, async move {
            let mut member = member;
            if member.wait_for(Option::is_some).await.is_err() {
                return;
            }
            let Some(now) = member.borrow().clone() else { return };
            let mut changes = now.changes.subscribe();
            loop {
                let Some(this) = weak.upgrade() else { return };
                this.changes.send_modify(|n| *n += 1);
                drop(this);
                if changes.changed().await.is_err() {
                    return;
                }
            }
        });
        this
    }

    fn now(&self) -> Option<Arc<Member>> {
        self.member.borrow().clone()
    }

    fn store_ref(c: &Catalogue, member: &Member, id: StoreId, store: &Store) -> StoreRef {
        let nodes = c.groups.get(&store.group).map(|g| g.nodes().collect()).unwrap_or_default();
        let leader = member.running(store.group).and_then(|r| r.group.leader());
        StoreRef { id, name: store.name.clone(), group: store.group, nodes, leader }
    }

    fn find(c: &Catalogue, member: &Member, name: &StoreName) -> Result<StoreRef, ResolveError> {
        match c.store_named(name) {
            Some((id, store)) => match store.state {
                StoreState::Active => Ok(Self::store_ref(c, member, id, store)),
                StoreState::Retained { .. } => Err(ResolveError::Retained(name.clone())),
                StoreState::Removing => Err(ResolveError::Removing(name.clone())),
            },
            None => Err(ResolveError::NotFound { wanted: name.clone(), nearest: nearest(c, name) }),
        }
    }

    /// Sets the gauges of connections, state database and replicas of this node.
    pub fn sample(&self, metrics: &Metrics) {
        let disk = self.space.now();
        let Space { total_bytes, free_bytes } = disk.space;
        metrics.sample_disk(&DiskSample { total_bytes, free_bytes, low: disk.level > Level::Enough });
        metrics.peer_connections.set(i64::try_from(self.peers.addresses().len()).unwrap_or(i64::MAX));
        let Some(member) = self.now() else { return };
        let c = member.applied();
        // The metrics of retained stores are kept as well, because a retained store may become active again.
        let named = c.stores.values().map(|s| s.name.to_string());
        metrics.retain_stores(&named.chain(std::iter::once(SYSTEM.to_owned())).collect());
        let Figures { live_bytes, memtable_bytes, pending_compaction_bytes } = member.parts.db.figures();
        metrics.sample_state(&StateSample { live_bytes, memtable_bytes, pending_compaction_bytes });
        let mut samples = Vec::new();
        for running in member.all_running() {
            let id = running.group.group();
            let store = c.groups.get(&id).and_then(|g| c.stores.get(&g.store));
            let totals = running.replica.reader().totals().unwrap_or_default();
            samples.push(sample(
                store.map_or_else(|| format!("group-{id}"), |s| s.name.to_string()),
                &running.group,
                totals,
            ));
        }
        samples.push(sample(SYSTEM.into(), &member.system, StoreTotals::default()));
        metrics.replicas_fenced.set(i64::try_from(member.fenced().len()).unwrap_or(i64::MAX));
        metrics.replicas_broken.set(i64::try_from(member.recovery.broken().len()).unwrap_or(i64::MAX));
        metrics.clock_difference_seconds.set(member.clocks.differs_seconds());
        metrics.sample(member.system.leads(), &samples);
    }
}

fn sample(store: String, group: &taffrail_raft::group::Group, totals: StoreTotals) -> StoreSample {
    let s = group.status();
    let slowest = s.matched.values().min().copied().unwrap_or(s.committed);
    StoreSample {
        store,
        totals,
        leads: s.leads,
        term: s.term,
        committed: s.committed,
        applied: s.applied,
        quorum: if s.leads { s.quorum_acked_ago.is_some() } else { s.leader.is_some() },
        worst_lag: s.committed.saturating_sub(slowest),
        recorded_ahead_seconds: group.progress().borrow().recorded_us.saturating_sub(rt::now_us()) / 1_000_000,
    }
}

/// True if the catalogue records the group as formed. Until then the store may still get another group, so no replica
/// may acknowledge an append; the call is retried.
fn is_formed(c: &Catalogue, group: GroupId) -> bool {
    c.groups.get(&group).is_some_and(|g| g.phase == GroupPhase::Formed)
}

/// Returns at most three names of active stores similar to `name`: first the same name in other namespaces, then names
/// with the longest common prefix.
fn nearest(c: &Catalogue, name: &StoreName) -> Vec<StoreName> {
    let score = |other: &StoreName| {
        let common = other.name().chars().zip(name.name().chars()).take_while(|(a, b)| a == b).count();
        (other.name() != name.name(), std::cmp::Reverse(common))
    };
    let active = c.stores.values().filter(|s| s.state == StoreState::Active).map(|s| s.name.clone());
    let mut names: Vec<StoreName> =
        active.filter(|n| n.name() == name.name() || n.name().chars().next() == name.name().chars().next()).collect();
    names.sort_by_key(|n| (score(n), n.clone()));
    names.truncate(3);
    names
}

#[async_trait::async_trait]
impl Node for GatewayAdapter {
    async fn resolve(&self, name: &StoreName, deadline: Instant) -> Result<StoreRef, ResolveError> {
        let member =
            self.now().ok_or_else(|| ResolveError::NotServing("the node is not a member of a cluster yet".into()))?;
        match Self::find(&member.applied(), &member, name) {
            Ok(store) => Ok(store),
            Err(miss) => {
                // The applied catalogue may lag, so a miss is confirmed with a read index before the answer.
                match member.system.read_index(deadline).await {
                    Ok(()) => Self::find(&member.applied(), &member, name),
                    Err(_) => match miss {
                        ResolveError::NotFound { .. } => {
                            Err(ResolveError::Unconfirmed("no coordinator answered in time"))
                        }
                        other @ (ResolveError::Retained(_)
                        | ResolveError::Removing(_)
                        | ResolveError::Unconfirmed(_)
                        | ResolveError::NotServing(_)) => Err(other),
                    },
                }
            }
        }
    }

    fn route_write(&self, store: &StoreRef) -> Route {
        let Some(member) = self.now() else { return Route::Remote(Vec::new()) };
        let Some(running) = member.running(store.group) else { return Route::Remote(store.nodes.clone()) };
        let remote = running.group.leader().filter(|l| l.node != member.node());
        match remote.filter(|_| !running.group.leads()) {
            Some(leader) => Route::Remote(vec![leader.node]),
            // Also without a known leader: the local replica reports this at once, and the call is retried.
            None if is_formed(&member.applied(), store.group) => Route::Local(running.replica),
            None => Route::Remote(Vec::new()),
        }
    }

    fn storage_low(&self) -> Option<StorageLow> {
        let disk = self.space.now();
        let low = StorageLow::Leader { free_bytes: disk.space.free_bytes, needed_bytes: disk.soft_bytes };
        (disk.level > Level::Enough).then_some(low)
    }

    fn route_read(&self, store: &StoreRef) -> Route {
        let Some(member) = self.now() else { return Route::Remote(store.nodes.clone()) };
        match member.running(store.group) {
            Some(running) if is_formed(&member.applied(), store.group) => Route::Local(running.replica),
            // Another group may have taken the place of a group that is not recorded as formed, and have taken appends since.
            Some(_) => Route::Remote(Vec::new()),
            None => Route::Remote(store.nodes.iter().copied().filter(|n| *n != member.node()).collect()),
        }
    }

    fn peer_channel(&self, node: NodeId) -> Option<PeerChannel> {
        self.peers.channel(node)
    }

    fn client_address(&self, node: NodeId) -> Option<String> {
        if self.now().is_some_and(|member| member.node() == node) {
            return self.client_address.clone();
        }
        self.peers.client_address(node)
    }

    async fn stores(&self, filter: &StoreFilter) -> Vec<v1::Store> {
        let Some(member) = self.now() else { return Vec::new() };
        let c = member.applied();
        let retained = |store: &Store| matches!(store.state, StoreState::Retained { .. });
        let mut selected: Vec<(StoreId, &Store)> = c.stores.iter().map(|(id, store)| (*id, store)).collect();
        selected.retain(|(id, store)| filter.selects(&store.name, *id, retained(store)));
        selected.sort_unstable_by(|(id, store), (other_id, other)| (&store.name, id).cmp(&(&other.name, other_id)));
        selected.truncate(filter.limit);
        let mut out = Vec::with_capacity(selected.len());
        for (id, store) in selected {
            out.push(show(&c, &member, id, store).await);
        }
        out
    }

    fn stores_with_name(&self, name: &str) -> Vec<StoreName> {
        self.now().map(|member| member.applied().stores_with_name(name)).unwrap_or_default()
    }

    async fn store(&self, name: &StoreName, deadline: Instant) -> Result<v1::Store, ResolveError> {
        match self.resolve(name, deadline).await {
            Ok(_) | Err(ResolveError::Retained(_) | ResolveError::Removing(_)) => {}
            Err(e) => return Err(e),
        }
        let member = self.now().ok_or_else(|| ResolveError::NotServing("the node has stopped".into()))?;
        let c = member.applied();
        match c.store_named(name) {
            Some((id, store)) => Ok(show(&c, &member, id, store).await),
            None => Err(ResolveError::NotFound { wanted: name.clone(), nearest: nearest(&c, name) }),
        }
    }

    async fn create_store(
        &self,
        name: &StoreName,
        replicas: u32,
        deadline: Instant,
    ) -> Result<v1::Store, StoreChangeError> {
        let member = self.now().ok_or_else(no_member)?;
        let id = member.create_store(name, replicas, deadline).await?;
        let c = member.applied();
        Ok(match c.stores.get(&id) {
            Some(store) => show(&c, &member, id, store).await,
            None => v1::Store {
                id: id.to_string(),
                namespace: name.namespace().to_owned(),
                name: name.name().to_owned(),
                state: v1::StoreState::Creating.into(),
                replicas,
                managed_by: v1::StoreManager::Api.into(),
                ..v1::Store::default()
            },
        })
    }

    async fn remove_store(&self, id: StoreId, deadline: Instant) -> Result<Option<String>, StoreChangeError> {
        self.now().ok_or_else(no_member)?.remove_store(id, deadline).await
    }

    fn cluster_status(&self) -> v1::ClusterStatus {
        let Some(member) = self.now() else { return v1::ClusterStatus::default() };
        let planned = member.view.borrow().as_ref().and_then(|view| view.status.clone());
        let mut status = planned.unwrap_or_else(|| status_from_here(&member, &*self.peers));
        for node in &mut status.nodes {
            node.client_address = self.client_address(NodeId::new(node.node_id)).unwrap_or_default();
        }
        status
    }

    fn cluster_changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn node_id(&self) -> Option<NodeId> {
        self.now().map(|m| m.node())
    }

    fn cluster_id(&self) -> Option<ClusterId> {
        self.now().map(|m| m.cluster())
    }
}

fn no_member() -> StoreChangeError {
    StoreChangeError::NotServing("the node is not a member of a cluster yet".into())
}

/// Builds the cluster status on a node that does not coordinate, from the applied catalogue and the connections
/// of this node.
fn status_from_here(member: &Member, peers: &dyn Peers) -> v1::ClusterStatus {
    let c = member.applied();
    let system = member.system.status();
    let voters: Vec<u64> = system.membership.voter_ids().collect();
    let (disk, connected) = (member.parts.space.now(), peers.connected());
    let present = c.nodes.iter().filter(|(_, n)| !matches!(n.state, NodeState::Removed { .. }));
    let nodes = present.map(|(id, n)| {
        let own = disk.measured().filter(|_| *id == member.node());
        let groups = c.groups.values().filter(|g| g.nodes().any(|x| x == *id)).count();
        v1::Node {
            node_id: id.get(),
            disk_id: n.disk.to_string(),
            name: n.name.clone(),
            state: view::node_state(n.state).into(),
            system_voter: voters.contains(&id.get()),
            reachable: *id == member.node() || connected.contains(id),
            group_count: u32::try_from(groups + 1).unwrap_or(u32::MAX),
            leader_count: (*id == member.node()).then(|| u32::try_from(member.leaderships()).unwrap_or(u32::MAX)),
            version: n.version.clone(),
            peer_address: n.address.clone(),
            client_address: String::new(),
            disk_total_bytes: own.map(|space| space.total_bytes),
            disk_free_bytes: own.map(view::shown_free_bytes),
            storage_low: *id == member.node() && disk.level > Level::Enough,
        }
    });
    v1::ClusterStatus {
        cluster_id: member.cluster().to_string(),
        coordinator_node_id: system.leader.map(|l| l.node.get()),
        term: Some(system.term),
        nodes: nodes.collect(),
        store_count: u32::try_from(c.stores.values().filter(|s| s.state == StoreState::Active).count())
            .unwrap_or(u32::MAX),
        answered_by_node_id: member.node().get(),
        problems: Vec::new(),
    }
}

/// Describes a store as far as this node knows: counters need a replica on this node, and only the leader knows which
/// replicas have caught up.
async fn show(c: &Catalogue, member: &Member, id: StoreId, store: &Store) -> v1::Store {
    let running = member.running(store.group);
    let totals = match &running {
        Some(r) => totals(&r.replica).await,
        None => None,
    };
    let status = running.as_ref().map(|r| r.group.status());
    let leader = status.as_ref().and_then(|s| s.leader);
    let members = match &status {
        Some(s) => {
            let voters: Vec<u64> = s.membership.voter_ids().collect();
            s.membership
                .nodes()
                .map(|(replica, host)| v1::Replica {
                    replica_id: *replica,
                    node_id: host.0.get(),
                    voter: Some(voters.contains(replica)),
                    leader: leader.map(|l| l.replica.get() == *replica),
                    caught_up: s.leads.then(|| s.matched.get(replica).is_some_and(|m| *m >= s.committed)),
                })
                .collect()
        }
        None => c
            .groups
            .get(&store.group)
            .map(|g| {
                let replica = |(id, r): (&taffrail_core::ids::ReplicaId, &taffrail_core::catalogue::Replica)| {
                    v1::Replica { replica_id: id.get(), node_id: r.node.get(), ..v1::Replica::default() }
                };
                g.replicas.iter().map(replica).collect()
            })
            .unwrap_or_default(),
    };
    v1::Store {
        id: id.to_string(),
        namespace: store.name.namespace().to_owned(),
        name: store.name.name().to_owned(),
        state: view::store_state(c, id).into(),
        replicas: store.replicas,
        leader_node_id: leader.map(|l| l.node.get()),
        term: status.as_ref().map(|s| s.term),
        members,
        last_position: totals.map(|t| t.last_position.get()),
        event_count: totals.map(|t| t.events),
        digest: totals.map(|t| t.digest.to_string()).unwrap_or_default(),
        applied_index: totals.map(|t| t.applied_index),
        lineage: 0,
        managed_by: view::store_manager(store).into(),
    }
}

/// Reads the counters of a replica of this node; `None` if the replica cannot be read.
async fn totals(replica: &Replica) -> Option<StoreTotals> {
    let reader = replica.reader();
    rt::blocking(move || reader.totals()).await.ok().and_then(Result::ok)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::member::test_node::with_a_store;
    use std::time::Duration;
    use taffrail_core::catalogue::Kind;
    use taffrail_raft::peer::table::Table;

    #[tokio::test]
    async fn appends_and_reads_wait_until_the_group_is_recorded_as_formed() {
        let dir = tempfile::tempdir().unwrap();
        let (node, key) = with_a_store(dir.path()).await;
        let mut applied = node.member.running(key.group).unwrap().group.progress();
        applied.wait_for(|applied| applied.index > 0).await.unwrap();
        assert!(node.member.running(key.group).unwrap().group.leads());
        let member = watch::channel(Some(Arc::clone(&node.member))).1;
        let adapter =
            GatewayAdapter::new(member, Arc::new(Table::default()), None, Arc::clone(&node.member.parts.space));
        let name = StoreName::new("default", "orders").unwrap();
        let store = adapter.resolve(&name, Instant::now() + Duration::from_secs(60)).await.unwrap();
        assert!(matches!(adapter.route_write(&store), Route::Remote(nodes) if nodes.is_empty()));
        assert!(matches!(adapter.route_read(&store), Route::Remote(nodes) if nodes.is_empty()));
        node.propose(Kind::GroupFormed(key.group)).await;
        assert!(matches!(adapter.route_write(&store), Route::Local(_)));
        assert!(matches!(adapter.route_read(&store), Route::Local(_)));
        drop(adapter);
        // Ends the task of the adapter, which holds the member.
        node.member.changed();
        node.end().await;
    }
}
