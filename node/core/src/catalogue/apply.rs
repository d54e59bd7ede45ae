//! Rules of the catalogue: execution of commands, determined by the catalogue and the command alone.

use super::{
    command::{CloseMode, Command, Declaration, Kind, NewStore, RULES, Registration},
    digest,
    model::{Catalogue, Grant, Group, GroupPhase, Node, NodeState, Replica, ReplicaState, Store, StoreState},
    outcome::{CatalogueOutcome, Refused, Touched},
};
use crate::ids::{GroupId, NodeId, PartitionId, ReplicaId, StoreId};
use std::collections::{BTreeMap, BTreeSet};

/// First replica id of store groups. The system group uses the node ids, which are smaller, as replica ids.
const FIRST_STORE_REPLICA: u64 = 1_000_000;

/// Error for a command under rules unknown to this version. The replica must stop.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("rules {0} of a command are not known to this version, which knows rules up to {RULES}; upgrade the node")]
pub struct ApplyError(pub u32);

type Answer = Result<CatalogueOutcome, Refused>;
type Rows = BTreeSet<Touched>;

/// Applies a command, and returns the outcome and the changed rows.
///
/// The rules in force in the catalogue judge every command. The number of the command only stops a version that does not
/// know the number; a command above the rules in force is refused.
///
/// # Errors
/// [`ApplyError`] if the command follows or introduces rules unknown to this version.
pub fn apply(
    catalogue: &mut Catalogue,
    command: &Command,
) -> Result<(CatalogueOutcome, BTreeSet<Touched>), ApplyError> {
    apply_knowing(RULES, catalogue, command)
}

/// Same as [`apply()`], by a version that knows the rules up to `newest`.
fn apply_knowing(
    newest: u32,
    catalogue: &mut Catalogue,
    command: &Command,
) -> Result<(CatalogueOutcome, BTreeSet<Touched>), ApplyError> {
    let known = |rules: u32| if (1..=newest).contains(&rules) { Ok(()) } else { Err(ApplyError(rules)) };
    known(command.rules)?;
    if let Kind::RaiseRules(rules) = &command.kind {
        known(rules.catalogue)?;
    }
    catalogue.clock_us = catalogue.clock_us.max(command.stamp_us);
    let mut touched = Rows::new();
    // Every rule completes its checks before the first change, so a refusal leaves all rows unchanged.
    let outcome = decide(catalogue, command, &mut touched).unwrap_or_else(CatalogueOutcome::Refused);
    if !touched.is_empty() {
        catalogue.version += 1;
    }
    touched.insert(Touched::Header);
    catalogue.digest = digest::next(catalogue.digest, command, &outcome);
    Ok((outcome, touched))
}

