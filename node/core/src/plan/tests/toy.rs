//! Toy cluster that carries out plans, one action at a time, and checks safety properties at every step.
//!
//! Nodes receive the catalogue with a delay, replicas need time to catch up, and a membership change may stop in the
//! joint state.
//!
//! One file, although long: every step changes the state of nodes, groups and coordinator together, and is checked as a whole.

use crate::{
    catalogue::{
        self, Catalogue, CatalogueOutcome, Command, Declaration, GroupPhase, Kind, NodeState, Registration,
        ReplicaState, Rules, StoreState, system_voters,
    },
    ids::{ClusterId, Digest, DiskId, GroupId, NodeId, ReplicaId, StoreId},
    names::StoreName,
    plan::{
        Action, ClusterObservation, Fence, GroupObservation, Lineage, LogPoint, NodeObservation, Plan, Planner,
        ReplicaObservation, WaitReason, Waiting,
        observation::{CAUGHT_UP_US, SILENT_US},
        plan,
    },
    stream::Settings,
};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// State of a group: membership, leader and replication progress.
#[derive(Clone, Debug)]
pub(super) struct Members {
    pub(super) configs: Vec<BTreeSet<ReplicaId>>,
    pub(super) hosts: BTreeMap<ReplicaId, NodeId>,
    pub(super) leader: ReplicaId,
    /// Number of membership changes so far.
    pub(super) version: u64,
    /// Log index of the membership.
    at: u64,
    /// The membership before, while only the leader has the entry of the latest membership.
    before: Option<Box<Before>>,
    pub(super) committed: u64,
    matched: BTreeMap<ReplicaId, u64>,
    pub(super) settings: Settings,
    /// Rules in force in the log.
    pub(super) rules: u32,
}

/// A committed membership that a new leader restores if the leader is lost before the latest membership is committed.
#[derive(Clone, Debug)]
struct Before {
    configs: Vec<BTreeSet<ReplicaId>>,
    hosts: BTreeMap<ReplicaId, NodeId>,
    at: u64,
    /// True once the leader has had time to commit the latest membership.
    due: bool,
}

impl Members {
    fn new(voters: BTreeSet<ReplicaId>, hosts: BTreeMap<ReplicaId, NodeId>, leader: ReplicaId) -> Self {
        let matched = hosts.keys().map(|r| (*r, 10)).collect();
        let settings = Settings::default();
        Self {
            configs: vec![voters],
            hosts,
            leader,
            version: 1,
            at: 0,
            before: None,
            committed: 10,
            matched,
            settings,
            rules: 1,
        }
    }

    /// Appends a membership to the leader's log.
    fn append(&mut self, configs: Vec<BTreeSet<ReplicaId>>, hosts: BTreeMap<ReplicaId, NodeId>) {
        let (configs, hosts) =
            (std::mem::replace(&mut self.configs, configs), std::mem::replace(&mut self.hosts, hosts));
        let before = Before { configs, hosts, at: self.at, due: false };
        self.before.get_or_insert_with(|| Box::new(before));
        self.at = self.committed.max(self.at) + 1;
    }

    /// Commits the latest membership.
    fn commit(&mut self) {
        self.before = None;
        self.committed = self.committed.max(self.at);
        self.matched.retain(|r, _| self.hosts.contains_key(r));
    }

    /// Restores the membership before the latest, because the only log with the latest is lost.
    fn roll_back(&mut self) {
        if let Some(before) = self.before.take() {
            let before = *before;
            (self.configs, self.hosts, self.at) = (before.configs, before.hosts, before.at);
        }
    }

    /// Returns the voters of the committed membership.
    fn voters_in_force(&self) -> &[BTreeSet<ReplicaId>] {
        self.before.as_ref().map_or(&self.configs, |before| &before.configs)
    }

    pub(super) fn membership_committed(&self) -> bool {
        self.before.is_none()
    }
}

/// Progress of a membership change before the coordinator crashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carry {
    Whole,
    ToTheJointState,
}

