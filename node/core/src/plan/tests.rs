//! A toy cluster carries out the plan, one action at a time, and is disturbed in between.

use super::*;
use crate::{
    catalogue::{
        self, CatalogueOutcome, CloseMode, Command, Declaration, GroupPhase, NodeState, Registration, ReplicaState,
    },
    ids::{ClusterId, DiskId},
    names::StoreName,
};
use observed::CAUGHT_UP_US;
use proptest::prelude::*;
use uuid::Uuid;

/// A group's membership as its members know it.
#[derive(Clone, Debug)]
struct Members {
    configs: Vec<BTreeSet<ReplicaId>>,
    hosts: BTreeMap<ReplicaId, NodeId>,
    leader: ReplicaId,
    version: u64,
}

struct Toy {
    c: Catalogue,
    groups: BTreeMap<GroupId, Members>,
    deleted: BTreeSet<(GroupId, ReplicaId)>,
    down: BTreeSet<NodeId>,
    now_us: u64,
    last: Observed,
    minted: u128,
}

impl Toy {
    fn new(nodes: u64) -> Self {
        let mut toy = Self {
            c: Catalogue::default(),
            groups: BTreeMap::new(),
            deleted: BTreeSet::new(),
            down: BTreeSet::new(),
            now_us: 1,
            last: Observed::default(),
            minted: 100,
        };
        let cluster = ClusterId::new(Uuid::from_u128(1));
        toy.run(Kind::Init { cluster, first: registration(1) });
        let one = ReplicaId::new(1);
        let hosts = [(one, NodeId::new(1))].into();
        toy.groups.insert(GroupId::SYSTEM, Members { configs: vec![[one].into()], hosts, leader: one, version: 1 });
        for disk in 2..=nodes {
            toy.run(Kind::Register(registration(disk)));
        }
        toy.settle();
        toy
    }

    fn run(&mut self, kind: Kind) -> CatalogueOutcome {
        let command = Command { rules: catalogue::RULES, stamp_us: self.now_us, kind };
        catalogue::apply(&mut self.c, &command).unwrap().0
    }

    fn declare(&mut self, name: &str, replicas: u32) -> CatalogueOutcome {
        self.minted += 1;
        self.run(Kind::Declare(Declaration {
            name: StoreName::new("default", name).unwrap(),
            replicas,
            adopt: None,
            minted: StoreId::new(Uuid::from_u128(self.minted)),
            declared_by: "u".into(),
        }))
    }

    fn store(&self, name: &str) -> StoreId {
        self.c.store_named(&StoreName::new("default", name).unwrap()).unwrap().0
    }

    /// Nodes do what the catalogue says: initialise groups, remove what leaves.
    fn nodes_act(&mut self) {
        for (id, group) in &self.c.groups {
            if let GroupPhase::Creating { initial, initializer } = &group.phase
                && !self.groups.contains_key(id)
                && group.replicas.values().all(|r| r.state != ReplicaState::Leaving)
                && group.replicas.get(initializer).is_some_and(|r| !self.down.contains(&r.node))
            {
                let hosts = group.replicas.iter().map(|(r, x)| (*r, x.node)).collect();
                let members = Members { configs: vec![initial.clone()], hosts, leader: *initializer, version: 1 };
                self.groups.insert(*id, members);
            }
            for (replica, r) in &group.replicas {
                if r.state == ReplicaState::Leaving && !self.down.contains(&r.node) {
                    self.deleted.insert((*id, *replica));
                }
            }
        }
        self.groups.retain(|id, _| *id == GroupId::SYSTEM || self.c.groups.contains_key(id));
    }

    fn majority(&self, m: &Members) -> bool {
        m.configs.iter().all(|config| {
            let up = config.iter().filter(|r| !self.down.contains(&m.hosts[r])).count();
            up * 2 > config.len()
        })
    }