fn decide(c: &mut Catalogue, command: &Command, touched: &mut Rows) -> Answer {
    if let Kind::Init { cluster, first } = &command.kind {
        return init(c, *cluster, first, touched);
    }
    if c.cluster.is_none() {
        return Err(Refused::WrongCluster);
    }
    let in_force = c.rules.catalogue;
    if command.rules > in_force && !matches!(command.kind, Kind::RaiseRules(_)) {
        return Err(Refused::UpgradePending { rules: command.rules, in_force });
    }
    match &command.kind {
        Kind::Init { .. } => Err(Refused::WrongCluster),
        Kind::Register(registration) => register(c, registration, touched),
        Kind::Declare(declaration) => declare(c, declaration, touched),
        Kind::CreateStore(new) => create_undeclared(c, new, touched),
        Kind::RemoveStore(store) => remove_undeclared(c, *store, touched),
        Kind::GroupFormed(group) => formed(c, *group, touched),
        Kind::FormAgain { group, nodes } => form_again(c, *group, nodes, touched),
        Kind::Contradicted { group, index } => set_contradicted(c, *group, *index, touched),
        Kind::AddReplica { group, node } => add_replica(c, *group, *node, touched),
        Kind::ReplicaActive { group, replica } => set_replica(c, *group, *replica, ReplicaState::Active, touched),
        Kind::RetireReplica { group, replica } => set_replica(c, *group, *replica, ReplicaState::Leaving, touched),
        Kind::DropReplica { group, replica } => drop_replica(c, *group, *replica, touched),
        Kind::Close { store, mode, declared_by } => close(c, *store, *mode, declared_by, touched),
        Kind::StoreGone(store) => store_gone(c, *store, touched),
        Kind::Drain(node) => drain(c, *node, touched),
        Kind::CancelDrain(node) => cancel_drain(c, *node, touched),
        Kind::Drained(node) => remove(c, *node, false, touched),
        Kind::Replace { old, new } => replace(c, *old, *new, touched),
        Kind::Replaced(node) => remove(c, *node, true, touched),
        Kind::AcquireGrant { node, holder, ttl_us } => acquire(c, *node, holder, *ttl_us, touched),
        Kind::ReleaseGrant { node, holder } => {
            if c.grant.as_ref().is_some_and(|g| g.node == *node && g.holder == *holder) {
                c.grant = None;
                touched.insert(Touched::Header);
            }
            Ok(CatalogueOutcome::Done)
        }
        Kind::RaiseRules(rules) => {
            let raised = c.rules.max(*rules);
            if c.rules != raised {
                c.rules = raised;
                touched.insert(Touched::Header);
            }
            Ok(CatalogueOutcome::Done)
        }
    }
}

fn init(c: &mut Catalogue, cluster: crate::ids::ClusterId, first: &Registration, touched: &mut Rows) -> Answer {
    match c.cluster {
        // Repeated by the first node. Any other disk must join the cluster instead.
        Some(is) if is == cluster && c.node_of_disk(first.disk) == Some(NodeId::new(1)) => {
            Ok(CatalogueOutcome::Node(NodeId::new(1)))
        }
        Some(_) => Err(Refused::WrongCluster),
        None => {
            c.cluster = Some(cluster);
            (c.next_node, c.next_replica, c.next_group, c.next_partition) = (1, FIRST_STORE_REPLICA, 1, 1);
            register(c, first, touched)
        }
    }
}

fn register(c: &mut Catalogue, r: &Registration, touched: &mut Rows) -> Answer {
    if let Some(id) = c.node_of_disk(r.disk) {
        let Some(node) = c.nodes.get_mut(&id) else { return Err(Refused::BadNode(id)) };
        if let NodeState::Removed { forced } = node.state {
            return Ok(CatalogueOutcome::NodeRemoved { forced, node: id });
        }
        let new = Node {
            disk: r.disk,
            name: r.name.clone(),
            address: r.address.clone(),
            version: r.version.clone(),
            state: node.state,
        };
        if *node != new {
            *node = new;
            touched.insert(Touched::Node(id));
        }
        return Ok(CatalogueOutcome::Node(id));
    }
    let id = NodeId::new(c.next_node);
    c.next_node += 1;
    let node = Node {
        disk: r.disk,
        name: r.name.clone(),
        address: r.address.clone(),
        version: r.version.clone(),
        state: NodeState::Member,
    };
    c.nodes.insert(id, node);
    touched.insert(Touched::Node(id));
    Ok(CatalogueOutcome::Node(id))
}