pub(super) struct Toy {
    pub(super) c: Catalogue,
    pub(super) groups: BTreeMap<GroupId, Members>,
    heard: BTreeMap<NodeId, Catalogue>,
    pub(super) deleted: BTreeSet<(GroupId, ReplicaId)>,
    /// Nodes that do not answer now.
    pub(super) down: BTreeSet<NodeId>,
    /// Nodes that never answer again.
    pub(super) lost: BTreeSet<NodeId>,
    /// Replicas that run but receive no entries.
    pub(super) stalled: BTreeSet<(GroupId, ReplicaId)>,
    pub(super) divergent: BTreeSet<(GroupId, ReplicaId)>,
    pub(super) fenced: BTreeSet<(GroupId, ReplicaId)>,
    /// True if a person frees each fenced replica that has left the group.
    pub(super) frees: bool,
    /// Replicas that fail at every start.
    pub(super) broken: BTreeSet<(GroupId, ReplicaId)>,
    /// Replicas that installed the state of another replica.
    pub(super) copied: BTreeMap<(GroupId, ReplicaId), Lineage>,
    /// True if a new replica installs the state of the leader, right or not.
    pub(super) copying: bool,
    pub(super) writing: bool,
    /// Newest rules known to the binaries of the nodes.
    pub(super) knows: BTreeMap<NodeId, Rules>,
    /// True if the coordinator raises the rules by itself.
    pub(super) raise_rules: bool,
    /// True if leaders need a further pass to commit a membership.
    pub(super) slow: bool,
    ids: BTreeMap<ReplicaId, (GroupId, NodeId)>,
    tick: u64,
    pub(super) now_us: u64,
    pub(super) last: ClusterObservation,
    planner: Planner,
    /// Observation of the last call of `planner`.
    planned: ClusterObservation,
    minted: u128,
}

impl Toy {
    pub(super) fn new(nodes: u64) -> Self {
        let mut toy = Self {
            c: Catalogue::default(),
            groups: BTreeMap::new(),
            heard: BTreeMap::new(),
            deleted: BTreeSet::new(),
            down: BTreeSet::new(),
            lost: BTreeSet::new(),
            stalled: BTreeSet::new(),
            divergent: BTreeSet::new(),
            fenced: BTreeSet::new(),
            frees: true,
            broken: BTreeSet::new(),
            copied: BTreeMap::new(),
            copying: false,
            writing: true,
            knows: BTreeMap::new(),
            raise_rules: true,
            slow: false,
            ids: BTreeMap::new(),
            tick: 0,
            now_us: 1,
            last: ClusterObservation::default(),
            planner: Planner::default(),
            planned: ClusterObservation::default(),
            minted: 100,
        };
        let cluster = ClusterId::new(Uuid::from_u128(1));
        toy.run(Kind::Init { cluster, first: registration(1) });
        let one = ReplicaId::new(1);
        toy.groups.insert(GroupId::SYSTEM, Members::new([one].into(), [(one, NodeId::new(1))].into(), one));
        for disk in 2..=nodes {
            toy.run(Kind::Register(registration(disk)));
        }
        toy.settle();
        toy
    }

    /// Creates a cluster of `nodes` nodes with a settled store `a`.
    pub(super) fn with_store(nodes: u64, replicas: u32) -> Self {
        let mut toy = Self::new(nodes);
        toy.declare("a", replicas);
        toy.settle();
        toy
    }

    /// Adds a caught-up learner on a node to a store, as an earlier change leaves behind that was given up half-way.
    pub(super) fn add_learner(&mut self, name: &str, node: NodeId) -> ReplicaId {
        let group = self.group(name);
        let CatalogueOutcome::Replica(replica) = self.run(Kind::AddReplica { group, node }) else {
            panic!("node {node} takes no replica")
        };
        let m = self.groups.get_mut(&group).unwrap();
        m.hosts.insert(replica, node);
        m.matched.insert(replica, m.committed);
        replica
    }

    /// Takes the node of the last voter of store `a` down, drains the node and settles.
    pub(super) fn drain_a_voter_that_is_down(&mut self) -> NodeId {
        let node = NodeId::new(*self.voters("a").last().unwrap());
        self.down.insert(node);
        self.run(Kind::Drain(node));
        self.settle();
        node
    }

    pub(super) fn run(&mut self, kind: Kind) -> CatalogueOutcome {
        let command = Command { rules: catalogue::RULES, stamp_us: self.now_us, kind };
        catalogue::apply(&mut self.c, &command).unwrap().0
    }

    pub(super) fn declare(&mut self, name: &str, replicas: u32) -> CatalogueOutcome {
        self.declare_or_adopt(name, replicas, None)
    }

