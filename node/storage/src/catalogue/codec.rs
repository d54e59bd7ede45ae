//! Encodes and decodes commands, answers and rows of the catalogue. Decoding never panics: the error names
//! the faulty part.

use bytes::Bytes;
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};
use taffrail_core::{
    catalogue::{
        Catalogue, CatalogueOutcome, CloseMode, Command, Declaration, Grant, Group, GroupPhase, Kind, NewStore, Node,
        NodeState, RULES, Refused, Registration, Replica, ReplicaState, Rules, Store, StoreState, Touched,
    },
    ids::{ClusterId, Digest, DiskId, GroupId, NodeId, PartitionId, ReplicaId, StoreId},
    names::StoreName,
};
use taffrail_proto::storage as pb;

const FORMAT: u32 = 1;

/// Failure to decode a command, an answer or a row.
#[derive(Debug, thiserror::Error)]
#[error("catalogue, {what}: {why}")]
pub struct Error {
    what: &'static str,
    why: String,
}

fn error(what: &'static str, why: impl ToString) -> Error {
    Error { what, why: why.to_string() }
}

fn uuid_bytes(bytes: [u8; 16]) -> Bytes {
    Bytes::copy_from_slice(&bytes)
}

fn disk(what: &'static str, bytes: &[u8]) -> Result<DiskId, Error> {
    DiskId::from_slice(bytes).ok_or_else(|| error(what, "a disk id has 16 bytes"))
}

fn store(what: &'static str, bytes: &[u8]) -> Result<StoreId, Error> {
    StoreId::from_slice(bytes).ok_or_else(|| error(what, "a store id has 16 bytes"))
}

fn cluster(what: &'static str, bytes: &[u8]) -> Result<ClusterId, Error> {
    ClusterId::from_slice(bytes).ok_or_else(|| error(what, "a cluster id has 16 bytes"))
}

fn name(what: &'static str, namespace: &str, name: &str) -> Result<StoreName, Error> {
    StoreName::new(namespace, name).map_err(|e| error(what, e))
}

fn registration_to(r: &Registration) -> pb::RegisterNode {
    pb::RegisterNode {
        disk: uuid_bytes(r.disk.to_bytes()),
        name: r.name.clone(),
        address: r.address.clone(),
        version: r.version.clone(),
    }
}

fn registration_from(what: &'static str, r: Option<pb::RegisterNode>) -> Result<Registration, Error> {
    let r = r.ok_or_else(|| error(what, "the registration is missing"))?;
    Ok(Registration { disk: disk(what, &r.disk)?, name: r.name, address: r.address, version: r.version })
}