    fn observe(&mut self) -> Observed {
        let mut o = Observed { now_us: self.now_us, ..Observed::default() };
        for id in self.c.nodes.keys() {
            let deleted = self.deleted.clone();
            let reachable = !self.down.contains(id);
            o.nodes.insert(*id, NodeObservation { reachable, deleted, ..NodeObservation::default() });
        }
        for (id, m) in &mut self.groups {
            let up = |r: &ReplicaId| !self.down.contains(&m.hosts[r]);
            let quorum =
                m.configs.iter().all(|config| config.iter().filter(|r| up(r)).count() * 2 > config.len());
            if !quorum {
                continue;
            }
            if !up(&m.leader) || !m.configs.iter().flatten().any(|r| *r == m.leader) {
                m.leader = *m.configs.iter().flatten().find(|r| up(r)).unwrap();
            }
            let matched = m.hosts.keys().filter(|r| up(r)).map(|r| (*r, 10)).collect();
            o.groups.insert(*id, GroupObservation {
                leader: m.leader,
                leader_node: m.hosts[&m.leader],
                term: 1,
                membership: Some((1, 1, m.version)),
                configs: m.configs.clone(),
                hosts: m.hosts.clone(),
                matched,
                committed: 10,
                quorum: true,
            });
        }
        if let Some(system) = o.groups.get(&GroupId::SYSTEM) {
            o.coordinator = system.leader_node;
        }
        o.settle(&self.last);
        self.last = o.clone();
        o
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Propose(kind) => drop(self.run(kind)),
            Action::Transfer { group, leader, to, .. } => {
                let m = self.groups.get_mut(&group).unwrap();
                assert_ne!(to, leader, "a transfer to oneself");
                assert!(m.configs.iter().all(|c| c.contains(&to)), "a transfer to a non-voter");
                m.leader = to;
            }
            Action::ChangeMembership { group, expected, voters, learners, .. } => {
                let known: BTreeSet<ReplicaId> =
                    self.c.groups.get(&group).map(|g| g.replicas.keys().copied().collect()).unwrap_or_default();
                let m = self.groups.get_mut(&group).unwrap();
                assert_eq!(expected, Some((1, 1, m.version)), "decided from another membership");
                for (r, n) in &learners {
                    assert!(group == GroupId::SYSTEM || known.contains(r), "a replica that the catalogue does not name");
                    m.hosts.insert(*r, *n);
                }
                assert!(voters.iter().all(|v| m.hosts.contains_key(v)), "a voter that does not learn");
                for v in voters.iter().filter(|v| !m.configs.iter().any(|c| c.contains(v))) {
                    assert!(self.last.caught_up(group, *v), "a voter that is not caught up");
                }
                m.hosts.retain(|r, _| voters.contains(r) || learners.contains_key(r) || m.configs.len() > 1);
                if m.configs.len() == 1 && m.configs[0] != voters {
                    let up = voters.iter().filter(|v| !self.down.contains(&m.hosts[v])).count();
                    assert!(up * 2 > voters.len(), "a change to a set without a majority");
                }
                m.configs = vec![voters];
                m.version += 1;
            }
        }
    }

    /// One pass of the coordinator; `crash_after` actions it is gone.
    fn pass(&mut self, crash_after: usize) -> usize {
        self.now_us += CAUGHT_UP_US / 2;
        self.nodes_act();
        let o = self.observe();
        if !o.groups.contains_key(&GroupId::SYSTEM) {
            return 0;
        }
        let plan = plan(&self.c, &o);
        assert_eq!(plan, super::plan(&self.c, &o), "planning is pure");
        let mut per_group = BTreeSet::new();
        for action in &plan.actions {
            if let Action::ChangeMembership { group, .. } = action {
                assert!(per_group.insert(*group), "two changes of one group in flight");
            }
        }
        let n = plan.actions.len();
        for action in plan.actions.into_iter().take(crash_after) {
            self.act(action);
        }
        self.check();
        n
    }

    fn check(&self) {
        let removing = |id: &GroupId| {
            let store = self.c.groups.get(id).and_then(|g| self.c.stores.get(&g.store));
            *id != GroupId::SYSTEM && store.is_none_or(|s| s.state == catalogue::StoreState::Removing)
        };
        for (id, m) in self.groups.iter().filter(|(id, _)| !removing(id)) {
            let nodes: Vec<NodeId> = m.hosts.values().copied().collect();
            let unique: BTreeSet<NodeId> = nodes.iter().copied().collect();
            assert_eq!(nodes.len(), unique.len(), "two replicas of group {id} on a node");
            for (replica, node) in &m.hosts {
                let state = self.c.nodes[node].state;
                assert!(!matches!(state, NodeState::Removed { .. }), "{replica} of group {id} lives on a removed node");
                assert!(!self.deleted.contains(&(*id, *replica)), "a removed replica is a member of group {id}");
            }
        }
    }

    fn settle(&mut self) {
        for _ in 0..400 {
            if self.pass(usize::MAX) == 0 && self.quiet() {
                return;
            }
        }
        let o = self.observe();
        panic!("does not settle: {:?}\n{:#?}", plan(&self.c, &o), self.c);
    }

    /// Nothing to do now, nor later.
    fn quiet(&mut self) -> bool {
        self.now_us += CAUGHT_UP_US * 3;
        self.nodes_act();
        let o = self.observe();
        plan(&self.c, &o).actions.is_empty()
    }

    fn voters(&self, name: &str) -> Vec<u64> {
        let group = self.c.stores[&self.store(name)].group;
        let m = &self.groups[&group];
        m.configs[0].iter().map(|r| m.hosts[r].get()).collect()
    }
}