    pub(super) fn declare_or_adopt(&mut self, name: &str, replicas: u32, adopt: Option<StoreId>) -> CatalogueOutcome {
        self.minted += 1;
        self.run(Kind::Declare(Declaration {
            name: StoreName::new("default", name).unwrap(),
            replicas,
            adopt,
            minted: StoreId::new(Uuid::from_u128(self.minted)),
            declared_by: "u".into(),
        }))
    }

    pub(super) fn find(&self, name: &str) -> Option<StoreId> {
        self.c.store_named(&StoreName::new("default", name).unwrap()).map(|(id, _)| id)
    }

    pub(super) fn group(&self, name: &str) -> GroupId {
        self.c.stores[&self.find(name).unwrap()].group
    }

    /// Returns the nodes of the voters of a store.
    pub(super) fn voters(&self, name: &str) -> Vec<u64> {
        let m = &self.groups[&self.group(name)];
        m.configs[0].iter().map(|r| m.hosts[r].get()).collect()
    }

    /// Returns the node of the replica that initialises a store's group.
    pub(super) fn initializer(&self, store: &str) -> NodeId {
        let group = &self.c.groups[&self.group(store)];
        let GroupPhase::Creating { initializer, .. } = &group.phase else { panic!("the group is formed already") };
        group.replicas[initializer].node
    }

    /// Returns the first deviation of the present plan with a given reason.
    pub(super) fn waiting(&mut self, reason: WaitReason) -> Option<Waiting> {
        let o = self.observe();
        plan(&self.c, &o).waiting.into_iter().find(|w| w.reason == reason)
    }

    fn alive(&self, group: GroupId, replica: ReplicaId, node: NodeId) -> bool {
        let key = (group, replica);
        let runs = !self.deleted.contains(&key) && !self.fenced.contains(&key) && !self.broken.contains(&key);
        runs && !self.down.contains(&node)
    }

    pub(super) fn majority(&self, group: GroupId) -> bool {
        let m = &self.groups[&group];
        m.configs.iter().all(|config| {
            let alive = config.iter().filter(|r| self.alive(group, **r, m.hosts[r])).count();
            alive * 2 > config.len()
        })
    }

    /// Delivers the catalogue to all running members of the system group, every second call, and lets all running nodes
    /// act on their last catalogue: initialise groups and remove leaving replicas.
    fn nodes_act(&mut self) {
        self.tick += 1;
        let members: Vec<NodeId> = self.groups[&GroupId::SYSTEM].hosts.values().copied().collect();
        for node in members {
            if !self.down.contains(&node) && (self.tick + node.get()).is_multiple_of(2) {
                self.heard.insert(node, self.c.clone());
            }
        }
        let mut removing = Vec::new();
        for (node, heard) in self.heard.iter().filter(|(n, _)| !self.down.contains(n)) {
            for (id, group) in &heard.groups {
                for (replica, _) in group.replicas.iter().filter(|(_, r)| r.node == *node) {
                    if group.replicas[replica].state == ReplicaState::Leaving {
                        removing.push((*id, *replica));
                    }
                    // Another initial voter initialises the group while the initializer is down.
                    let away = |r: &ReplicaId| group.replicas.get(r).is_none_or(|r| self.down.contains(&r.node));
                    if let GroupPhase::Creating { initial, initializer } = &group.phase
                        && (initializer == replica || (away(initializer) && initial.contains(replica)))
                        && group.replicas[replica].state != ReplicaState::Leaving
                        && !self.deleted.contains(&(*id, *replica))
                        && !self.groups.contains_key(id)
                        && self.c.groups.contains_key(id)
                    {
                        let hosts = group.replicas.iter().map(|(r, x)| (*r, x.node)).collect();
                        self.groups.insert(*id, Members::new(initial.clone(), hosts, *replica));
                    }
                }
            }
        }
        removing.into_iter().for_each(|(group, replica)| self.remove(group, replica));
        self.groups.retain(|id, _| *id == GroupId::SYSTEM || self.c.groups.contains_key(id));
    }