/// Encodes a command for the log.
#[must_use]
pub fn encode_command(command: &Command) -> Bytes {
    use pb::catalogue_command::Kind as K;
    let of = |group: &GroupId, replica: &ReplicaId| pb::ReplicaOf { group: group.get(), replica: replica.get() };
    let kind = match &command.kind {
        Kind::Init { cluster, first } => {
            K::Init(pb::InitCluster { cluster: uuid_bytes(cluster.to_bytes()), first: Some(registration_to(first)) })
        }
        Kind::Register(r) => K::Register(registration_to(r)),
        Kind::Declare(d) => K::Declare(pb::DeclareStore {
            namespace: d.name.namespace().to_owned(),
            name: d.name.name().to_owned(),
            replicas: d.replicas,
            adopt: d.adopt.map(|id| uuid_bytes(id.to_bytes())).unwrap_or_default(),
            minted: uuid_bytes(d.minted.to_bytes()),
            declared_by: d.declared_by.clone(),
        }),
        Kind::CreateStore(new) => K::CreateStore(pb::CreateStore {
            namespace: new.name.namespace().to_owned(),
            name: new.name.name().to_owned(),
            replicas: new.replicas,
            minted: uuid_bytes(new.minted.to_bytes()),
        }),
        Kind::RemoveStore(id) => K::RemoveStore(uuid_bytes(id.to_bytes())),
        Kind::GroupFormed(g) => K::GroupFormed(g.get()),
        Kind::AddReplica { group, node } => K::AddReplica(pb::AddReplica { group: group.get(), node: node.get() }),
        Kind::ReplicaActive { group, replica } => K::ReplicaActive(of(group, replica)),
        Kind::RetireReplica { group, replica } => K::RetireReplica(of(group, replica)),
        Kind::DropReplica { group, replica } => K::DropReplica(of(group, replica)),
        Kind::Close { store, mode, declared_by } => K::Close(pb::CloseStore {
            store: uuid_bytes(store.to_bytes()),
            delete: *mode == CloseMode::Delete,
            declared_by: declared_by.clone(),
        }),
        Kind::StoreGone(id) => K::StoreGone(uuid_bytes(id.to_bytes())),
        Kind::Drain(n) => K::Drain(n.get()),
        Kind::CancelDrain(n) => K::CancelDrain(n.get()),
        Kind::Drained(n) => K::Drained(n.get()),
        Kind::Replace { old, new } => K::Replace(pb::ReplaceNode { old: old.get(), new: new.map_or(0, NodeId::get) }),
        Kind::Replaced(n) => K::Replaced(n.get()),
        Kind::AcquireGrant { node, holder, ttl_us } => {
            K::AcquireGrant(pb::GrantOf { node: node.get(), holder: holder.clone(), ttl_us: *ttl_us })
        }
        Kind::ReleaseGrant { node, holder } => {
            K::ReleaseGrant(pb::GrantOf { node: node.get(), holder: holder.clone(), ttl_us: 0 })
        }
        Kind::FormAgain { group, nodes } => {
            K::FormAgain(pb::FormAgain { group: group.get(), nodes: nodes.iter().map(|n| n.get()).collect() })
        }
        Kind::Contradicted { group, index } => {
            K::Contradicted(pb::Contradicted { group: group.get(), index: index.unwrap_or(0) })
        }
        Kind::RaiseRules(rules) => K::RaiseRules(pb::RaiseRules { catalogue: rules.catalogue, stores: rules.stores }),
    };
    pb::CatalogueCommand { rules: command.rules, stamp_us: command.stamp_us, kind: Some(kind) }.encode_to_vec().into()
}

/// Decodes a command from the log. An unknown kind is an error, and is never skipped.
///
/// # Errors
/// The error names the faulty part.
pub fn decode_command(bytes: Bytes) -> Result<Command, Error> {
    use pb::catalogue_command::Kind as K;
    const WHAT: &str = "command";
    let command = pb::CatalogueCommand::decode(bytes).map_err(|e| error(WHAT, e))?;
    let kind = match command.kind.ok_or_else(|| error(WHAT, "a kind that this version does not know"))? {
        K::Init(i) => Kind::Init { cluster: cluster(WHAT, &i.cluster)?, first: registration_from(WHAT, i.first)? },
        K::Register(r) => Kind::Register(registration_from(WHAT, Some(r))?),
        K::Declare(d) => Kind::Declare(Declaration {
            name: name(WHAT, &d.namespace, &d.name)?,
            replicas: d.replicas,
            adopt: if d.adopt.is_empty() { None } else { Some(store(WHAT, &d.adopt)?) },
            minted: store(WHAT, &d.minted)?,
            declared_by: d.declared_by,
        }),
        K::CreateStore(new) => Kind::CreateStore(NewStore {
            name: name(WHAT, &new.namespace, &new.name)?,
            replicas: new.replicas,
            minted: store(WHAT, &new.minted)?,
        }),
        K::RemoveStore(id) => Kind::RemoveStore(store(WHAT, &id)?),
        K::GroupFormed(g) => Kind::GroupFormed(GroupId::new(g)),
        K::AddReplica(a) => Kind::AddReplica { group: GroupId::new(a.group), node: NodeId::new(a.node) },
        K::ReplicaActive(r) => Kind::ReplicaActive { group: GroupId::new(r.group), replica: ReplicaId::new(r.replica) },
        K::RetireReplica(r) => Kind::RetireReplica { group: GroupId::new(r.group), replica: ReplicaId::new(r.replica) },
        K::DropReplica(r) => Kind::DropReplica { group: GroupId::new(r.group), replica: ReplicaId::new(r.replica) },
        K::Close(c) => Kind::Close {
            store: store(WHAT, &c.store)?,
            mode: if c.delete { CloseMode::Delete } else { CloseMode::Retain },
            declared_by: c.declared_by,
        },
        K::StoreGone(id) => Kind::StoreGone(store(WHAT, &id)?),
        K::Drain(n) => Kind::Drain(NodeId::new(n)),
        K::CancelDrain(n) => Kind::CancelDrain(NodeId::new(n)),
        K::Drained(n) => Kind::Drained(NodeId::new(n)),
        K::Replace(r) => Kind::Replace { old: NodeId::new(r.old), new: (r.new != 0).then(|| NodeId::new(r.new)) },
        K::Replaced(n) => Kind::Replaced(NodeId::new(n)),
        K::AcquireGrant(g) => Kind::AcquireGrant { node: NodeId::new(g.node), holder: g.holder, ttl_us: g.ttl_us },
        K::ReleaseGrant(g) => Kind::ReleaseGrant { node: NodeId::new(g.node), holder: g.holder },
        K::FormAgain(f) => {
            Kind::FormAgain { group: GroupId::new(f.group), nodes: f.nodes.into_iter().map(NodeId::new).collect() }
        }
        K::Contradicted(m) => {
            Kind::Contradicted { group: GroupId::new(m.group), index: (m.index != 0).then_some(m.index) }
        }
        K::RaiseRules(r) => Kind::RaiseRules(Rules { catalogue: r.catalogue, stores: r.stores }),
    };
    Ok(Command { rules: command.rules, stamp_us: command.stamp_us, kind })
}