fn declare(c: &mut Catalogue, d: &Declaration, touched: &mut Rows) -> Answer {
    check_number(d.replicas)?;
    let known = match d.adopt {
        Some(id) => {
            let store = c.stores.get(&id).filter(|s| s.name == d.name).ok_or(Refused::StoreNotFound(id))?;
            Some((id, store.clone()))
        }
        None => c.store_named(&d.name).map(|(id, s)| (id, s.clone())),
    };
    let Some((id, store)) = known else { return create(c, d, touched) };
    match store.state {
        StoreState::Removing => return Err(Refused::StoreRemoving(id)),
        StoreState::Retained { at_us } if d.adopt.is_none() => return Err(Refused::RetainedDataExists { id, at_us }),
        StoreState::Active if d.adopt.is_none() && store.declared_by != d.declared_by => {
            return Err(Refused::NameTaken { by: store.declared_by });
        }
        StoreState::Active | StoreState::Retained { .. } => {}
    }
    // Only one store per name may be active or being removed; any other store of the name must be retained.
    if d.adopt.is_some()
        && let Some((other, s)) = c.store_named(&d.name)
        && other != id
        && !matches!(s.state, StoreState::Retained { .. })
    {
        return Err(Refused::NameTaken { by: s.declared_by.clone() });
    }
    if d.replicas > store.replicas {
        check_replicas(c, d.replicas)?;
    }
    let new =
        Store { replicas: d.replicas, state: StoreState::Active, declared_by: d.declared_by.clone(), ..store.clone() };
    if new != store {
        c.stores.insert(id, new);
        touched.insert(Touched::Store(id));
    }
    Ok(CatalogueOutcome::Store(id))
}

/// Creates an undeclared store. A store with the name is returned if its settings are equal,
/// and is never changed.
fn create_undeclared(c: &mut Catalogue, new: &NewStore, touched: &mut Rows) -> Answer {
    let NewStore { name, replicas, minted } = new.clone();
    check_number(replicas)?;
    let Some((id, store)) = c.store_named(&name) else {
        return create(c, &Declaration { name, replicas, adopt: None, minted, declared_by: String::new() }, touched);
    };
    match store.state {
        StoreState::Removing => Err(Refused::StoreRemoving(id)),
        StoreState::Retained { at_us } => Err(Refused::RetainedDataExists { id, at_us }),
        StoreState::Active if store.is_declared() => Err(Refused::Declared { id, by: store.declared_by.clone() }),
        StoreState::Active if store.replicas == replicas => Ok(CatalogueOutcome::Store(id)),
        StoreState::Active => Err(Refused::StoreExists { id, replicas: store.replicas }),
    }
}

/// Removes an undeclared store. The data of a declared store is safe, also while the store is retained.
fn remove_undeclared(c: &mut Catalogue, id: StoreId, touched: &mut Rows) -> Answer {
    match c.stores.get(&id) {
        None if c.removed_stores.contains(&id) => Ok(CatalogueOutcome::Done),
        None => Err(Refused::StoreNotFound(id)),
        Some(store) if store.is_declared() => Err(Refused::Declared { id, by: store.declared_by.clone() }),
        Some(_) => close(c, id, CloseMode::Delete, "", touched),
    }
}

/// Creates a store with partition, group and replicas in one step. The replicas are placed on the nodes with the fewest
/// replicas; among equals, the lowest id wins.
fn create(c: &mut Catalogue, d: &Declaration, touched: &mut Rows) -> Answer {
    check_replicas(c, d.replicas)?;
    // A store id is permanent, so a minted id that is in use, or was in use, must not be given to a new store.
    if let Some(other) = c.stores.get(&d.minted) {
        return Err(Refused::NameTaken { by: other.declared_by.clone() });
    }
    if c.removed_stores.contains(&d.minted) {
        return Err(Refused::StoreNotFound(d.minted));
    }
    let nodes: Vec<NodeId> = c.by_load().into_iter().take(d.replicas as usize).collect();
    let (partition, group) = create_group(c, d.minted, &nodes)?;
    c.stores.insert(
        d.minted,
        Store {
            name: d.name.clone(),
            replicas: d.replicas,
            state: StoreState::Active,
            partition,
            group,
            declared_by: d.declared_by.clone(),
        },
    );
    touched.extend([Touched::Group(group), Touched::Store(d.minted)]);
    Ok(CatalogueOutcome::Store(d.minted))
}

