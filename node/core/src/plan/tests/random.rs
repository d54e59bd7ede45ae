//! Random disturbances: the plan converges after any sequence of disturbances and after any crash of the coordinator.

use super::toy::{Carry, Toy, registration};
use crate::{
    catalogue::{
        Catalogue, CatalogueOutcome, CloseMode, GroupPhase, Kind, NodeState, ReplicaState, StoreState, system_voters,
    },
    ids::{GroupId, NodeId, ReplicaId, StoreId},
    plan::{guard::guard, settle::FENCE_AGAIN_US},
};
use proptest::prelude::*;
use std::collections::BTreeSet;

#[derive(Clone, Debug)]
enum Disturb {
    Declare(u8, u32),
    Remove(u8),
    Retain(u8),
    Adopt(u8),
    Drain(u64),
    Cancel(u64),
    Join,
    Down(u64),
    Up,
    /// All nodes that are down become silent.
    Silence,
    /// The node never comes back.
    Lose(u64),
    /// A node removes a replica by mistake.
    Forget(u8, u64),
    /// A replica becomes divergent.
    Spoil(u8, u64),
    /// A replica fails at every start from now on.
    Break(u8, u64),
    /// A person frees the fenced replicas from now on, or frees none.
    Frees(bool),
    /// The operator acquires the disruption grant for the node.
    Grant(u64),
    /// Writes stop or resume. Without writes, replicas reach the same index and can be compared.
    Write(bool),
    /// Leaders need a further pass to commit a membership, or commit at once.
    Slow(bool),
    /// A pass in which the coordinator crashes after the given number of actions.
    Pass(usize),
    /// Like [`Disturb::Pass`], and every change of the voters stops in the joint state.
    PassHalf(usize),
}

fn disturb() -> impl Strategy<Value = Disturb> {
    let replicas = prop_oneof![Just(1u32), Just(3), Just(3), Just(5)];
    prop_oneof![
        3 => (0u8..3, replicas).prop_map(|(n, r)| Disturb::Declare(n, r)),
        1 => (0u8..3).prop_map(Disturb::Remove),
        1 => (0u8..3).prop_map(Disturb::Retain),
        1 => (0u8..3).prop_map(Disturb::Adopt),
        1 => (1u64..8).prop_map(Disturb::Drain),
        1 => (1u64..8).prop_map(Disturb::Cancel),
        2 => Just(Disturb::Join),
        2 => (1u64..8).prop_map(Disturb::Down),
        2 => Just(Disturb::Up),
        1 => Just(Disturb::Silence),
        1 => (1u64..8).prop_map(Disturb::Lose),
        1 => (0u8..3, 1u64..8).prop_map(|(s, n)| Disturb::Forget(s, n)),
        1 => (0u8..3, 1u64..8).prop_map(|(s, n)| Disturb::Spoil(s, n)),
        1 => (0u8..3, 1u64..8).prop_map(|(s, n)| Disturb::Break(s, n)),
        1 => any::<bool>().prop_map(Disturb::Frees),
        1 => (1u64..8).prop_map(Disturb::Grant),
        1 => any::<bool>().prop_map(Disturb::Write),
        1 => any::<bool>().prop_map(Disturb::Slow),
        6 => (0usize..8).prop_map(Disturb::Pass),
        3 => (1usize..4).prop_map(Disturb::PassHalf),
    ]
}

const DISKS_MAX: u64 = 7;

struct Story {
    toy: Toy,
    next_disk: u64,
}

impl Story {
    fn new() -> Self {
        Self { toy: Toy::new(3), next_disk: 4 }
    }

