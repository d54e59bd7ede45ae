//! Running digest of the catalogue, a hash chain over all commands and outcomes.
//!
//! This file alone defines the hashed bytes; neither `Display` nor the wire format has any influence. Replicas of
//! different versions compare digests, so the only permitted change of the encoding is a new tag for a new variant.

use super::{
    command::{CloseMode, Command, Declaration, Kind, NewStore, Registration},
    outcome::{CatalogueOutcome, Refused},
};
use crate::ids::{Digest, GroupId, NodeId, ReplicaId, StoreId};

/// Computes the digest after a command with its outcome.
pub(super) fn next(before: Digest, command: &Command, outcome: &CatalogueOutcome) -> Digest {
    let mut out = Canonical(blake3::Hasher::new());
    out.0.update(&before.0);
    out.number(command.rules.into());
    out.number(command.stamp_us);
    out.kind(&command.kind);
    out.outcome(outcome);
    Digest(*out.0.finalize().as_bytes())
}

/// Canonical encoding of the hashed values:
/// - an integer as eight bytes, big-endian;
/// - a string as the length, followed by the bytes;
/// - a variant as a tag of a single byte, followed by the fields.
struct Canonical(blake3::Hasher);

impl Canonical {
    fn number(&mut self, n: u64) {
        self.0.update(&n.to_be_bytes());
    }

    fn text(&mut self, s: &str) {
        self.number(s.len() as u64);
        self.0.update(s.as_bytes());
    }

    fn store(&mut self, id: StoreId) {
        self.0.update(&id.to_bytes());
    }

    fn tag(&mut self, tag: u8) -> &mut Self {
        self.0.update(&[tag]);
        self
    }

    fn bare(&mut self, tag: u8) {
        self.0.update(&[tag]);
    }

    fn node(&mut self, tag: u8, node: NodeId) {
        self.tag(tag).number(node.get());
    }

    fn replica(&mut self, tag: u8, group: GroupId, replica: ReplicaId) {
        self.tag(tag).number(group.get());
        self.number(replica.get());
    }

    fn registration(&mut self, r: &Registration) {
        self.0.update(&r.disk.to_bytes());
        self.text(&r.name);
        self.text(&r.address);
        self.text(&r.version);
    }

    fn declaration(&mut self, d: &Declaration) {
        self.text(d.name.namespace());
        self.text(d.name.name());
        self.number(d.replicas.into());
        match d.adopt {
            None => self.bare(0),
            Some(id) => self.tag(1).store(id),
        }
        self.store(d.minted);
        self.text(&d.declared_by);
    }

    fn new_store(&mut self, new: &NewStore) {
        self.text(new.name.namespace());
        self.text(new.name.name());
        self.number(new.replicas.into());
        self.store(new.minted);
    }

    fn kind(&mut self, kind: &Kind) {
        match kind {
            Kind::Init { cluster, first } => {
                self.tag(1).0.update(&cluster.to_bytes());
                self.registration(first);
            }
            Kind::Register(r) => self.tag(2).registration(r),
            Kind::Declare(d) => self.tag(3).declaration(d),
            Kind::GroupFormed(group) => self.tag(4).number(group.get()),
            Kind::AddReplica { group, node } => {
                self.tag(5).number(group.get());
                self.number(node.get());
            }
            Kind::ReplicaActive { group, replica } => self.replica(6, *group, *replica),
            Kind::RetireReplica { group, replica } => self.replica(7, *group, *replica),
            Kind::DropReplica { group, replica } => self.replica(8, *group, *replica),
            Kind::Close { store, mode, declared_by } => {
                self.tag(9).store(*store);
                self.bare(match mode {
                    CloseMode::Retain => 1,
                    CloseMode::Delete => 2,
                });
                self.text(declared_by);
            }
            Kind::StoreGone(store) => self.tag(10).store(*store),
            Kind::Drain(node) => self.node(11, *node),
            Kind::CancelDrain(node) => self.node(12, *node),
            Kind::Drained(node) => self.node(13, *node),
            Kind::Replace { old, new } => {
                self.node(14, *old);
                // Node ids begin at 1, so 0 stands for `None`.
                self.number(new.map_or(0, NodeId::get));
            }
            Kind::Replaced(node) => self.node(15, *node),
            Kind::AcquireGrant { node, holder, ttl_us } => {
                self.node(16, *node);
                self.text(holder);
                self.number(*ttl_us);
            }
            Kind::ReleaseGrant { node, holder } => {
                self.node(17, *node);
                self.text(holder);
            }
            Kind::FormAgain { group, nodes } => {
                self.tag(18).number(group.get());
                self.number(nodes.len() as u64);
                nodes.iter().for_each(|node| self.number(node.get()));
            }
            Kind::Contradicted { group, index } => {
                self.tag(19).number(group.get());
                // The first entry of a group changes no state, so 0 stands for `None`.
                self.number(index.unwrap_or(0));
            }
            Kind::CreateStore(new) => self.tag(20).new_store(new),
            Kind::RemoveStore(store) => self.tag(21).store(*store),
            Kind::RaiseRules(rules) => {
                self.tag(22).number(rules.catalogue.into());
                self.number(rules.stores.into());
            }
        }
    }

