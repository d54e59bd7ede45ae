//! The operator of a run: forms the cluster, declares the lasting stores, then drains nodes, takes nodes down under the
//! disruption grant, replaces nodes with lost disks or with disks that went back to an earlier copy, and creates and deletes
//! stores. Each request is repeated until done, as the real operator does.

use super::{
    admin::{AdminPort, any},
    clients::Writer,
    host::Host,
    layout::NAMESPACE,
    simulated::Cluster,
};
use crate::{planted_defect::PlantedDefect, trace, world::World};
use std::sync::Arc;
use taffrail_core::{
    catalogue::{Group, NodeState, ReplicaState},
    ids::{GroupId, NodeId, StoreId},
};
use taffrail_proto::admin::{self as pb, Lifecycle};
use taffrail_raft::{log::floor::Floor, status::Status};
use tokio::time::Instant;

/// End of the range of draws from 0 to 99 with which the operator loses a disk.
const LOSES_DISK: u64 = 66;
/// End of the following range of draws, with which the operator lets a disk go back.
const GOES_BACK: u64 = 78;
/// Name of the operator in grants and declarations.
const OPERATOR: &str = "operator";
/// Life of a disruption grant, in milliseconds.
const GRANT_MS: u64 = 20_000;
/// Milliseconds after which the operator gives up an unfinished drain.
const DRAIN_MS: u64 = 15_000;
/// Milliseconds until the wait for a drain or a deletion counts as endless.
const ENDLESS_MS: u64 = 100_000;
/// Milliseconds for the peers to see later writes of a copied disk. An idle disk writes nothing.
const KNOWN_MS: u64 = 10_000;

/// Operates the cluster until the time is over, and finishes the last operation.
pub async fn run(cluster: Arc<Cluster>, until: Instant) {
    let admitting = cluster
        .hosts
        .layout
        .numbers()
        .map(|host| cluster.world.spawn(admit(Arc::clone(&cluster), host, host.get() == 1)));
    let admitting: Vec<_> = admitting.collect();
    for store in cluster.hosts.layout.stores.clone() {
        declare(&cluster, &store.name, store.replicas).await;
    }
    for task in admitting {
        if task.await.is_err() {
            cluster.world.fail("a task of the operator ended early");
        }
    }
    trace!(cluster.world, "the cluster is formed");
    cluster.world.count("clusters formed");
    let mut stores = 0;
    // In a fifth of the runs the operator only loses disks, or only lets disks go back: both need a settled cluster, and other
    // operations would often unsettle the cluster.
    let kind = match cluster.world.below(10) {
        _ if cluster.world.options.plant == Some(PlantedDefect::TrustedDisks) => Some(GOES_BACK),
        0 => Some(GOES_BACK),
        1 => Some(LOSES_DISK),
        _ => None,
    };
    while Instant::now() < until {
        cluster.world.pause(100, 2000).await;
        cluster.set_losing(false);
        match kind.unwrap_or_else(|| cluster.world.below(100)) {
            0..=29 if cluster.hosts.layout.can_shrink() => drain(&cluster).await,
            0..=54 => disrupt(&cluster).await,
            55..=LOSES_DISK => replace(&cluster).await,
            67..=GOES_BACK => roll_back(&cluster).await,
            _ => {
                stores += 1;
                short_lived(&cluster, stores).await;
            }
        }
    }
}

/// Waits before a request is repeated.
async fn pause(world: &World) {
    world.pause(50, 400).await;
}

/// Admits the node of a host to the cluster: the first node bootstraps, all other nodes join. A host may crash at any step.
async fn admit(cluster: Arc<Cluster>, host: NodeId, first: bool) {
    let id = cluster.world.cluster.to_string();
    loop {
        let mut port = AdminPort::of(&cluster, host);
        let status = port.status().await;
        match status.as_ref().map(|s| (s.lifecycle(), s.disk_id.clone())) {
            Ok((Lifecycle::Member, _)) => return,
            Ok((Lifecycle::Blank, disk)) => {
                let asked =
                    if first { port.bootstrap(id.clone(), disk).await } else { port.join(id.clone(), disk).await };
                trace!(
                    cluster.world,
                    "admit n{host}: {}",
                    asked.map_or_else(|e| e.message().to_owned(), |()| "done".into())
                );
            }
            Ok((Lifecycle::Joining | Lifecycle::Fenced | Lifecycle::Unspecified, _)) | Err(_) => {}
        }
        pause(&cluster.world).await;
    }
}