    fn happen(&mut self, what: Disturb) {
        let toy = &mut self.toy;
        match what {
            Disturb::Declare(n, replicas) => drop(toy.declare(&format!("s{n}"), replicas)),
            Disturb::Remove(n) => self.close(n, CloseMode::Delete),
            Disturb::Retain(n) => self.close(n, CloseMode::Retain),
            Disturb::Adopt(n) => {
                let name = format!("s{n}");
                if let Some(id) = toy.find(&name) {
                    let replicas = toy.c.stores[&id].replicas;
                    toy.declare_or_adopt(&name, replicas, Some(id));
                }
            }
            // Like the operator, never drains the last node.
            Disturb::Drain(n) if toy.c.members().count() > 1 => drop(toy.run(Kind::Drain(NodeId::new(n)))),
            Disturb::Drain(_) => {}
            Disturb::Cancel(n) => drop(toy.run(Kind::CancelDrain(NodeId::new(n)))),
            Disturb::Join => self.join(),
            Disturb::Down(n) => {
                toy.down.insert(NodeId::new(n));
                if !toy.majority(GroupId::SYSTEM) && !toy.lost.contains(&NodeId::new(n)) {
                    toy.down.remove(&NodeId::new(n));
                }
            }
            Disturb::Up => toy.down = toy.lost.clone(),
            Disturb::Silence => toy.be_silent(),
            Disturb::Lose(n) => self.lose(NodeId::new(n)),
            Disturb::Forget(s, n) => self.forget(s, NodeId::new(n)),
            Disturb::Spoil(s, n) => self.spoil(s, NodeId::new(n)),
            Disturb::Break(s, n) => self.break_replica(s, NodeId::new(n)),
            Disturb::Frees(frees) => toy.frees = frees,
            Disturb::Grant(n) => self.grant(NodeId::new(n)),
            Disturb::Write(writing) => toy.writing = writing,
            Disturb::Slow(slow) => toy.slow = slow,
            Disturb::Pass(n) => drop(toy.pass_until(n, Carry::Whole)),
            Disturb::PassHalf(n) => drop(toy.pass_until(n, Carry::ToTheJointState)),
        }
    }

    fn close(&mut self, n: u8, mode: CloseMode) {
        if let Some(store) = self.toy.find(&format!("s{n}")) {
            self.toy.run(Kind::Close { store, mode, declared_by: "u".into() });
        }
    }

    fn join(&mut self) {
        if self.next_disk <= DISKS_MAX {
            self.toy.run(Kind::Register(registration(self.next_disk)));
            self.next_disk += 1;
        }
    }

    /// Loses a disk, but only if the cluster can tolerate the loss. No plan can undo the loss of data, and without the lost
    /// replica nothing decides which of two replicas is divergent.
    fn lose(&mut self, node: NodeId) {
        let toy = &mut self.toy;
        let o = toy.observe();
        let bearable = toy.c.nodes.contains_key(&node)
            && o.groups.get(&GroupId::SYSTEM).is_some_and(|s| s.voters().len() > 2)
            && guard(&toy.c, &o, node).is_ok()
            && toy.c.groups.values().filter(|g| g.nodes().any(|n| n == node)).all(|g| {
                g.phase == GroupPhase::Formed
                    && divergent_members(toy, group_id(&toy.c, g.store)) == 0
                    && o.groups.get(&group_id(&toy.c, g.store)).is_some_and(|s| s.voters().len() > 2)
            });
        if bearable {
            toy.lost.insert(node);
            toy.down.insert(node);
        }
    }

    fn grant(&mut self, node: NodeId) {
        let o = self.toy.observe();
        if guard(&self.toy.c, &o, node).is_ok() {
            self.toy.run(Kind::AcquireGrant { node, holder: "o".into(), ttl_us: 10_000_000 });
        }
    }

    fn forget(&mut self, store: u8, node: NodeId) {
        if let Some(key) = self.spare(store, node).filter(|(group, _)| divergent_members(&self.toy, *group) == 0) {
            self.toy.deleted.insert(key);
        }
    }

    /// Makes a replica divergent, unless the group already has a divergent replica: two divergent replicas of three
    /// would be the majority.
    fn spoil(&mut self, store: u8, node: NodeId) {
        let Some(key) = self.spare(store, node) else { return };
        let divergent_too = |(group, replica): &&(GroupId, ReplicaId)| {
            *group == key.0 && self.toy.groups[group].hosts.contains_key(replica)
        };
        if self.toy.divergent.iter().find(divergent_too).is_none() {
            self.toy.divergent.insert(key);
        }
    }