/// Encodes an answer for the wire.
#[must_use]
pub fn encode_outcome(outcome: &CatalogueOutcome) -> Bytes {
    use pb::catalogue_answer::Kind as K;
    let kind = match outcome {
        CatalogueOutcome::Done => K::Done(pb::Blank {}),
        CatalogueOutcome::Node(n) => K::Node(n.get()),
        CatalogueOutcome::NodeRemoved { forced, node } => {
            K::NodeRemoved(pb::RemovedNode { forced: *forced, node: node.get() })
        }
        CatalogueOutcome::Store(id) => K::Store(uuid_bytes(id.to_bytes())),
        CatalogueOutcome::Replica(r) => K::Replica(r.get()),
        CatalogueOutcome::Refused(r) => K::Refused(pb::RefusedCommand { kind: Some(refused_to(r)) }),
    };
    pb::CatalogueAnswer { kind: Some(kind) }.encode_to_vec().into()
}

fn refused_to(refused: &Refused) -> pb::refused_command::Kind {
    use pb::refused_command::Kind as K;
    match refused {
        Refused::WrongCluster => K::WrongCluster(pb::Blank {}),
        Refused::NotEnoughNodes { wanted, have } => K::NotEnoughNodes(pb::NotEnough { wanted: *wanted, have: *have }),
        Refused::RetainedDataExists { id, at_us } => {
            K::RetainedDataExists(pb::Retained { store: uuid_bytes(id.to_bytes()), at_us: *at_us })
        }
        Refused::NameTaken { by } => K::NameTaken(by.clone()),
        Refused::StoreNotFound(id) => K::StoreNotFound(uuid_bytes(id.to_bytes())),
        Refused::StoreRemoving(id) => K::StoreRemoving(uuid_bytes(id.to_bytes())),
        Refused::InvalidReplicas(n) => K::InvalidReplicas(*n),
        Refused::BadNode(n) => K::BadNode(n.get()),
        Refused::BadReplica(g) => K::BadReplica(g.get()),
        Refused::StillNamed(g) => K::StillNamed(g.get()),
        Refused::GrantHeld { node, holder } => {
            K::GrantHeld(pb::GrantOf { node: node.get(), holder: holder.clone(), ttl_us: 0 })
        }
        Refused::StoreExists { id, replicas } => {
            K::StoreExists(pb::StoreOf { store: uuid_bytes(id.to_bytes()), replicas: *replicas })
        }
        Refused::Declared { id, by } => {
            K::Declared(pb::DeclaredBy { store: uuid_bytes(id.to_bytes()), declared_by: by.clone() })
        }
        Refused::UpgradePending { rules, in_force } => {
            K::UpgradePending(pb::RulesPending { rules: *rules, in_force: *in_force })
        }
    }
}