    fn outcome(&mut self, outcome: &CatalogueOutcome) {
        match outcome {
            CatalogueOutcome::Done => self.bare(1),
            CatalogueOutcome::Node(node) => self.node(2, *node),
            CatalogueOutcome::NodeRemoved { forced, node } => {
                self.node(3, *node);
                self.bare((*forced).into());
            }
            CatalogueOutcome::Store(id) => self.tag(4).store(*id),
            CatalogueOutcome::Replica(replica) => self.tag(5).number(replica.get()),
            CatalogueOutcome::Refused(why) => self.tag(6).refused(why),
        }
    }

    fn refused(&mut self, why: &Refused) {
        match why {
            Refused::WrongCluster => self.bare(1),
            Refused::NotEnoughNodes { wanted, have } => {
                self.tag(2).number((*wanted).into());
                self.number((*have).into());
            }
            Refused::RetainedDataExists { id, at_us } => {
                self.tag(3).store(*id);
                self.number(*at_us);
            }
            Refused::NameTaken { by } => self.tag(4).text(by),
            Refused::StoreNotFound(id) => self.tag(5).store(*id),
            Refused::StoreRemoving(id) => self.tag(6).store(*id),
            Refused::InvalidReplicas(n) => self.tag(7).number((*n).into()),
            Refused::BadNode(node) => self.node(8, *node),
            Refused::BadReplica(group) => self.tag(9).number(group.get()),
            Refused::StillNamed(group) => self.tag(10).number(group.get()),
            Refused::GrantHeld { node, holder } => {
                self.node(11, *node);
                self.text(holder);
            }
            Refused::StoreExists { id, replicas } => {
                self.tag(12).store(*id);
                self.number((*replicas).into());
            }
            Refused::Declared { id, by } => {
                self.tag(13).store(*id);
                self.text(by);
            }
            Refused::UpgradePending { rules, in_force } => {
                self.tag(14).number((*rules).into());
                self.number((*in_force).into());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        catalogue::Rules,
        ids::{ClusterId, DiskId},
        names::StoreName,
    };
    use std::collections::BTreeSet;
    use uuid::Uuid;

    /// Every field of a command counts, so that replicas that received different commands have different digests.
    #[test]
    fn different_commands_give_different_digests() {
        let store = |n| StoreId::new(Uuid::from_u128(n));
        let (node, group, replica, text) = (NodeId::new, GroupId::new, ReplicaId::new, String::from);
        let cluster = |n| ClusterId::new(Uuid::from_u128(n));
        let registration = |disk, name, address, version| Registration {
            disk: DiskId::new(Uuid::from_u128(disk)),
            name: text(name),
            address: text(address),
            version: text(version),
        };
        let name = |namespace, name| StoreName::new(namespace, name).unwrap();
        let declaration = |name, replicas, adopt, minted, by| {
            Kind::Declare(Declaration { name, replicas, adopt, minted: store(minted), declared_by: text(by) })
        };
        let new = |name, replicas, minted| Kind::CreateStore(NewStore { name, replicas, minted: store(minted) });
        let close = |n, mode, by| Kind::Close { store: store(n), mode, declared_by: text(by) };
        let again = |n, nodes: &[u64]| Kind::FormAgain {
            group: group(n),
            nodes: nodes.iter().copied().map(NodeId::new).collect(),
        };
        let acquire = |n, holder, ttl_us| Kind::AcquireGrant { node: node(n), holder: text(holder), ttl_us };
        let release = |n, holder| Kind::ReleaseGrant { node: node(n), holder: text(holder) };
        let kinds = [
            Kind::Init { cluster: cluster(1), first: registration(1, "a", "b", "c") },
            Kind::Init { cluster: cluster(2), first: registration(1, "a", "b", "c") },
            Kind::Init { cluster: cluster(2), first: registration(2, "a", "b", "c") },
            Kind::Register(registration(1, "a", "b", "c")),
            Kind::Register(registration(2, "a", "b", "c")),
            Kind::Register(registration(2, "ab", "", "c")),
            Kind::Register(registration(2, "ab", "c", "")),
            declaration(name("a", "b"), 1, None, 1, "u"),
            declaration(name("b", "b"), 1, None, 1, "u"),
            declaration(name("b", "c"), 1, None, 1, "u"),
            declaration(name("b", "c"), 3, None, 1, "u"),
            declaration(name("b", "c"), 3, Some(store(1)), 1, "u"),
            declaration(name("b", "c"), 3, Some(store(2)), 1, "u"),
            declaration(name("b", "c"), 3, Some(store(2)), 2, "u"),
            declaration(name("b", "c"), 3, Some(store(2)), 2, "v"),
            new(name("a", "b"), 1, 1),
            new(name("b", "b"), 1, 1),
            new(name("b", "c"), 1, 1),
            new(name("b", "c"), 3, 1),
            new(name("b", "c"), 3, 2),
            Kind::RemoveStore(store(1)),
            Kind::RemoveStore(store(2)),
            Kind::GroupFormed(group(1)),
            Kind::GroupFormed(group(2)),
            again(1, &[1]),
            again(2, &[1]),
            again(2, &[2]),
            again(2, &[1, 2]),
            Kind::Contradicted { group: group(1), index: None },
            Kind::Contradicted { group: group(2), index: None },
            Kind::Contradicted { group: group(2), index: Some(1) },
            Kind::Contradicted { group: group(2), index: Some(2) },
            Kind::AddReplica { group: group(1), node: node(1) },
            Kind::AddReplica { group: group(2), node: node(1) },
            Kind::AddReplica { group: group(2), node: node(2) },
            Kind::ReplicaActive { group: group(1), replica: replica(1) },
            Kind::ReplicaActive { group: group(2), replica: replica(1) },
            Kind::ReplicaActive { group: group(2), replica: replica(2) },
            Kind::RetireReplica { group: group(1), replica: replica(1) },
            Kind::RetireReplica { group: group(2), replica: replica(1) },
            Kind::RetireReplica { group: group(2), replica: replica(2) },
            Kind::DropReplica { group: group(1), replica: replica(1) },
            Kind::DropReplica { group: group(2), replica: replica(1) },
            Kind::DropReplica { group: group(2), replica: replica(2) },
            close(1, CloseMode::Retain, "u"),
            close(2, CloseMode::Retain, "u"),
            close(2, CloseMode::Delete, "u"),
            close(2, CloseMode::Delete, "v"),
            Kind::StoreGone(store(1)),
            Kind::StoreGone(store(2)),
            Kind::Drain(node(1)),
            Kind::Drain(node(2)),
            Kind::CancelDrain(node(1)),
            Kind::CancelDrain(node(2)),
            Kind::Drained(node(1)),
            Kind::Drained(node(2)),
            Kind::Replace { old: node(1), new: None },
            Kind::Replace { old: node(2), new: None },
            Kind::Replace { old: node(2), new: Some(node(1)) },
            Kind::Replace { old: node(2), new: Some(node(3)) },
            Kind::Replaced(node(1)),
            Kind::Replaced(node(2)),
            acquire(1, "a", 1),
            acquire(2, "a", 1),
            acquire(2, "b", 1),
            acquire(2, "b", 2),
            release(1, "a"),
            release(2, "a"),
            release(2, "b"),
            Kind::RaiseRules(Rules { catalogue: 1, stores: 1 }),
            Kind::RaiseRules(Rules { catalogue: 2, stores: 1 }),
            Kind::RaiseRules(Rules { catalogue: 2, stores: 2 }),
        ];
        let named: BTreeSet<_> = kinds.iter().map(Kind::name).collect();
        assert_eq!(named.len(), Kind::NAMES.len(), "a kind of command is missing here");
        let command = |kind| Command { rules: 1, stamp_us: 1, kind };
        let (later, newer) = (Command { stamp_us: 2, ..command(kinds[0].clone()) }, Kind::Drain(node(1)));
        let further = [later, Command { rules: 2, ..command(newer) }];
        let mut seen = Vec::new();
        for command in kinds.into_iter().map(command).chain(further) {
            let digest = next(Digest::default(), &command, &CatalogueOutcome::Done);
            assert!(!seen.contains(&digest), "{command:?}");
            seen.push(digest);
        }
        let command = command(Kind::Drain(node(1)));
        let after = next(Digest([1; 32]), &command, &CatalogueOutcome::Done);
        assert!(!seen.contains(&after), "the digest before counts");
    }

    /// Replicas that answer a command differently must have different digests from then on.
    #[test]
    fn different_outcomes_give_different_digests() {
        let store = |n| StoreId::new(Uuid::from_u128(n));
        let (node, group, text) = (NodeId::new, GroupId::new, String::from);
        let refusals = [
            Refused::WrongCluster,
            Refused::NotEnoughNodes { wanted: 3, have: 1 },
            Refused::NotEnoughNodes { wanted: 3, have: 2 },
            Refused::NotEnoughNodes { wanted: 5, have: 2 },
            Refused::RetainedDataExists { id: store(1), at_us: 1 },
            Refused::RetainedDataExists { id: store(1), at_us: 2 },
            Refused::RetainedDataExists { id: store(2), at_us: 2 },
            Refused::NameTaken { by: text("a") },
            Refused::NameTaken { by: text("b") },
            Refused::StoreNotFound(store(1)),
            Refused::StoreNotFound(store(2)),
            Refused::StoreRemoving(store(1)),
            Refused::StoreRemoving(store(2)),
            Refused::InvalidReplicas(2),
            Refused::InvalidReplicas(4),
            Refused::BadNode(node(1)),
            Refused::BadNode(node(2)),
            Refused::BadReplica(group(1)),
            Refused::BadReplica(group(2)),
            Refused::StillNamed(group(1)),
            Refused::StillNamed(group(2)),
            Refused::GrantHeld { node: node(1), holder: text("a") },
            Refused::GrantHeld { node: node(1), holder: text("b") },
            Refused::GrantHeld { node: node(2), holder: text("b") },
            Refused::StoreExists { id: store(1), replicas: 1 },
            Refused::StoreExists { id: store(1), replicas: 3 },
            Refused::StoreExists { id: store(2), replicas: 3 },
            Refused::Declared { id: store(1), by: text("a") },
            Refused::Declared { id: store(1), by: text("b") },
            Refused::Declared { id: store(2), by: text("b") },
            Refused::UpgradePending { rules: 2, in_force: 1 },
            Refused::UpgradePending { rules: 3, in_force: 1 },
            Refused::UpgradePending { rules: 3, in_force: 2 },
        ];
        let answers = [
            CatalogueOutcome::Done,
            CatalogueOutcome::Node(node(1)),
            CatalogueOutcome::Node(node(2)),
            CatalogueOutcome::NodeRemoved { node: node(1), forced: false },
            CatalogueOutcome::NodeRemoved { node: node(1), forced: true },
            CatalogueOutcome::NodeRemoved { node: node(2), forced: true },
            CatalogueOutcome::Store(store(1)),
            CatalogueOutcome::Store(store(2)),
            CatalogueOutcome::Replica(ReplicaId::new(1)),
            CatalogueOutcome::Replica(ReplicaId::new(2)),
        ];
        let command = Command { rules: 1, stamp_us: 1, kind: Kind::Drained(node(1)) };
        let outcomes = refusals.into_iter().map(CatalogueOutcome::Refused).chain(answers);
        let mut seen = Vec::new();
        for outcome in outcomes {
            let digest = next(Digest::default(), &command, &outcome);
            assert!(!seen.contains(&digest), "{outcome:?}");
            seen.push(digest);
        }
    }
}