    /// Breaks a replica, unless the group has a divergent replica: a majority must decide which replica is divergent.
    fn break_replica(&mut self, store: u8, node: NodeId) {
        if let Some(key) = self.spare(store, node).filter(|(group, _)| divergent_members(&self.toy, *group) == 0) {
            self.toy.broken.insert(key);
        }
    }

    /// Returns the replica of a store on a node if the group can tolerate its loss.
    fn spare(&mut self, store: u8, node: NodeId) -> Option<(GroupId, ReplicaId)> {
        let toy = &mut self.toy;
        let group = toy.c.stores[&toy.find(&format!("s{store}"))?].group;
        let replica = toy.c.groups[&group].on(node)?;
        let o = toy.observe();
        let spare = o.groups.get(&group).is_some_and(|s| s.voters().len() > 2 && s.voters().contains(&replica));
        let formed = toy.c.groups[&group].phase == GroupPhase::Formed;
        (spare && formed && guard(&toy.c, &o, node).is_ok()).then_some((group, replica))
    }

    /// Restarts all nodes that are not lost, and replaces lost nodes one after the other, like the operator.
    fn repair(&mut self) {
        self.toy.down = self.toy.lost.clone();
        self.toy.writing = true;
        self.toy.settle();
        self.toy.frees = true;
        self.toy.settle();
        // A lost node does not answer for longer than any restart takes.
        self.toy.be_silent();
        self.toy.settle();
        // Without writes all replicas reach the same index and can be compared; an hour later all fences are permitted.
        self.toy.writing = false;
        self.toy.now_us += FENCE_AGAIN_US;
        self.toy.settle();
        // Like the level-triggered operator, retries replacements that were refused because of another replacement.
        for _ in 0..=self.toy.lost.len() {
            for old in self.toy.lost.clone() {
                self.replace(old);
            }
        }
        self.toy.now_us += FENCE_AGAIN_US;
        self.toy.settle();
    }

    fn replace(&mut self, old: NodeId) {
        let removed = |toy: &Toy| matches!(toy.c.nodes[&old].state, NodeState::Removed { .. });
        if removed(&self.toy) {
            return;
        }
        self.toy.run(Kind::Replace { old, new: None });
        self.toy.settle();
        // Without a free node the replacement waits until the pod comes back with a new disk.
        if !removed(&self.toy) {
            self.toy.run(Kind::Register(registration(self.next_disk)));
            self.next_disk += 1;
            self.toy.settle();
        }
    }

    fn is_as_declared(&self) -> Result<(), TestCaseError> {
        let c = &self.toy.c;
        // A change of the number of replicas can leave a divergent voter without a majority of others. Nothing decides
        // which of the replicas is right, so the store and its nodes wait for a person.
        let undecided = |store: StoreId| {
            self.toy.groups.get(&group_id(c, store)).is_some_and(|m| {
                let voters: BTreeSet<ReplicaId> = m.configs.iter().flatten().copied().collect();
                let divergent =
                    voters.iter().filter(|r| self.toy.divergent.contains(&(group_id(c, store), **r))).count();
                divergent > 0 && divergent * 2 >= voters.len()
            })
        };
        if c.stores.keys().any(|store| undecided(*store)) {
            return Ok(());
        }
        let members = c.members().count();
        let all_fit = c.stores.values().all(|s| s.replicas as usize <= members);
        let gone = |n: &NodeId| matches!(c.nodes[n].state, NodeState::Removed { .. });
        if !self.toy.lost.iter().all(gone) {
            prop_assert!(!all_fit, "a lost node is not replaced although everything fits: {:?}", c.nodes);
            return Ok(());
        }
        for (id, store) in c.stores.iter().filter(|(_, s)| s.replicas as usize <= members) {
            prop_assert_ne!(store.state, StoreState::Removing, "store {} is not gone", id);
            let group = &c.groups[&store.group];
            let seen = &self.toy.groups[&store.group];
            let known: BTreeSet<ReplicaId> = group.replicas.keys().copied().collect();
            prop_assert_eq!(&seen.configs, &vec![known], "voters of store {}", id);
            prop_assert_eq!(seen.hosts.len(), store.replicas as usize, "members of store {}", id);
            prop_assert!(group.replicas.values().all(|r| r.state == ReplicaState::Active));
            prop_assert_eq!(&group.phase, &GroupPhase::Formed);
            let broken = known_broken(&self.toy, store.group);
            prop_assert!(broken.is_empty(), "store {} still has the broken replicas {:?}", id, broken);
            let divergent = divergent_members(&self.toy, store.group);
            prop_assert!(
                divergent * 2 >= seen.hosts.len() || divergent == 0,
                "store {} still has a divergent replica",
                id
            );
        }
        if all_fit {
            let staying = c.nodes.values().all(|n| matches!(n.state, NodeState::Member | NodeState::Removed { .. }));
            prop_assert!(staying, "a departing node has not left: {:?}", c.nodes);
            let system = &self.toy.groups[&GroupId::SYSTEM];
            prop_assert_eq!(system.configs[0].len(), system_voters(members));
            prop_assert_eq!(system.hosts.len(), members);
        }
        Ok(())
    }
}

