//! Content of the disks after all nodes have stopped: the catalogue, the live replicas, and the rows of their stores.

use crate::harness::cluster::Cluster;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};
use taffrail_core::{
    catalogue::{Catalogue, NodeState, ReplicaState as Named},
    ids::{GroupId, NodeId, PartitionId},
};
use taffrail_raft::log::{LogDisk, LogKey, ReplicaState, rocksdb_log::RocksdbLog};
use taffrail_storage::{
    catalogue::catalogue_machine::CatalogueMachine,
    store::{
        schema::{self, Family},
        state_db::{Medium, StateDb},
    },
};
use tokio::sync::watch;

/// The part of the content that no death may change.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Disks {
    /// Name of each node that ever existed, and whether it was removed. The number of removals is left out: a drained node may
    /// register as a new node before the process is stopped.
    nodes: BTreeSet<(String, bool)>,
    /// Replicas that the catalogue names.
    named: usize,
    /// Names of stores, and the number of deleted stores.
    stores: (Vec<String>, usize),
    /// By name of a node: the number of live store replicas, and of partitions with rows.
    holds: BTreeMap<String, (usize, usize)>,
}

impl Disks {
    /// Names of the stores in the catalogue, and the number of deleted stores.
    pub(crate) fn stores(&self) -> (Vec<&str>, usize) {
        (self.stores.0.iter().map(String::as_str).collect(), self.stores.1)
    }
}

struct Disk {
    node: NodeId,
    catalogue: Catalogue,
    replicas: Vec<(LogKey, ReplicaState)>,
    /// Partitions with rows, and groups with a row of their own.
    partitions: BTreeSet<PartitionId>,
    groups: BTreeSet<GroupId>,
}

async fn open(data: &Path, node: NodeId) -> Disk {
    let db = Arc::new(StateDb::open(&data.join("state"), &Medium::Disk).unwrap());
    let (published, catalogue) = watch::channel(Arc::new(Catalogue::default()));
    CatalogueMachine::open(Arc::clone(&db), Arc::new(published)).unwrap();
    let catalogue = (**catalogue.borrow()).clone();
    let log = RocksdbLog::open(&data.join("log"), Arc::new(|e| panic!("{e}")), Arc::new(|_| {})).unwrap();
    let log = Arc::new(log);
    let replicas = log.replicas().await.unwrap();
    tokio::task::spawn_blocking(move || log.close()).await.unwrap();
    let view = db.view();
    let mut partitions = BTreeSet::new();
    for n in 0..catalogue.next_partition.max(1) {
        let partition = PartitionId::new(n);
        let (from, to) = schema::partition_bounds(partition);
        let rows = Family::ALL
            .into_iter()
            .filter(|family| *family != Family::Meta)
            .any(|family| view.rising(family, &from, &to).unwrap().next().is_some());
        if rows || view.get(Family::Meta, &schema::partition_meta(partition)).unwrap().is_some() {
            partitions.insert(partition);
        }
    }
    let (from, to) = schema::group_meta_bounds();
    let keys = view.rising(Family::Meta, &from, &to).unwrap().map(|row| row.unwrap().0);
    let groups = keys.filter_map(|key| schema::group_of(&key)).collect();
    Disk { node, catalogue, replicas, partitions, groups }
}

/// Opens every disk, compares the disk with the catalogue, and compares the catalogues with each other.
pub(crate) async fn inspect(cluster: &Cluster) -> Disks {
    let mut disks = BTreeMap::new();
    for slot in &cluster.slots {
        let node = node_of(&slot.data());
        disks.insert(slot.name.clone(), open(&slot.data(), node).await);
    }
    let newest = disks.values().map(|d| &d.catalogue).max_by_key(|c| c.version).unwrap().clone();
    agree(&newest, &disks);
    ids_are_new(&newest, cluster, &disks);
    let mut holds = BTreeMap::new();
    for (name, disk) in &disks {
        let live = live(disk);
        let here = |r: &&taffrail_core::catalogue::Replica| r.node == disk.node;
        let named: BTreeSet<LogKey> = newest
            .groups
            .iter()
            .flat_map(|(group, g)| g.replicas.iter().filter(move |(_, r)| here(r)).map(|(r, _)| (*group, *r)))
            .map(|(group, replica)| LogKey { group, replica })
            .collect();
        assert_eq!(live, named, "{name}: the live replicas on the disk differ from the catalogue");
        let groups: BTreeSet<GroupId> = live.iter().map(|key| key.group).collect();
        let others: Vec<_> = disk.groups.iter().filter(|g| **g != GroupId::SYSTEM && !groups.contains(g)).collect();
        assert!(others.is_empty(), "{name}: rows of groups without a live replica: {others:?}");
        let partitions: BTreeSet<PartitionId> = groups.iter().map(|group| newest.groups[group].partition).collect();
        assert_eq!(disk.partitions, partitions, "{name}: rows of stores without a live replica");
        holds.insert(name.clone(), (live.len(), disk.partitions.len()));
    }
    let removed = |node: &taffrail_core::catalogue::Node| matches!(node.state, NodeState::Removed { .. });
    let nodes = newest.nodes.values().map(|node| (node.name.clone(), removed(node))).collect();
    Disks {
        nodes,
        named: newest.groups.values().map(|g| g.replicas.len()).sum(),
        stores: (newest.stores.values().map(|s| s.name.to_string()).collect(), newest.removed_stores.len()),
        holds,
    }
}