/// Declares a store until a coordinator has recorded the store, and waits until a node knows the group of the store.
async fn declare(cluster: &Arc<Cluster>, name: &str, replicas: u32) {
    let id = loop {
        let declaration = pb::StoreDeclaration {
            namespace: NAMESPACE.into(),
            name: name.into(),
            replicas,
            store_id: String::new(),
            declared_by: OPERATOR.into(),
        };
        match any(cluster).declare(declaration).await {
            Ok(Some(result)) if result.reason.is_empty() => match result.store_id.parse::<StoreId>() {
                Ok(id) => break id,
                Err(e) => return cluster.world.fail(format!("store {name} has no valid id: {e}")),
            },
            Ok(Some(result)) => trace!(cluster.world, "store {name} waits: {} {}", result.reason, result.message),
            Ok(None) => cluster.world.fail("a declaration has no result"),
            Err(e) => trace!(cluster.world, "store {name} is not declared: {}", e.message()),
        }
        pause(&cluster.world).await;
    };
    let group = loop {
        match group_of(cluster, id) {
            Some(group) => break group,
            None => pause(&cluster.world).await,
        }
    };
    trace!(cluster.world, "store {name} is {id}, group {group}");
    cluster.ledger.declare(name, id, group);
}

fn group_of(cluster: &Cluster, id: StoreId) -> Option<GroupId> {
    cluster.hosts.members().find_map(|m| m.applied().stores.get(&id).map(|s| s.group))
}

/// Creates a store, writes to the store, and deletes the store while the writer is busy.
async fn short_lived(cluster: &Arc<Cluster>, number: u64) {
    let name = format!("brief-{number}");
    let largest = cluster.hosts.layout.stores.iter().map(|s| s.replicas).max().unwrap_or(1);
    let replicas = if cluster.world.chance(300) { 1 } else { largest.min(3) };
    declare(cluster, &name, replicas).await;
    let Some(id) = cluster.ledger.with(&name, |s| s.id) else { return };
    let writer = cluster.world.spawn(Writer::new(Arc::clone(cluster), name.clone()).run());
    cluster.world.pause(100, 4000).await;
    trace!(cluster.world, "delete {name}");
    cluster.ledger.with(&name, |s| s.closing = true);
    let end = Instant::now() + cluster.world.ms(ENDLESS_MS);
    loop {
        match any(cluster).delete(id.to_string(), OPERATOR.into()).await {
            Ok(true) => break,
            Ok(false) => {}
            Err(e) => trace!(cluster.world, "{name} is not deleted: {}", e.message()),
        }
        if Instant::now() >= end {
            cluster.world.fail(format!("store {name} is not deleted in time"));
            break;
        }
        pause(&cluster.world).await;
    }
    cluster.world.count("stores deleted");
    cluster.ledger.forget(&name);
    writer.abort();
}

/// A random full member of the cluster.
fn any_member(cluster: &Cluster) -> Option<NodeId> {
    let catalogue = cluster.hosts.coordinator()?.applied();
    let members = catalogue.nodes.iter().filter(|(_, n)| n.state == NodeState::Member).map(|(id, _)| *id);
    let members: Vec<NodeId> = members.collect();
    members.get(usize::try_from(cluster.world.below(members.len() as u64)).ok()?).copied()
}