/// Counts the divergent members of a group.
fn divergent_members(toy: &Toy, group: GroupId) -> usize {
    toy.groups[&group].hosts.keys().filter(|r| toy.divergent.contains(&(group, **r))).count()
}

/// Returns the broken members of a group.
fn known_broken(toy: &Toy, group: GroupId) -> Vec<ReplicaId> {
    toy.groups[&group].hosts.keys().filter(|r| toy.broken.contains(&(group, **r))).copied().collect()
}

fn group_id(c: &Catalogue, store: StoreId) -> GroupId {
    c.stores[&store].group
}

fn tell(steps: impl IntoIterator<Item = Disturb>) -> Result<(), TestCaseError> {
    let mut story = Story::new();
    steps.into_iter().for_each(|step| story.happen(step));
    story.repair();
    story.is_as_declared()
}

/// Number of cases: 400, or `PROPTEST_CASES`.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(400)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    /// Every step passes the checks of the toy cluster, and the cluster settles in its declared state.
    #[test]
    fn it_converges_whatever_happens(steps in prop::collection::vec(disturb(), 1..80)) {
        tell(steps)?;
    }
}

#[test]
fn a_store_that_is_removed_before_it_was_formed_goes() {
    tell([Disturb::Declare(1, 1), Disturb::Remove(1)]).unwrap();
    tell([Disturb::Down(1), Disturb::Declare(2, 3), Disturb::Remove(2), Disturb::Pass(1)]).unwrap();
}

#[test]
fn a_node_that_joins_while_another_begins_to_learn_is_not_forgotten() {
    tell([Disturb::Join, Disturb::Pass(1), Disturb::Join]).unwrap();
    tell([Disturb::Join, Disturb::Join, Disturb::Lose(1)]).unwrap();
}

#[test]
fn a_lost_voter_leaves_when_drains_take_the_other_votes() {
    use Disturb::{Drain, Join, Lose};
    tell([Lose(1), Drain(2), Drain(3)]).unwrap();
    tell([Join, Lose(1), Drain(2), Drain(3)]).unwrap();
    tell([Join, Join, Drain(2), Lose(1), Drain(3), Drain(4)]).unwrap();
}

#[test]
fn ids_of_removed_stores_are_never_given_again() {
    let mut story = Story::new();
    assert!(matches!(story.toy.declare("s0", 3), CatalogueOutcome::Store(_)));
    let gone = story.toy.find("s0").unwrap();
    story.happen(Disturb::Remove(0));
    story.repair();
    assert!(story.toy.c.removed_stores.contains(&gone) && story.toy.c.stores.is_empty());
}

#[test]
fn a_node_that_is_drained_right_after_it_came_forms_what_was_placed_on_it() {
    use Disturb::{Declare, Drain, Join};
    tell([Join, Join, Declare(2, 1), Join, Declare(0, 5), Drain(4)]).unwrap();
}