/// Decodes an answer from the wire.
///
/// # Errors
/// The error names the faulty part.
pub fn decode_outcome(bytes: Bytes) -> Result<CatalogueOutcome, Error> {
    use pb::{catalogue_answer::Kind as K, refused_command::Kind as R};
    const WHAT: &str = "answer";
    let answer = pb::CatalogueAnswer::decode(bytes).map_err(|e| error(WHAT, e))?;
    let unknown = || error(WHAT, "a kind that this version does not know");
    Ok(match answer.kind.ok_or_else(unknown)? {
        K::Done(_) => CatalogueOutcome::Done,
        K::Node(n) => CatalogueOutcome::Node(NodeId::new(n)),
        K::NodeRemoved(r) => CatalogueOutcome::NodeRemoved { forced: r.forced, node: NodeId::new(r.node) },
        K::Store(id) => CatalogueOutcome::Store(store(WHAT, &id)?),
        K::Replica(r) => CatalogueOutcome::Replica(ReplicaId::new(r)),
        K::Refused(r) => CatalogueOutcome::Refused(match r.kind.ok_or_else(unknown)? {
            R::WrongCluster(_) => Refused::WrongCluster,
            R::NotEnoughNodes(n) => Refused::NotEnoughNodes { wanted: n.wanted, have: n.have },
            R::RetainedDataExists(r) => Refused::RetainedDataExists { id: store(WHAT, &r.store)?, at_us: r.at_us },
            R::NameTaken(by) => Refused::NameTaken { by },
            R::StoreNotFound(id) => Refused::StoreNotFound(store(WHAT, &id)?),
            R::StoreRemoving(id) => Refused::StoreRemoving(store(WHAT, &id)?),
            R::InvalidReplicas(n) => Refused::InvalidReplicas(n),
            R::BadNode(n) => Refused::BadNode(NodeId::new(n)),
            R::BadReplica(g) => Refused::BadReplica(GroupId::new(g)),
            R::StillNamed(g) => Refused::StillNamed(GroupId::new(g)),
            R::GrantHeld(g) => Refused::GrantHeld { node: NodeId::new(g.node), holder: g.holder },
            R::StoreExists(s) => Refused::StoreExists { id: store(WHAT, &s.store)?, replicas: s.replicas },
            R::Declared(d) => Refused::Declared { id: store(WHAT, &d.store)?, by: d.declared_by },
            R::UpgradePending(r) => Refused::UpgradePending { rules: r.rules, in_force: r.in_force },
        }),
    })
}

/// First byte of a catalogue row's key.
#[derive(Clone, Copy)]
#[repr(u8)]
enum RowKind {
    Header = 1,
    Node = 2,
    Store = 3,
    Group = 4,
    RemovedStore = 5,
}

/// Kind and id of a row's key, and the row's value, or `None` for a deleted row.
pub(crate) type Row = (u8, Vec<u8>, Option<Vec<u8>>);

/// Returns the current rows of the touched parts of the catalogue.
#[must_use]
pub(crate) fn rows(c: &Catalogue, touched: &BTreeSet<Touched>) -> Vec<Row> {
    touched
        .iter()
        .map(|t| match t {
            Touched::Header => (RowKind::Header as u8, Vec::new(), Some(header_to(c).encode_to_vec())),
            Touched::Node(id) => {
                let value = c.nodes.get(id).map(|n| node_to(*id, n).encode_to_vec());
                (RowKind::Node as u8, id.get().to_be_bytes().to_vec(), value)
            }
            Touched::Store(id) => {
                let value = c.stores.get(id).map(|s| store_to(*id, s).encode_to_vec());
                (RowKind::Store as u8, id.to_bytes().to_vec(), value)
            }
            Touched::Group(id) => {
                let value = c.groups.get(id).map(|g| group_to(*id, g).encode_to_vec());
                (RowKind::Group as u8, id.get().to_be_bytes().to_vec(), value)
            }
            Touched::RemovedStore(id) => {
                let row = pb::RemovedStoreRow { id: uuid_bytes(id.to_bytes()) };
                let value = c.removed_stores.contains(id).then(|| row.encode_to_vec());
                (RowKind::RemovedStore as u8, id.to_bytes().to_vec(), value)
            }
        })
        .collect()
}

/// Returns all rows of the catalogue.
#[cfg(test)]
fn all_rows(c: &Catalogue) -> Vec<Row> {
    let mut touched: BTreeSet<Touched> = [Touched::Header].into();
    touched.extend(c.nodes.keys().map(|id| Touched::Node(*id)));
    touched.extend(c.stores.keys().map(|id| Touched::Store(*id)));
    touched.extend(c.groups.keys().map(|id| Touched::Group(*id)));
    touched.extend(c.removed_stores.iter().map(|id| Touched::RemovedStore(*id)));
    rows(c, &touched)
}