/// Drains a node. The disk of a drained node returns as a new node. A drain taking too long is cancelled.
async fn drain(cluster: &Arc<Cluster>) {
    let Some(node) = any_member(cluster) else { return };
    trace!(cluster.world, "drain node {node}");
    let patience = Instant::now() + cluster.world.ms(DRAIN_MS);
    while Instant::now() < patience {
        match any(cluster).drain(node).await {
            Ok(true) => {
                cluster.world.count("drains");
                return;
            }
            Ok(false) => {}
            Err(e) => trace!(cluster.world, "node {node} is not drained: {}", e.message()),
        }
        pause(&cluster.world).await;
    }
    let end = Instant::now() + cluster.world.ms(ENDLESS_MS);
    while Instant::now() < end {
        let cancelled = any(cluster).cancel_drain(node).await;
        trace!(cluster.world, "cancel the drain of node {node}: {:?}", cancelled.as_ref().map_err(|e| e.message()));
        match cancelled {
            Ok(()) => {
                cluster.world.count("drains cancelled");
                return;
            }
            // The drain was completed meanwhile.
            Err(e) if e.code() == tonic::Code::FailedPrecondition => return,
            Err(_) => pause(&cluster.world).await,
        }
    }
    cluster.world.fail(format!("the drain of node {node} can neither end nor be cancelled"));
}

/// Takes a node down under the disruption grant, and releases the grant once the node has caught up.
async fn disrupt(cluster: &Arc<Cluster>) {
    let Some(node) = any_member(cluster) else { return };
    match any(cluster).acquire(node, OPERATOR.into(), GRANT_MS).await {
        Ok(true) => cluster.world.count("grants"),
        Ok(false) => return cluster.world.count("grants denied"),
        Err(_) => return,
    }
    trace!(cluster.world, "take node {node} down");
    if let Ok(remaining) = any(cluster).transfer_leaders(node).await {
        trace!(cluster.world, "node {node} keeps {remaining} leaderships");
    }
    let host = cluster.world.network.host_of(node).and_then(|number| cluster.hosts.get(number));
    if let Some(host) = host {
        host.crash();
        cluster.world.pause(100, 2000).await;
        host.start();
    }
    let end = Instant::now() + cluster.world.ms(GRANT_MS);
    while Instant::now() < end {
        if any(cluster).release(node, OPERATOR.into()).await.unwrap_or(false) {
            return;
        }
        pause(&cluster.world).await;
    }
}

/// Loses the disk of a node for good, and replaces the node by the blank disk of the same host.
async fn replace(cluster: &Arc<Cluster>) {
    let Some((node, host)) = expendable(cluster) else { return };
    let world = &cluster.world;
    cluster.set_losing(true);
    trace!(world, "node {node} loses the disk of n{}", host.number);
    world.count("lost disks");
    cluster.lose(&host, node);
    world.pause(10, 1000).await;
    host.start();
    admit(Arc::clone(cluster), host.number, false).await;
    replace_by_new(cluster, &host, node).await;
}

/// Replaces a node whose disk is lost by the new node of the same host, once the new node has an id.
async fn replace_by_new(cluster: &Arc<Cluster>, host: &Host, node: NodeId) {
    let world = &cluster.world;
    let end = Instant::now() + world.ms(ENDLESS_MS);
    let new = loop {
        match AdminPort::of(cluster, host.number).status().await {
            Ok(status) if status.lifecycle() == Lifecycle::Member && status.node_id != node.get() => {
                break NodeId::new(status.node_id);
            }
            Ok(_) | Err(_) if Instant::now() >= end => {
                return world.fail(format!("the host of node {node} does not join as a new node in time"));
            }
            Ok(_) | Err(_) => pause(world).await,
        }
    };
    while Instant::now() < end {
        match any(cluster).replace(node, new).await {
            Ok((true, _)) => return world.count("replaced nodes"),
            Ok((false, why)) => trace!(world, "node {node} is not replaced yet: {why}"),
            Err(e) => trace!(world, "node {node} is not replaced: {}", e.message()),
        }
        pause(world).await;
    }
    world.fail(format!("node {node} is not replaced by node {new} in time"));
}