/// Creates a group for a store, with a new partition and a new replica on each of `nodes`.
fn create_group(c: &mut Catalogue, store: StoreId, nodes: &[NodeId]) -> Result<(PartitionId, GroupId), Refused> {
    let (partition, group) = (PartitionId::new(c.next_partition), GroupId::new(c.next_group));
    let place = |(id, node): (u64, &NodeId)| (ReplicaId::new(id), Replica { node: *node, state: ReplicaState::Active });
    let replicas: BTreeMap<ReplicaId, Replica> = (c.next_replica..).zip(nodes).map(place).collect();
    let initial: BTreeSet<ReplicaId> = replicas.keys().copied().collect();
    let many = initial.len() as u64;
    // Chosen in rotation, so that the leaders of many new groups are spread over the nodes.
    let turn = group.get().checked_rem(many).and_then(|turn| usize::try_from(turn).ok()).unwrap_or(0);
    let initializer = *initial.iter().nth(turn).ok_or(Refused::InvalidReplicas(0))?;
    c.next_group += 1;
    c.next_partition += 1;
    c.next_replica += many;
    let phase = GroupPhase::Creating { initial, initializer };
    c.groups.insert(group, Group { store, partition, phase, contradicted: None, replicas });
    Ok((partition, group))
}

/// Gives the store of a group that was never formed a new partition and group.
///
/// Nothing acknowledged is lost: a replica accepts appends only after its node has applied the command that records the
/// group as formed, and the command is refused for the old group from now on.
fn form_again(c: &mut Catalogue, old: GroupId, nodes: &BTreeSet<NodeId>, touched: &mut Rows) -> Answer {
    let record = c.groups.get(&old).filter(|g| g.phase != GroupPhase::Formed).ok_or(Refused::BadReplica(old))?;
    let id = record.store;
    let store = c.stores.get(&id).filter(|s| s.state != StoreState::Removing);
    let store = store.cloned().ok_or(Refused::StoreRemoving(id))?;
    if let Some(node) = nodes.iter().find(|n| c.nodes.get(n).is_none_or(|n| n.state != NodeState::Member)) {
        return Err(Refused::BadNode(*node));
    }
    let have = u32::try_from(nodes.len()).unwrap_or(u32::MAX);
    if have != store.replicas {
        return Err(Refused::NotEnoughNodes { wanted: store.replicas, have });
    }
    let nodes: Vec<NodeId> = nodes.iter().copied().collect();
    let (partition, group) = create_group(c, id, &nodes)?;
    c.groups.remove(&old);
    c.stores.insert(id, Store { partition, group, ..store });
    touched.extend([Touched::Group(old), Touched::Group(group), Touched::Store(id)]);
    Ok(CatalogueOutcome::Store(id))
}

/// Checks that a store may have this number of replicas.
fn check_number(replicas: u32) -> Result<(), Refused> {
    if matches!(replicas, 1 | 3 | 5 | 7) { Ok(()) } else { Err(Refused::InvalidReplicas(replicas)) }
}

fn check_replicas(c: &Catalogue, replicas: u32) -> Result<(), Refused> {
    check_number(replicas)?;
    let have = u32::try_from(c.members().count()).unwrap_or(u32::MAX);
    if have < replicas { Err(Refused::NotEnoughNodes { wanted: replicas, have }) } else { Ok(()) }
}

fn formed(c: &mut Catalogue, group: GroupId, touched: &mut Rows) -> Answer {
    let g = c.groups.get_mut(&group).ok_or(Refused::BadReplica(group))?;
    if g.phase != GroupPhase::Formed {
        g.phase = GroupPhase::Formed;
        touched.insert(Touched::Group(group));
    }
    Ok(CatalogueOutcome::Done)
}

fn set_contradicted(c: &mut Catalogue, group: GroupId, index: Option<u64>, touched: &mut Rows) -> Answer {
    let g = c.groups.get_mut(&group).ok_or(Refused::BadReplica(group))?;
    let index = index.filter(|index| *index > 0);
    if g.contradicted != index {
        g.contradicted = index;
        touched.insert(Touched::Group(group));
    }
    Ok(CatalogueOutcome::Done)
}