    /// Removes the data of a leaving replica, and checks that no membership that may be in force has the replica as a voter.
    /// The data of a fenced replica stays until a person frees the replica, or deletes the store.
    fn remove(&mut self, group: GroupId, replica: ReplicaId) {
        let store = self.c.groups.get(&group).and_then(|g| self.c.stores.get(&g.store));
        let serves = store.is_some_and(|s| s.state != StoreState::Removing);
        if serves && self.fenced.contains(&(group, replica)) && !self.frees {
            return;
        }
        if self.deleted.insert((group, replica))
            && serves
            && let Some(m) = self.groups.get(&group)
        {
            let mut voters = m.configs.iter().chain(m.voters_in_force()).flatten();
            assert!(voters.all(|v| *v != replica), "replica {replica} of group {group} is removed as a voter");
        }
    }

    /// Lets groups make progress: a leader is elected, entries are committed, and replicas catch up.
    fn groups_act(&mut self) {
        for (id, m) in &mut self.groups {
            let (down, key) = (&self.down, (*id, m.leader));
            let lost = m.hosts.get(&m.leader).is_none_or(|n| down.contains(n));
            if lost || [&self.deleted, &self.fenced, &self.broken].iter().any(|set| set.contains(&key)) {
                m.roll_back();
            }
        }
        let ids: Vec<GroupId> = self.groups.keys().copied().filter(|g| self.majority(*g)).collect();
        for id in ids {
            let mut m = self.groups[&id].clone();
            match &mut m.before {
                Some(before) if self.slow && !before.due => before.due = true,
                Some(_) => m.commit(),
                None => {}
            }
            let alive = |r: &ReplicaId| self.alive(id, *r, m.hosts[r]) && !self.stalled.contains(&(id, *r));
            let votes = |r: &ReplicaId| m.configs.iter().flatten().any(|v| v == r);
            if !votes(&m.leader) || !alive(&m.leader) {
                let able = m.hosts.keys().filter(|r| votes(r) && alive(r));
                let best = able.max_by_key(|r| m.matched.get(r).copied().unwrap_or(0));
                let Some(best) = best else { continue };
                m.leader = *best;
            }
            let before = m.committed;
            let up: Vec<ReplicaId> = m.hosts.keys().copied().filter(alive).collect();
            // Later entries wait for the membership.
            m.committed += u64::from(self.writing && m.before.is_none()) * 3;
            for replica in up {
                if self.copying && m.matched.get(&replica).is_none_or(|matched| *matched == 0) {
                    self.copied.insert((id, replica), Lineage { source: m.leader, index: before });
                    if self.divergent.contains(&(id, m.leader)) {
                        self.divergent.insert((id, replica));
                    }
                }
                let matched = m.matched.entry(replica).or_insert(0);
                // A new replica receives a single entry first, and all entries in the next call.
                *matched = if *matched == 0 { 1 } else { before.max(*matched) };
            }
            m.matched.insert(m.leader, m.committed);
            self.groups.insert(id, m);
        }
    }

    pub(super) fn observe(&mut self) -> ClusterObservation {
        let (now_us, raise_rules) = (self.now_us, self.raise_rules);
        let mut o = ClusterObservation { now_us, raise_rules, ..ClusterObservation::default() };
        for id in self.c.nodes.keys() {
            let (reachable, deleted) = (!self.down.contains(id), self.deleted.clone());
            let on = |of: &BTreeSet<(GroupId, ReplicaId)>| if reachable { self.on(*id, of) } else { BTreeSet::new() };
            let (fenced, broken) = (on(&self.fenced), on(&self.broken));
            let rules = reachable.then(|| self.knows.get(id).copied().unwrap_or(Rules::FIRST));
            let seen = NodeObservation { reachable, rules, deleted, fenced, broken, ..NodeObservation::default() };
            o.nodes.insert(*id, seen);
        }
        for (id, m) in &self.groups {
            for (replica, node) in m.hosts.iter().filter(|(r, n)| self.alive(*id, **r, **n)) {
                let applied = m.matched.get(replica).copied().unwrap_or(0);
                let mut digest = [u8::try_from(applied % 251).unwrap() + 1; 32];
                digest[0] = u8::from(self.divergent.contains(&(*id, *replica)));
                let copied_from = self.copied.get(&(*id, *replica)).copied();
                let digest = Digest(digest);
                let report = ReplicaObservation { applied, digest, copied_from, ..ReplicaObservation::default() };
                if let Some(seen) = o.nodes.get_mut(node) {
                    seen.replicas.insert((*id, *replica), report);
                }
            }
            if !self.majority(*id) || !self.alive(*id, m.leader, m.hosts[&m.leader]) {
                continue;
            }
            o.groups.insert(
                *id,
                GroupObservation {
                    leader: m.leader,
                    leader_node: m.hosts[&m.leader],
                    term: 1,
                    membership: Some((1, 1, m.at)),
                    configs: m.configs.clone(),
                    hosts: m.hosts.clone(),
                    matched: m.matched.clone(),
                    committed: m.committed,
                    quorum: true,
                    settings: m.settings,
                    rules: m.rules,
                    recorded_us: 0,
                },
            );
        }
        if let Some(system) = o.groups.get(&GroupId::SYSTEM) {
            o.coordinator = system.leader_node;
        }
        let mut changes = o.clone();
        changes.changed = Some(changed(&self.last, &o));
        o.settle(&self.c, &self.last);
        changes.settle(&self.c, &self.last);
        changes.changed = None;
        assert_eq!(changes, o, "an observation of the changed groups");
        self.last = o.clone();
        o
    }