/// The node id in the marker.
fn node_of(data: &Path) -> NodeId {
    let marker: serde_json::Value =
        serde_json::from_slice(&std::fs::read(data.join("taffrail.json")).unwrap()).unwrap();
    NodeId::new(marker["marker"]["node_id"].as_u64().unwrap_or(0))
}

/// Store replicas that were not removed.
fn live(disk: &Disk) -> BTreeSet<LogKey> {
    let replicas = disk
        .replicas
        .iter()
        .filter(|(key, state)| key.group != GroupId::SYSTEM && matches!(state, ReplicaState::Live(_)));
    replicas.map(|(key, _)| *key).collect()
}

/// Checks that no change in the catalogue is half done, and that all members have the same catalogue apart from its clock.
fn agree(newest: &Catalogue, disks: &BTreeMap<String, Disk>) {
    for (id, group) in &newest.groups {
        let active = group.replicas.values().all(|r| r.state == Named::Active);
        assert!(active && group.phase == taffrail_core::catalogue::GroupPhase::Formed, "group {id}: {group:?}");
        assert_eq!(newest.stores[&group.store].group, *id);
    }
    for (name, disk) in disks {
        let node = newest.nodes.get(&disk.node).unwrap_or_else(|| panic!("{name}: no node {}", disk.node));
        if node.state == NodeState::Member {
            let mut theirs = disk.catalogue.clone();
            (theirs.clock_us, theirs.digest) = (newest.clock_us, newest.digest);
            assert_eq!(theirs, *newest, "{name} has another catalogue");
        }
    }
}

/// Checks that all ids ever seen are below the next id, and that a removed replica stays removed on its disk.
fn ids_are_new(newest: &Catalogue, cluster: &Cluster, disks: &BTreeMap<String, Disk>) {
    assert!(cluster.seen.nodes().all(|id| id < newest.next_node && newest.nodes.contains_key(&NodeId::new(id))));
    let mut on: BTreeMap<u64, (GroupId, NodeId)> = BTreeMap::new();
    for disk in disks.values() {
        for (key, _) in disk.replicas.iter().filter(|(key, _)| key.group != GroupId::SYSTEM) {
            let other = on.insert(key.replica.get(), (key.group, disk.node));
            assert!(other.is_none(), "replica {} is on two disks", key.replica);
            assert!(key.replica.get() < newest.next_replica, "replica id {} was never allocated", key.replica);
        }
    }
    for (replica, node) in cluster.seen.replicas() {
        assert!(replica < newest.next_replica);
        let named = newest.groups.values().any(|g| g.replicas.keys().any(|r| r.get() == replica));
        let disk = disks.values().find(|disk| disk.node.get() == node);
        // The emptied disk holds no evidence.
        let Some(disk) = disk else { continue };
        let state = disk.replicas.iter().find(|(key, _)| key.replica.get() == replica).map(|(_, state)| *state);
        match state {
            Some(ReplicaState::Live(_)) => {
                assert!(named, "replica {replica} lives on node {node}, but the catalogue does not name it")
            }
            Some(ReplicaState::Fenced(mark)) => panic!("replica {replica} on node {node} is fenced: {mark:?}"),
            Some(ReplicaState::Deleted(tombstone)) => {
                assert!(!named, "replica {replica} is in the catalogue, but removed from node {node}");
                assert!(tombstone.cleared, "the removal of replica {replica} on node {node} is not complete");
            }
            None => panic!("replica {replica} was observed on node {node}, but the disk does not know the replica"),
        }
    }
}