fn registration(disk: u64) -> Registration {
    Registration {
        disk: DiskId::new(Uuid::from_u128(disk.into())),
        name: format!("main-{}", disk - 1),
        address: String::new(),
        version: "1".into(),
    }
}

#[test]
fn the_system_group_grows_to_its_rule() {
    for (nodes, voters) in [(1, 1), (2, 2), (3, 3), (4, 3), (5, 5), (7, 5)] {
        let toy = Toy::new(nodes);
        let m = &toy.groups[&GroupId::SYSTEM];
        assert_eq!(m.configs[0].len(), voters, "{nodes} nodes");
        assert_eq!(m.hosts.len() as u64, nodes);
    }
}

#[test]
fn a_store_grows_and_shrinks_in_one_change_each() {
    let mut toy = Toy::new(3);
    toy.declare("a", 1);
    toy.settle();
    assert_eq!(toy.voters("a").len(), 1);
    toy.declare("a", 3);
    toy.settle();
    assert_eq!(toy.voters("a"), [1, 2, 3]);
    let group = toy.c.stores[&toy.store("a")].group;
    let before = toy.groups[&group].version;
    toy.declare("a", 1);
    toy.settle();
    assert_eq!(toy.voters("a").len(), 1);
    assert_eq!(toy.c.groups[&group].replicas.len(), 1, "what no longer votes is gone");
    assert_eq!(toy.groups[&group].version, before + 1, "three to one is one change");
}

#[test]
fn a_drain_moves_everything_and_the_node_leaves() {
    let mut toy = Toy::new(4);
    toy.declare("a", 3);
    toy.declare("b", 1);
    toy.settle();
    let node = NodeId::new(toy.voters("a")[0]);
    toy.run(Kind::Drain(node));
    toy.settle();
    assert_eq!(toy.c.nodes[&node].state, NodeState::Removed { forced: false });
    assert!(!toy.voters("a").contains(&node.get()));
    assert_eq!(toy.voters("a").len(), 3);
    assert!(!toy.groups[&GroupId::SYSTEM].hosts.values().any(|n| *n == node));
}

#[test]
fn a_drain_that_does_not_fit_waits_and_goes_on_by_itself() {
    let mut toy = Toy::new(3);
    toy.declare("a", 3);
    toy.settle();
    let node = NodeId::new(3);
    toy.run(Kind::Drain(node));
    toy.settle();
    assert_eq!(toy.c.nodes[&node].state, NodeState::Draining);
    let o = toy.observe();
    let waiting = plan(&toy.c, &o).waiting;
    assert!(waiting.iter().any(|w| w.reason == "ScaleDownBlocked" && w.store.is_some()), "{waiting:?}");
    toy.declare("a", 1);
    toy.settle();
    assert_eq!(toy.c.nodes[&node].state, NodeState::Removed { forced: false });
}

#[test]
fn a_lost_node_is_replaced_and_the_voters_never_fall() {
    let mut toy = Toy::new(3);
    toy.declare("a", 3);
    toy.settle();
    toy.down.insert(NodeId::new(2));
    toy.run(Kind::Register(registration(4)));
    toy.run(Kind::Replace { old: NodeId::new(2), new: Some(NodeId::new(4)) });
    let group = toy.c.stores[&toy.store("a")].group;
    for _ in 0..50 {
        toy.pass(usize::MAX);
        assert_eq!(toy.groups[&group].configs[0].len(), 3);
    }
    toy.settle();
    assert_eq!(toy.voters("a"), [1, 3, 4]);
    assert_eq!(toy.c.nodes[&NodeId::new(2)].state, NodeState::Removed { forced: true });
}