    /// Returns the number of groups that the last pass of the changed groups left out.
    pub(super) fn left_out(&self) -> usize {
        self.planner.left_out
    }

    /// Checks that a plan of the changed groups alone is the same as the plan of all groups.
    fn plan_changed(&mut self, o: &ClusterObservation, expected: &Plan) {
        let mut changes = o.clone();
        changes.changed = Some(changed(&self.planned, o));
        assert_eq!(self.planner.plan(&self.c, &changes), *expected, "a plan of the changed groups");
        self.planned = o.clone();
    }

    /// Returns those of the replicas `of` whose data is on the node.
    fn on(&self, node: NodeId, of: &BTreeSet<(GroupId, ReplicaId)>) -> BTreeSet<(GroupId, ReplicaId)> {
        let here = |(group, replica): &&(GroupId, ReplicaId)| {
            let r = self.c.groups.get(group).and_then(|g| g.replicas.get(replica));
            r.is_some_and(|r| r.node == node) && !self.deleted.contains(&(*group, *replica))
        };
        of.iter().filter(here).copied().collect()
    }

    /// Fences a replica, and checks that a correct majority remains without the replica and without the granted node.
    fn fence(&mut self, fence: &Fence) {
        let key = (fence.group, fence.replica);
        assert!(self.divergent.contains(&key), "{fence:?} is not divergent");
        assert_ne!(fence.digest, fence.majority);
        assert_ne!(fence.group, GroupId::SYSTEM);
        assert!(self.fenced.insert(key), "{fence:?} is fenced already");
        let voters = &self.groups[&fence.group].configs[0];
        let m = &self.groups[&fence.group];
        let granted = self.c.live_grant(self.now_us).map(|g| g.node);
        let good = |r: &&ReplicaId| {
            let key = (fence.group, **r);
            self.alive(fence.group, **r, m.hosts[r]) && !self.divergent.contains(&key) && granted != Some(m.hosts[r])
        };
        assert!(voters.iter().filter(good).count() * 2 > voters.len(), "{fence:?} leaves no majority");
    }

    fn act(&mut self, action: Action, carry: Carry) {
        match action {
            Action::Propose(kind) => drop(self.run(kind)),
            Action::Transfer { group, leader, to, .. } => {
                assert!(self.last.caught_up(group, to), "a transfer to a replica that is behind");
                let m = self.groups.get_mut(&group).unwrap();
                assert_ne!(to, leader, "a transfer to the present leader");
                assert!(m.configs.iter().all(|c| c.contains(&to)), "a transfer to a non-voter");
                m.leader = to;
                m.commit();
            }
            Action::Settings { group, settings, .. } => {
                let m = self.groups.get_mut(&group).unwrap();
                assert!(settings.version > m.settings.version, "settings that change nothing");
                m.settings = settings;
            }
            Action::RaiseRules { group, rules, .. } => {
                let m = self.groups.get_mut(&group).unwrap();
                assert!(rules > m.rules, "rules that change nothing");
                m.rules = rules;
            }
            Action::ChangeMembership { group, expected, voters, learners, .. } => {
                self.change(group, expected, voters, &learners, carry);
            }
        }
    }