/// Lets the disk of a node go back to an earlier copy. The peers must find this, and the node must return as a new node
/// that replaces the old node. Without the other holder of the latest entries, the node must not form a majority.
async fn roll_back(cluster: &Arc<Cluster>) {
    let Some((node, host)) = expendable(cluster) else { return };
    let world = &cluster.world;
    let Some(copy) = host.copy_disk() else { return };
    trace!(world, "copy the disk of n{} of node {node}", host.number);
    if !known_to_peers(cluster, &host, copy.floor()).await || !is_expendable(cluster, node) {
        return world.count("disk copies not restored");
    }
    cluster.set_losing(true);
    if world.chance(300) {
        host.crash();
        world.pause(10, 1000).await;
        host.start();
        world.pause(100, 2000).await;
    }
    let others: Vec<NodeId> = cluster.hosts.layout.numbers().filter(|n| *n != host.number).collect();
    let late = others.get(usize::try_from(world.below(others.len() as u64)).unwrap_or(0)).copied();
    let holders: Vec<&Arc<Host>> =
        cluster.hosts.all().iter().filter(|h| h.number != host.number && Some(h.number) != late).collect();
    // One node misses the latest entries. The nodes with the entries are down while the node returns.
    if let Some(late) = late {
        others.iter().chain([&host.number]).filter(|n| **n != late).for_each(|n| {
            world.network.cut(*n, late);
            world.network.cut(late, *n);
        });
        world.pause(500, 2000).await;
    }
    trace!(world, "the disk of n{} goes back", host.number);
    world.count("disks gone back");
    cluster.roll_back(&host, node, copy);
    holders.iter().for_each(|h| h.crash());
    if let Some(late) = late {
        world.network.heal(late);
    }
    host.start();
    world.pause(3000, 5000).await;
    holders.iter().for_each(|h| h.start());
    if world.options.plant == Some(PlantedDefect::TrustedDisks) {
        return;
    }
    replace_by_new(cluster, &host, node).await;
    world.count("reverted nodes replaced");
}

/// Waits until the synced records of all other nodes show that the disk has written since the copy.
async fn known_to_peers(cluster: &Cluster, host: &Host, copied: Floor) -> bool {
    let world = &cluster.world;
    let end = Instant::now() + world.ms(KNOWN_MS);
    let Some(disk) = host.member().map(|m| m.parts.registration.disk) else { return false };
    while Instant::now() < end {
        let later = |h: &Arc<Host>| {
            let seen = h.peer_starts().and_then(|starts| starts.synced(disk));
            seen.is_some_and(|seen| seen.floor > copied)
        };
        if cluster.hosts.all().iter().filter(|h| h.number != host.number).all(later) {
            return true;
        }
        pause(world).await;
    }
    false
}

/// A random node, and its host, whose disk can be lost: every group with a replica on the node has a settled membership of
/// at least three voters, and no replica that joins or leaves.
fn expendable(cluster: &Cluster) -> Option<(NodeId, Arc<Host>)> {
    let node = any_member(cluster)?;
    let host = cluster.world.network.host_of(node).and_then(|number| cluster.hosts.get(number))?;
    is_expendable(cluster, node).then(|| (node, Arc::clone(host)))
}

fn is_expendable(cluster: &Cluster, node: NodeId) -> bool {
    if cluster.is_endangered() {
        return false;
    }
    let Some(coordinator) = cluster.hosts.coordinator() else { return false };
    let catalogue = coordinator.applied();
    let settled = |status: &Status| {
        let configs = status.membership.membership().get_joint_config();
        configs.len() == 1 && configs.iter().all(|voters| voters.len() >= 3)
    };
    let of_group = |id: &GroupId| {
        let statuses = cluster.hosts.members().filter_map(|m| m.running(*id)).map(|r| r.group.status());
        statuses.filter(|s| s.leads).max_by_key(|s| s.term)
    };
    let here = catalogue.groups.iter().filter(|(_, g)| g.replicas.values().any(|r| r.node == node));
    // A joining replica may take the place of a lost replica.
    let whole = |group: &Group| group.replicas.values().all(|r| r.state == ReplicaState::Active);
    let safe = here.into_iter().all(|(id, group)| whole(group) && of_group(id).as_ref().is_some_and(settled));
    safe && settled(&coordinator.system.status())
}