fn add_replica(c: &mut Catalogue, group: GroupId, node: NodeId, touched: &mut Rows) -> Answer {
    if c.nodes.get(&node).is_none_or(|n| n.state != NodeState::Member) {
        return Err(Refused::BadNode(node));
    }
    let g = c.groups.get_mut(&group).ok_or(Refused::BadReplica(group))?;
    if let Some(replica) = g.on(node) {
        return Ok(CatalogueOutcome::Replica(replica));
    }
    let replica = ReplicaId::new(c.next_replica);
    c.next_replica += 1;
    g.replicas.insert(replica, Replica { node, state: ReplicaState::Joining });
    touched.insert(Touched::Group(group));
    Ok(CatalogueOutcome::Replica(replica))
}

fn set_replica(
    c: &mut Catalogue,
    group: GroupId,
    replica: ReplicaId,
    state: ReplicaState,
    touched: &mut Rows,
) -> Answer {
    let g = c.groups.get_mut(&group).ok_or(Refused::BadReplica(group))?;
    let r = g.replicas.get_mut(&replica).ok_or(Refused::BadReplica(group))?;
    if r.state == ReplicaState::Leaving && state != ReplicaState::Leaving {
        return Err(Refused::BadReplica(group));
    }
    if r.state != state {
        r.state = state;
        touched.insert(Touched::Group(group));
    }
    Ok(CatalogueOutcome::Done)
}

fn drop_replica(c: &mut Catalogue, group: GroupId, replica: ReplicaId, touched: &mut Rows) -> Answer {
    let Some(g) = c.groups.get_mut(&group) else { return Ok(CatalogueOutcome::Done) };
    match g.replicas.get(&replica) {
        None => {}
        Some(r) if r.state == ReplicaState::Leaving => {
            g.replicas.remove(&replica);
            touched.insert(Touched::Group(group));
        }
        Some(_) => return Err(Refused::BadReplica(group)),
    }
    Ok(CatalogueOutcome::Done)
}

fn close(c: &mut Catalogue, id: StoreId, mode: CloseMode, declared_by: &str, touched: &mut Rows) -> Answer {
    let clock = c.clock_us;
    let Some(store) = c.stores.get(&id) else { return Ok(CatalogueOutcome::Done) };
    // The check also protects retained data: an object with the same name must not be able to remove the data.
    if !declared_by.is_empty() && store.declared_by != declared_by {
        return Err(Refused::NameTaken { by: store.declared_by.clone() });
    }
    let state = match (mode, store.state) {
        (CloseMode::Retain, StoreState::Active) => StoreState::Retained { at_us: clock },
        (CloseMode::Delete, StoreState::Active | StoreState::Retained { .. }) => StoreState::Removing,
        (CloseMode::Retain, now @ (StoreState::Retained { .. } | StoreState::Removing))
        | (CloseMode::Delete, now @ StoreState::Removing) => now,
    };
    let group = store.group;
    if state != store.state {
        c.stores.set_state(id, state);
        touched.insert(Touched::Store(id));
    }
    if state == StoreState::Removing
        && let Some(record) = c.groups.get_mut(&group)
    {
        record.replicas.values_mut().for_each(|r| r.state = ReplicaState::Leaving);
        touched.insert(Touched::Group(group));
    }
    Ok(CatalogueOutcome::Done)
}

fn store_gone(c: &mut Catalogue, id: StoreId, touched: &mut Rows) -> Answer {
    let Some(store) = c.stores.get(&id) else { return Ok(CatalogueOutcome::Done) };
    let group = store.group;
    let empty = c.groups.get(&group).is_none_or(|g| g.replicas.is_empty());
    if store.state != StoreState::Removing || !empty {
        return Err(Refused::BadReplica(group));
    }
    c.stores.remove(id);
    c.groups.remove(&group);
    c.removed_stores.insert(id);
    touched.extend([Touched::Store(id), Touched::Group(group), Touched::RemovedStore(id)]);
    Ok(CatalogueOutcome::Done)
}