    fn change(
        &mut self,
        group: GroupId,
        expected: Option<LogPoint>,
        voters: BTreeSet<ReplicaId>,
        learners: &BTreeMap<ReplicaId, NodeId>,
        carry: Carry,
    ) {
        let known: BTreeSet<ReplicaId> =
            self.c.groups.get(&group).map(|g| g.replicas.keys().copied().collect()).unwrap_or_default();
        let enough = self.voters_wanted(group);
        let (close, caught_up) =
            (|r: &&ReplicaId| self.last.close(group, **r), |r: &ReplicaId| self.last.caught_up(group, *r));
        let mut m = self.groups[&group].clone();
        assert_eq!(expected, Some((1, 1, m.at)), "the change was decided from another membership");
        if m.before.is_some() {
            return; // The leader refuses a change while another change is not committed.
        }
        assert!(
            group == GroupId::SYSTEM || learners.keys().all(|r| known.contains(r)),
            "a learner that the catalogue does not name"
        );
        let mut hosts = m.hosts.clone();
        hosts.extend(learners);
        assert!(voters.iter().all(|v| hosts.contains_key(v)), "a new voter that was no learner");
        let old = m.configs[0].clone();
        let joint = m.configs.len() > 1;
        if joint {
            assert!(m.configs.contains(&voters), "a change of the voters inside a change of the voters");
        } else if old != voters {
            assert!(voters.iter().filter(|v| !old.contains(v)).all(caught_up), "a new voter is not caught up");
            assert!(voters.iter().filter(close).count() * 2 > voters.len(), "no majority of the new voters is close");
            // A lost voter may leave without a successor, because the lost voter does not answer anyway.
            let gone = [&self.fenced, &self.broken, &self.deleted];
            let left = |n: &NodeId| match self.c.nodes.get(n).map(|n| n.state) {
                Some(NodeState::Replacing { .. }) => true,
                Some(NodeState::Draining) => self.last.silent(*n),
                _ => false,
            };
            let lost = |r: &&ReplicaId| {
                gone.iter().any(|replicas| replicas.contains(&(group, **r))) || m.hosts.get(*r).is_some_and(left)
            };
            let kept = old.iter().filter(|r| voters.contains(r) || !lost(r)).count();
            let grows = group != GroupId::SYSTEM && voters.len() > old.len() && voters.len() <= enough;
            assert!(!grows || !voters.len().is_multiple_of(2), "{} voters of group {group}", voters.len());
            assert!(voters.len() >= kept.min(enough), "{} voters of group {group}, {enough} wanted", voters.len());
        }
        m.version += 1;
        if carry == Carry::ToTheJointState && !joint && old != voters {
            m.append(vec![old, voters], hosts);
        } else {
            if !joint && old != voters {
                // The leader appends the second membership of the change after the first is committed.
                m.append(vec![old, voters.clone()], hosts.clone());
                m.commit();
            }
            hosts.retain(|r, _| joint || voters.contains(r) || learners.contains_key(r));
            m.append(vec![voters], hosts);
        }
        if !self.slow {
            m.commit();
        }
        self.groups.insert(group, m);
    }

    fn voters_wanted(&self, group: GroupId) -> usize {
        match self.c.groups.get(&group) {
            None => system_voters(self.c.members().count()),
            Some(g) => self.c.stores.get(&g.store).map_or(0, |s| s.replicas as usize),
        }
    }

    /// Runs a pass of a coordinator that crashes after `actions` actions. `carry` limits changes of the voters. Returns
    /// the number of planned actions and fences.
    pub(super) fn pass_until(&mut self, actions: usize, carry: Carry) -> usize {
        self.now_us += CAUGHT_UP_US / 2;
        self.nodes_act();
        self.groups_act();
        let o = self.observe();
        if !o.groups.contains_key(&GroupId::SYSTEM) {
            return 0;
        }
        let plan = plan(&self.c, &o);
        assert_eq!(plan, crate::plan::plan(&self.c, &o), "the planner is not pure");
        self.plan_changed(&o, &plan);
        let mut moving = BTreeSet::new();
        for action in &plan.actions {
            if let Action::ChangeMembership { group, .. } | Action::Transfer { group, .. } = action {
                assert!(moving.insert(*group), "two steps of group {group} at the same time");
            }
        }
        let n = plan.actions.len() + plan.fences.len();
        for fence in plan.fences.iter().take(actions) {
            self.fence(fence);
        }
        for action in plan.actions.into_iter().take(actions) {
            self.act(action, carry);
        }
        self.check();
        n
    }

