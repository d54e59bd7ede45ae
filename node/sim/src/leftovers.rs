//! [`check`]: no host keeps the log or the state of a replica not placed on the host by the catalogue.

use super::{host::Host, simulated::Cluster};
use std::collections::BTreeSet;
use taffrail_core::{
    catalogue::Catalogue,
    ids::{GroupId, NodeId, PartitionId, ReplicaId},
};
use taffrail_raft::log::LogKey;
use taffrail_storage::store::{
    schema::{Family, group_meta, partition_bounds, partition_meta},
    state_db::{Error, StateDb},
};

/// Fails the run for each log and each partition left on a host by a former replica.
pub fn check(cluster: &Cluster) {
    let Some(catalogue) = cluster.hosts.coordinator().map(|m| m.applied()) else { return };
    for host in cluster.hosts.all() {
        let Some(node) = host.member().map(|m| m.node()) else { continue };
        let left = logs(&catalogue, host, node).or_else(|| state(&catalogue, host, node));
        if let Some(why) = left {
            cluster.world.fail(format!("n{} as node {node} keeps {why}", host.number));
        }
    }
}

fn logs(catalogue: &Catalogue, host: &Host, node: NodeId) -> Option<String> {
    let mut expected: BTreeSet<LogKey> =
        [LogKey { group: GroupId::SYSTEM, replica: ReplicaId::new(node.get()) }].into();
    for (group, record) in &catalogue.groups {
        let here = record.replicas.iter().filter(|(_, r)| r.node == node);
        expected.extend(here.map(|(replica, _)| LogKey { group: *group, replica: *replica }));
    }
    let left = host.log_disk.kept_logs().into_iter().find(|key| !expected.contains(key));
    left.map(|key| format!("the log of replica {} of group {}", key.replica, key.group))
}

fn state(catalogue: &Catalogue, host: &Host, node: NodeId) -> Option<String> {
    let db = host.db()?;
    let here = catalogue.groups.iter().filter(|(_, g)| g.replicas.values().any(|r| r.node == node));
    let (groups, partitions): (BTreeSet<GroupId>, BTreeSet<PartitionId>) =
        here.map(|(group, record)| (*group, record.partition)).unzip();
    let other_groups = (1..catalogue.next_group.max(1)).map(GroupId::new).filter(|g| !groups.contains(g));
    for group in other_groups {
        match db.get(Family::Meta, &group_meta(group)) {
            Ok(None) => {}
            Ok(Some(_)) => return Some(format!("the applied log id of group {group}")),
            Err(e) => return Some(e.to_string()),
        }
    }
    let others = (1..catalogue.next_partition.max(1)).map(PartitionId::new).filter(|p| !partitions.contains(p));
    for partition in others {
        match family_with_rows(&db, partition) {
            Ok(None) => {}
            Ok(Some(family)) => return Some(format!("rows of partition {partition} in {family}")),
            Err(e) => return Some(e.to_string()),
        }
    }
    None
}

fn family_with_rows(db: &StateDb, partition: PartitionId) -> Result<Option<&'static str>, Error> {
    if db.get(Family::Meta, &partition_meta(partition))?.is_some() {
        return Ok(Some(Family::Meta.name()));
    }
    let (view, (from, to)) = (db.view(), partition_bounds(partition));
    for family in Family::ALL.into_iter().filter(|f| *f != Family::Meta) {
        if view.rising(family, &from, &to)?.next().is_some() {
            return Ok(Some(family.name()));
        }
    }
    Ok(None)
}