/// Builds the catalogue from kind and value of all its rows.
///
/// # Errors
/// The error names the row and the faulty part.
pub(crate) fn from_rows<'a>(rows: impl Iterator<Item = (u8, &'a [u8])>) -> Result<Catalogue, Error> {
    let mut c = Catalogue::default();
    for (kind, value) in rows {
        match kind {
            k if k == RowKind::Header as u8 => header_from(&mut c, value)?,
            k if k == RowKind::Node as u8 => {
                let (id, node) = node_from(value)?;
                c.nodes.insert(id, node);
            }
            k if k == RowKind::Store as u8 => {
                let (id, store) = store_from(value)?;
                c.stores.insert(id, store);
            }
            k if k == RowKind::Group as u8 => {
                let (id, group) = group_from(value)?;
                c.groups.insert(id, group);
            }
            k if k == RowKind::RemovedStore as u8 => {
                const WHAT: &str = "removed store row";
                let row = pb::RemovedStoreRow::decode(value).map_err(|e| error(WHAT, e))?;
                c.removed_stores.insert(store(WHAT, &row.id)?);
            }
            other => return Err(error("row", format!("kind {other} is not known to this version"))),
        }
    }
    Ok(c)
}

fn header_to(c: &Catalogue) -> pb::CatalogueHeader {
    pb::CatalogueHeader {
        format: FORMAT,
        cluster: c.cluster.map(|id| uuid_bytes(id.to_bytes())).unwrap_or_default(),
        version: c.version,
        clock_us: c.clock_us,
        digest: Bytes::copy_from_slice(&c.digest.0),
        next_node: c.next_node,
        next_replica: c.next_replica,
        next_group: c.next_group,
        next_partition: c.next_partition,
        grant: c.grant.as_ref().map(|g| pb::GrantRow {
            node: g.node.get(),
            holder: g.holder.clone(),
            until_us: g.until_us,
        }),
        rules: beyond_first(c.rules.catalogue),
        store_rules: beyond_first(c.rules.stores),
    }
}

/// Returns the number of rules as stored in the header, 0 for the first rules: headers without the number stay valid.
fn beyond_first(rules: u32) -> u32 {
    if rules > 1 { rules } else { 0 }
}

fn header_from(c: &mut Catalogue, value: &[u8]) -> Result<(), Error> {
    const WHAT: &str = "header row";
    let h = pb::CatalogueHeader::decode(value).map_err(|e| error(WHAT, e))?;
    if h.format != FORMAT {
        return Err(error(WHAT, format!("format {} is not known to this version", h.format)));
    }
    if h.rules > RULES {
        return Err(error(WHAT, format!("rules {} are not known to this version; upgrade this node", h.rules)));
    }
    // Rows without the numbers follow the first rules.
    c.rules = Rules { catalogue: h.rules, stores: h.store_rules }.max(Rules::FIRST);
    c.cluster = if h.cluster.is_empty() { None } else { Some(cluster(WHAT, &h.cluster)?) };
    c.version = h.version;
    c.clock_us = h.clock_us;
    c.digest = h.digest.as_ref().try_into().map(Digest).map_err(|_| error(WHAT, "a digest has 32 bytes"))?;
    (c.next_node, c.next_replica) = (h.next_node, h.next_replica);
    (c.next_group, c.next_partition) = (h.next_group, h.next_partition);
    c.grant = h.grant.map(|g| Grant { node: NodeId::new(g.node), holder: g.holder, until_us: g.until_us });
    Ok(())
}

fn node_to(id: NodeId, n: &Node) -> pb::NodeRow {
    use pb::node_row::State as S;
    let registration =
        Registration { disk: n.disk, name: n.name.clone(), address: n.address.clone(), version: n.version.clone() };
    let state = match n.state {
        NodeState::Member => S::Member(pb::Blank {}),
        NodeState::Draining => S::Draining(pb::Blank {}),
        NodeState::Replacing { by } => S::ReplacingBy(by.map_or(0, NodeId::get)),
        NodeState::Removed { forced } => S::Removed(forced),
    };
    pb::NodeRow { id: id.get(), registration: Some(registration_to(&registration)), state: Some(state) }
}