    pub(super) fn pass(&mut self) -> usize {
        self.pass_until(usize::MAX, Carry::Whole)
    }

    fn check(&mut self) {
        for (id, group) in &self.c.groups {
            for (replica, r) in &group.replicas {
                let first = *self.ids.entry(*replica).or_insert((*id, r.node));
                assert_eq!(first, (*id, r.node), "replica id {replica} was given twice");
                let drained = self.c.nodes[&r.node].state == NodeState::Removed { forced: false };
                assert!(!drained, "group {id} has a replica on a drained node");
            }
        }
        let removing = |id: &GroupId| {
            let store = self.c.groups.get(id).and_then(|g| self.c.stores.get(&g.store));
            *id != GroupId::SYSTEM && store.is_none_or(|s| s.state == StoreState::Removing)
        };
        for (id, m) in self.groups.iter().filter(|(id, _)| !removing(id)) {
            let kept = |r: &&ReplicaId| !self.deleted.contains(&(*id, **r));
            for voters in m.voters_in_force() {
                let left = voters.iter().filter(kept).count();
                assert!(left * 2 > voters.len(), "{left} of {} voters of group {id} still have data", voters.len());
            }
            let mut nodes = BTreeSet::new();
            for (replica, node) in m.hosts.iter().filter(|(r, _)| !self.deleted.contains(&(*id, **r))) {
                assert!(nodes.insert(*node), "two replicas of group {id} on node {node}");
                let state = self.c.nodes[node].state;
                assert!(!matches!(state, NodeState::Removed { .. }), "{replica} of group {id} lives on a removed node");
            }
        }
    }

    /// Advances the time until all nodes that are down are silent.
    pub(super) fn be_silent(&mut self) {
        self.observe();
        self.now_us += SILENT_US;
        self.observe();
    }

    pub(super) fn settle(&mut self) {
        for _ in 0..400 {
            if self.pass() == 0 && self.is_quiet() {
                return;
            }
        }
        let o = self.observe();
        panic!("does not settle: {:#?}\n{:#?}", plan(&self.c, &o), self.c);
    }

    /// Runs passes until all replicas have applied all entries.
    pub(super) fn quiet_down(&mut self) {
        for _ in 0..6 {
            self.pass();
        }
    }

    /// True if several consecutive passes plan nothing.
    pub(super) fn is_quiet(&mut self) -> bool {
        (0..6).all(|_| self.pass() == 0)
    }
}

/// Returns the groups with a report that differs between two observations, as the coordinator finds from the reports: a node
/// that does not answer keeps its reports.
fn changed(before: &ClusterObservation, now: &ClusterObservation) -> BTreeSet<GroupId> {
    let nodes: BTreeSet<NodeId> = before.nodes.keys().chain(now.nodes.keys()).copied().collect();
    let none = NodeObservation::default();
    let mut changed = BTreeSet::new();
    for node in nodes {
        let (a, b) = (before.nodes.get(&node).unwrap_or(&none), now.nodes.get(&node).unwrap_or(&none));
        if !a.reachable || !b.reachable {
            continue;
        }
        for key in a.replicas.keys().chain(b.replicas.keys()) {
            if a.replicas.get(key) != b.replicas.get(key) {
                changed.insert(key.0);
            }
        }
        for (a, b) in [(&a.deleted, &b.deleted), (&a.fenced, &b.fenced), (&a.broken, &b.broken)] {
            changed.extend(a.symmetric_difference(b).map(|(group, _)| *group));
        }
    }
    let groups = before.groups.keys().chain(now.groups.keys());
    let answers = |o: &ClusterObservation, node: NodeId| o.nodes.get(&node).is_some_and(|n| n.reachable);
    // A leader that appears or changes reports so. The disappearance of a leader shows only in the report of its node.
    let reported = |id: &&GroupId| {
        let last = before.groups.get(id).map(|g| g.leader_node);
        now.groups.contains_key(id) || last.is_some_and(|node| answers(before, node) && answers(now, node))
    };
    let differs = |id: &&GroupId| before.groups.get(id) != now.groups.get(id);
    changed.extend(groups.filter(differs).filter(reported));
    changed
}

pub(super) fn registration(disk: u64) -> Registration {
    Registration {
        disk: DiskId::new(Uuid::from_u128(disk.into())),
        name: format!("main-{}", disk - 1),
        address: String::new(),
        version: "1".into(),
    }
}