fn drain(c: &mut Catalogue, id: NodeId, touched: &mut Rows) -> Answer {
    let node = c.nodes.get_mut(&id).ok_or(Refused::BadNode(id))?;
    match node.state {
        NodeState::Member => {
            node.state = NodeState::Draining;
            touched.insert(Touched::Node(id));
        }
        NodeState::Draining | NodeState::Removed { .. } => {}
        NodeState::Replacing { .. } => return Err(Refused::BadNode(id)),
    }
    Ok(CatalogueOutcome::Done)
}

fn cancel_drain(c: &mut Catalogue, id: NodeId, touched: &mut Rows) -> Answer {
    let node = c.nodes.get_mut(&id).ok_or(Refused::BadNode(id))?;
    match node.state {
        NodeState::Draining => {
            node.state = NodeState::Member;
            touched.insert(Touched::Node(id));
        }
        NodeState::Member => {}
        NodeState::Replacing { .. } | NodeState::Removed { .. } => return Err(Refused::BadNode(id)),
    }
    Ok(CatalogueOutcome::Done)
}

/// Removes a node for good; refused while any group names the node.
fn remove(c: &mut Catalogue, id: NodeId, forced: bool, touched: &mut Rows) -> Answer {
    let named =
        c.groups.iter().find(|(_, g)| g.replicas.values().any(|r| r.node == id && r.state != ReplicaState::Leaving));
    if let Some((group, _)) = named {
        return Err(Refused::StillNamed(*group));
    }
    let node = c.nodes.get_mut(&id).ok_or(Refused::BadNode(id))?;
    match (node.state, forced) {
        (NodeState::Draining, false) | (NodeState::Replacing { .. }, true) => {
            node.state = NodeState::Removed { forced };
            touched.insert(Touched::Node(id));
            Ok(CatalogueOutcome::Done)
        }
        (NodeState::Removed { .. }, _) => Ok(CatalogueOutcome::Done),
        (NodeState::Member | NodeState::Draining | NodeState::Replacing { .. }, _) => Err(Refused::BadNode(id)),
    }
}

fn replace(c: &mut Catalogue, old: NodeId, new: Option<NodeId>, touched: &mut Rows) -> Answer {
    if let Some(new) = new
        && (new == old || c.nodes.get(&new).is_none_or(|n| n.state != NodeState::Member))
    {
        return Err(Refused::BadNode(new));
    }
    let running = c.nodes.iter().find(|(id, n)| **id != old && matches!(n.state, NodeState::Replacing { .. }));
    if let Some((id, _)) = running {
        return Err(Refused::BadNode(*id));
    }
    let node = c.nodes.get_mut(&old).ok_or(Refused::BadNode(old))?;
    match node.state {
        NodeState::Member | NodeState::Draining => {
            node.state = NodeState::Replacing { by: new };
            touched.insert(Touched::Node(old));
        }
        // A successor may be named or changed while the replacement is in progress.
        NodeState::Replacing { by } if new.is_some() && by != new => {
            node.state = NodeState::Replacing { by: new };
            touched.insert(Touched::Node(old));
        }
        NodeState::Replacing { .. } | NodeState::Removed { .. } => {}
    }
    Ok(CatalogueOutcome::Done)
}

fn acquire(c: &mut Catalogue, node: NodeId, holder: &str, ttl_us: u64, touched: &mut Rows) -> Answer {
    if c.nodes.get(&node).is_none_or(|n| matches!(n.state, NodeState::Removed { .. })) {
        return Err(Refused::BadNode(node));
    }
    if let Some(grant) = c.live_grant(c.clock_us)
        && (grant.node != node || grant.holder != holder)
    {
        return Err(Refused::GrantHeld { node: grant.node, holder: grant.holder.clone() });
    }
    c.grant = Some(Grant { node, holder: holder.to_owned(), until_us: c.clock_us.saturating_add(ttl_us) });
    touched.insert(Touched::Header);
    Ok(CatalogueOutcome::Done)
}

#[cfg(test)]
mod tests;