fn node_from(value: &[u8]) -> Result<(NodeId, Node), Error> {
    use pb::node_row::State as S;
    const WHAT: &str = "node row";
    let row = pb::NodeRow::decode(value).map_err(|e| error(WHAT, e))?;
    let r = registration_from(WHAT, row.registration)?;
    let state = match row.state.ok_or_else(|| error(WHAT, "a state that this version does not know"))? {
        S::Member(_) => NodeState::Member,
        S::Draining(_) => NodeState::Draining,
        S::ReplacingBy(n) => NodeState::Replacing { by: (n != 0).then(|| NodeId::new(n)) },
        S::Removed(forced) => NodeState::Removed { forced },
    };
    Ok((NodeId::new(row.id), Node { disk: r.disk, name: r.name, address: r.address, version: r.version, state }))
}

fn store_to(id: StoreId, s: &Store) -> pb::StoreRow {
    use pb::store_row::State as S;
    let state = match s.state {
        StoreState::Active => S::Active(pb::Blank {}),
        StoreState::Retained { at_us } => S::RetainedAtUs(at_us),
        StoreState::Removing => S::Removing(pb::Blank {}),
    };
    pb::StoreRow {
        id: uuid_bytes(id.to_bytes()),
        namespace: s.name.namespace().to_owned(),
        name: s.name.name().to_owned(),
        replicas: s.replicas,
        partition: s.partition.get(),
        group: s.group.get(),
        declared_by: s.declared_by.clone(),
        state: Some(state),
    }
}

fn store_from(value: &[u8]) -> Result<(StoreId, Store), Error> {
    use pb::store_row::State as S;
    const WHAT: &str = "store row";
    let row = pb::StoreRow::decode(value).map_err(|e| error(WHAT, e))?;
    let state = match row.state.ok_or_else(|| error(WHAT, "a state that this version does not know"))? {
        S::Active(_) => StoreState::Active,
        S::RetainedAtUs(at_us) => StoreState::Retained { at_us },
        S::Removing(_) => StoreState::Removing,
    };
    let id = store(WHAT, &row.id)?;
    let name = name(WHAT, &row.namespace, &row.name)?;
    let (partition, group) = (PartitionId::new(row.partition), GroupId::new(row.group));
    Ok((id, Store { name, replicas: row.replicas, state, partition, group, declared_by: row.declared_by }))
}

fn group_to(id: GroupId, g: &Group) -> pb::GroupRow {
    let (initial, initializer) = match &g.phase {
        GroupPhase::Creating { initial, initializer } => (initial.iter().map(|r| r.get()).collect(), initializer.get()),
        GroupPhase::Formed => (Vec::new(), 0),
    };
    let replica = |(id, r): (&ReplicaId, &Replica)| pb::ReplicaRow {
        replica: id.get(),
        node: r.node.get(),
        state: match r.state {
            ReplicaState::Joining => 1,
            ReplicaState::Active => 2,
            ReplicaState::Leaving => 3,
        },
    };
    pb::GroupRow {
        id: id.get(),
        store: uuid_bytes(g.store.to_bytes()),
        partition: g.partition.get(),
        initial,
        initializer,
        replicas: g.replicas.iter().map(replica).collect(),
        contradicted: g.contradicted.unwrap_or(0),
    }
}

fn group_from(value: &[u8]) -> Result<(GroupId, Group), Error> {
    const WHAT: &str = "group row";
    let row = pb::GroupRow::decode(value).map_err(|e| error(WHAT, e))?;
    let phase = if row.initial.is_empty() {
        GroupPhase::Formed
    } else {
        GroupPhase::Creating {
            initial: row.initial.into_iter().map(ReplicaId::new).collect(),
            initializer: ReplicaId::new(row.initializer),
        }
    };
    let mut replicas = BTreeMap::new();
    for r in row.replicas {
        let state = match r.state {
            1 => ReplicaState::Joining,
            2 => ReplicaState::Active,
            3 => ReplicaState::Leaving,
            other => return Err(error(WHAT, format!("replica state {other} is not known to this version"))),
        };
        replicas.insert(ReplicaId::new(r.replica), Replica { node: NodeId::new(r.node), state });
    }
    let (store, partition) = (store(WHAT, &row.store)?, PartitionId::new(row.partition));
    let contradicted = (row.contradicted != 0).then_some(row.contradicted);
    let group = Group { store, partition, phase, contradicted, replicas };
    Ok((GroupId::new(row.id), group))
}

#[cfg(test)]
mod tests;