#[test]
fn without_a_majority_nothing_is_touched() {
    let mut toy = Toy::new(5);
    toy.declare("a", 3);
    toy.settle();
    let voters = toy.voters("a");
    toy.down.extend(voters[..2].iter().map(|n| NodeId::new(*n)));
    let group = toy.c.stores[&toy.store("a")].group;
    let before = toy.groups[&group].version;
    for _ in 0..20 {
        toy.pass(usize::MAX);
    }
    assert_eq!(toy.groups[&group].version, before);
}

#[test]
fn removal_goes_on_when_nodes_die_in_the_middle() {
    let mut toy = Toy::new(3);
    toy.declare("a", 3);
    toy.settle();
    let id = toy.store("a");
    toy.down.insert(NodeId::new(2));
    toy.run(Kind::Close { store: id, mode: CloseMode::Delete, declared_by: "u".into() });
    for _ in 0..20 {
        toy.pass(usize::MAX);
    }
    assert!(toy.c.stores.contains_key(&id), "one node has not said that its data is gone");
    toy.down.clear();
    toy.settle();
    assert!(toy.c.stores.is_empty() && toy.c.groups.is_empty());
}

#[test]
fn the_guard_counts_caught_up_voters_only() {
    let mut toy = Toy::new(3);
    toy.declare("a", 3);
    toy.settle();
    let o = toy.observe();
    assert!(guard(&toy.c, &o, NodeId::new(1)).is_ok());
    toy.down.insert(NodeId::new(2));
    let o = toy.observe();
    let blocked = guard(&toy.c, &o, NodeId::new(1)).unwrap_err();
    assert!(blocked.sentence.contains("caught-up"), "{}", blocked.sentence);
    assert!(guard(&toy.c, &o, NodeId::new(2)).is_ok(), "the node that is out already may go");
}

#[derive(Clone, Debug)]
enum Disturb {
    Declare(u8, u32),
    Remove(u8),
    Drain(u64),
    Cancel(u64),
    Join,
    Down(u64),
    Up,
    Pass(usize),
}

fn disturb() -> impl Strategy<Value = Disturb> {
    prop_oneof![
        2 => (0u8..3, prop_oneof![Just(1u32), Just(3)]).prop_map(|(n, r)| Disturb::Declare(n, r)),
        1 => (0u8..3).prop_map(Disturb::Remove),
        1 => (1u64..7).prop_map(Disturb::Drain),
        1 => (1u64..7).prop_map(Disturb::Cancel),
        1 => Just(Disturb::Join),
        2 => (1u64..7).prop_map(Disturb::Down),
        2 => Just(Disturb::Up),
        6 => (0usize..4).prop_map(Disturb::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever happens, and wherever the coordinator dies: every step is allowed, and in the end everything is as
    /// declared and nothing more is to be done.
    #[test]
    fn it_converges_whatever_happens(steps in prop::collection::vec(disturb(), 1..60)) {
        let mut toy = Toy::new(3);
        let mut next_disk = 4;
        for step in steps {
            match step {
                Disturb::Declare(n, replicas) => drop(toy.declare(&format!("s{n}"), replicas)),
                Disturb::Remove(n) => {
                    let name = StoreName::new("default", &format!("s{n}")).unwrap();
                    if let Some((store, _)) = toy.c.store_named(&name) {
                        toy.run(Kind::Close { store, mode: CloseMode::Delete, declared_by: "u".into() });
                    }
                }
                // as the operator would: never below what is declared, and never the last nodes
                Disturb::Drain(n) if toy.c.members().count() > 1 => drop(toy.run(Kind::Drain(NodeId::new(n)))),
                Disturb::Drain(_) => {}
                Disturb::Cancel(n) => drop(toy.run(Kind::CancelDrain(NodeId::new(n)))),
                Disturb::Join => {
                    if next_disk < 7 {
                        toy.run(Kind::Register(registration(next_disk)));
                        next_disk += 1;
                    }
                }
                Disturb::Down(n) => {
                    toy.down.insert(NodeId::new(n));
                    let system = toy.groups[&GroupId::SYSTEM].clone();
                    if !toy.majority(&system) {
                        toy.down.remove(&NodeId::new(n));
                    }
                }
                Disturb::Up => toy.down.clear(),
                Disturb::Pass(n) => drop(toy.pass(n)),
            }
        }
        toy.down.clear();
        toy.settle();
        for (id, store) in &toy.c.stores {
            let group = &toy.groups[&store.group];
            let fits = toy.c.members().count() >= store.replicas as usize;
            if fits {
                prop_assert_eq!(group.configs[0].len(), store.replicas as usize, "store {}", id);
            }
        }
    }
}
