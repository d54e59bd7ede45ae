//! Simulated Cluster that carries out every plan, and breaks at random.

use super::*;

/// Random numbers from a seed; the seed alone repeats a run.
struct SeededRandom(u64);

impl SeededRandom {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

#[derive(Default)]
struct World {
    wish: i32,
    observation: Observation,
    /// Disk id and cluster id on each volume; volumes stay when pods go.
    disks: BTreeMap<i32, (String, String)>,
    next_node: u64,
    next_disk: u64,
    formed: u32,
    now: i64,
    /// Expiry time of the grant.
    granted_until: i64,
    /// Actions and faults so far, for the message of a failure.
    history: Vec<String>,
}

impl World {
    fn new(replicas: i32) -> Self {
        Self { wish: replicas, next_node: 1, ..Self::default() }
    }

    fn catalogue(&mut self) -> &mut Vec<NodeView> {
        &mut self.observation.view.get_or_insert_with(ClusterView::default).nodes
    }

    /// Plays Kubernetes: as many pods as the StatefulSet demands, on their volumes.
    fn kubernetes(&mut self) {
        let replicas = self.observation.set.as_ref().map_or(0, |set| set.replicas);
        let revision = self.observation.set.as_ref().and_then(|set| set.revision.clone()).unwrap_or_default();
        self.observation.pods.retain(|ordinal, pod| *ordinal < replicas && !pod.terminating);
        for ordinal in 0..replicas {
            if self.observation.pods.contains_key(&ordinal) {
                continue;
            }
            let next_disk = &mut self.next_disk;
            let (disk, cluster) = self.disks.entry(ordinal).or_insert_with(|| {
                *next_disk += 1;
                (format!("disk-{next_disk}"), String::new())
            });
            let mut pod = blank(ordinal);
            pod.uid = format!("uid-{ordinal}-{}", self.now);
            pod.revision.clone_from(&revision);
            (pod.started, pod.created) = (Some(at(self.now)), at(self.now));
            if let NodeObservation::Status(status) = &mut pod.node {
                status.disk_id.clone_from(disk);
                status.cluster_id.clone_from(cluster);
                status.blank = cluster.is_empty();
                let known = self.observation.view.iter().flat_map(|view| &view.nodes).find(|node| {
                    node.node.as_ref().is_some_and(|n| n.disk_id == *disk)
                        && node_view::state(node) == NodeState::Member
                });
                if let Some(node) = known {
                    status.node_id = node_view::id(node);
                    status.set_lifecycle(Lifecycle::Member);
                    pod.ready = true;
                }
            }
            self.observation.pods.insert(ordinal, pod);
        }
    }

    /// Plays the nodes: a node with a cluster id registers; a drained volume comes back blank.
    fn nodes(&mut self) {
        let gone: Vec<String> = self
            .observation
            .view
            .iter()
            .flat_map(|view| &view.nodes)
            .filter_map(|node| node.node.as_ref())
            .filter(|node| matches!(node.state(), NodeState::Drained | NodeState::Removed))
            .map(|n| n.disk_id.clone())
            .collect();
        let mut register = Vec::new();
        for (ordinal, pod) in &mut self.observation.pods {
            let NodeObservation::Status(status) = &mut pod.node else {
                continue;
            };
            if gone.contains(&status.disk_id) {
                continue;
            }
            if !status.cluster_id.is_empty() && status.lifecycle() != Lifecycle::Member {
                status.set_lifecycle(Lifecycle::Member);
                status.node_id = self.next_node;
                self.next_node += 1;
                register.push((*ordinal, status.node_id, status.disk_id.clone()));
                self.disks.insert(*ordinal, (status.disk_id.clone(), status.cluster_id.clone()));
            }
            pod.ready = status.lifecycle() == Lifecycle::Member;
        }
        for (ordinal, id, disk) in register {
            let mut fresh = node(ordinal, NodeState::Member);
            if let Some(fresh) = fresh.node.as_mut() {
                (fresh.node_id, fresh.disk_id) = (id, disk);
            }
            self.catalogue().push(fresh);
        }
        let running: Vec<String> = self
            .observation
            .pods
            .values()
            .filter(|pod| pod.ready)
            .filter_map(|pod| pod.node_status().map(|node| node.disk_id.clone()))
            .collect();
        for node in self.observation.view.iter_mut().flat_map(|view| &mut view.nodes) {
            let Some(known) = node.node.as_mut() else { continue };
            known.reachable = running.contains(&known.disk_id);
            node.caught_up = known.reachable;
            if known.state() == NodeState::Draining {
                known.set_state(NodeState::Drained);
                node.named_by_groups.clear();
            }
        }
    }

    fn operator(&mut self) -> Plan {
        let plan = plan(&wish(self.wish), &self.observation, at(self.now));
        if !plan.actions.is_empty() || plan.shrinks {
            self.history.push(format!("{}: size {} {:?}", self.now, plan.size, plan.actions));
        }
        self.check(&plan);
        for action in &plan.actions {
            self.carry_out(action);
        }
        let revision =
            self.observation.set.as_ref().and_then(|set| set.revision.clone()).or_else(|| Some("new".to_owned()));
        self.observation.set = Some(SetObservation { replicas: plan.size, revision });
        plan
    }

    fn check(&self, plan: &Plan) {
        let disturbing = plan.actions.iter().filter(|action| action.disturbs()).count() + usize::from(plan.shrinks);
        assert!(disturbing <= 1, "two disturbances in one reconcile: {plan:?}");
        let members: Vec<u64> = self.observation.nodes().map(node_view::id).collect();
        let grants = self.observation.view.iter().flat_map(|view| &view.grants).map(|grant| grant.node_id);
        let out: Vec<u64> = grants.filter(|id| members.contains(id)).collect();
        for action in &plan.actions {
            if let Action::Restart { node_id: Some(id), .. } | Action::Drain { node_id: id, .. } = action {
                assert!(out.iter().all(|other| other == id), "a second node is taken beside {out:?}: {plan:?}");
            }
        }
        if plan.shrinks {
            assert!(out.is_empty(), "a pod is taken while {out:?} is out: {plan:?}");
            let named = self.observation.nodes_named(&format!("main-{}", plan.size)).count();
            assert_eq!(named, 0, "a pod was taken whose node is a member: {plan:?}");
        }
        for action in &plan.actions {
            // The restart of a pod whose node is in no group is no disruption.
            if let Action::Restart { node_id: Some(_), pod, .. } = action {
                let others_away =
                    self.observation.pods.values().filter(|p| p.name != *pod && (!p.ready || p.terminating)).count();
                assert_eq!(others_away, 0, "a second pod was taken: {plan:?}");
            }
        }
    }

    fn carry_out(&mut self, action: &Action) {
        match action {
            Action::Record { cluster_id, formed, nodes } => {
                self.observation.recorded = Recorded::Identity(Identity {
                    cluster_id: cluster_id.clone().unwrap_or_else(|| ID.to_owned()),
                    formed: *formed,
                    nodes: Some(*nodes),
                });
            }
            Action::MarkFormed { nodes } => {
                self.record(|identity| (identity.formed, identity.nodes) = (true, Some(*nodes)))
            }
            Action::RecordNodes(nodes) => self.record(|identity| identity.nodes = Some(*nodes)),
            Action::Bootstrap { pod, .. } => {
                self.formed += 1;
                self.tell(pod);
            }
            Action::Join { pod, .. } => self.tell(pod),
            Action::Drain { node_id, needs_grant, .. } => {
                if *needs_grant {
                    self.grant(*node_id);
                }
                self.set_state(*node_id, NodeState::Draining);
            }
            Action::CancelDrain { node_id, .. } => self.set_state(*node_id, NodeState::Member),
            Action::Replace { old, .. } => self.set_state(*old, NodeState::Removed),
            Action::Restart { pod, node_id, .. } => {
                node_id.iter().for_each(|id| self.grant(*id));
                self.observation.pods.retain(|_, known| known.name != *pod);
            }
            Action::DeleteBroken { pod, .. } => self.observation.pods.retain(|_, known| known.name != *pod),
            Action::Release { node_id, .. } => {
                self.observation.view.iter_mut().for_each(|view| view.grants.retain(|grant| grant.node_id != *node_id));
            }
            Action::Retain { .. } => {}
        }
    }

    fn grant(&mut self, node_id: u64) {
        self.granted_until = self.now + i64::try_from(GRANT_TTL.as_secs()).expect("small");
        let view = self.observation.view.get_or_insert_with(ClusterView::default);
        view.grants = vec![Grant { node_id, holder: HOLDER.to_owned(), expires_in_ms: 0 }];
    }

    fn record(&mut self, change: impl FnOnce(&mut Identity)) {
        if let Recorded::Identity(identity) = &mut self.observation.recorded {
            change(identity);
        }
    }

    fn tell(&mut self, pod: &str) {
        for (ordinal, known) in self.observation.pods.iter_mut().filter(|(_, known)| known.name == pod) {
            if let NodeObservation::Status(status) = &mut known.node {
                status.cluster_id = ID.to_owned();
                status.blank = false;
                self.disks.insert(*ordinal, (status.disk_id.clone(), ID.to_owned()));
            }
        }
    }

    fn set_state(&mut self, node_id: u64, state: NodeState) {
        for node in self.catalogue().iter_mut().filter_map(|node| node.node.as_mut()) {
            if node.node_id == node_id {
                node.set_state(state);
                if state == NodeState::Removed {
                    node.reachable = false;
                }
            }
        }
    }

    fn fault(&mut self, random: &mut SeededRandom) {
        let ordinal = i32::try_from(random.below(5)).expect("small");
        let kind = random.below(8);
        let ready = self.observation.pods.values().filter(|pod| pod.ready).count();
        self.history.push(format!("{}: wish {}, {ready} ready, fault {kind} at {ordinal}", self.now, self.wish));
        match kind {
            0 => self.wish = i32::try_from(1 + random.below(5)).expect("small"),
            1 => drop(self.observation.pods.remove(&ordinal)),
            // A drained volume that returns is retired by its node: a blank disk again. A volume may also be wiped, but
            // never so many volumes that the majority is lost.
            2 if self.formed > 0
                && self.observation.pods.values().all(|pod| pod.ready)
                && self.observation.pods.len() >= 3 =>
            {
                self.observation.pods.remove(&ordinal);
                self.disks.remove(&ordinal);
            }
            3 => {
                if let Some(set) = self.observation.set.as_mut() {
                    set.revision = Some(format!("revision-{}", random.below(1000)));
                }
            }
            4 => {
                if let Some(set) = self.observation.set.as_mut() {
                    set.replicas = i32::try_from(random.below(6)).expect("small");
                }
            }
            _ => {}
        }
    }

    fn retire(&mut self) {
        let gone: Vec<String> = self
            .observation
            .view
            .iter()
            .flat_map(|view| &view.nodes)
            .filter_map(|node| node.node.as_ref())
            .filter(|node| matches!(node.state(), NodeState::Drained | NodeState::Removed))
            .map(|n| n.disk_id.clone())
            .collect();
        let returned: Vec<i32> =
            self.disks.iter().filter(|(_, (disk, _))| gone.contains(disk)).map(|(n, _)| *n).collect();
        for ordinal in returned {
            if !self.observation.pods.contains_key(&ordinal) {
                self.disks.remove(&ordinal);
            }
        }
    }

    fn step(&mut self) -> Plan {
        self.now += 20;
        if self.now > self.granted_until {
            self.observation.view.iter_mut().for_each(|view| view.grants.clear());
        }
        self.retire();
        self.kubernetes();
        self.nodes();
        if !matches!(&self.observation.recorded, Recorded::Identity(identity) if identity.formed) {
            self.observation.view = None;
        }
        self.operator()
    }
}

#[test]
fn random_histories_never_disturb_twice_and_always_come_to_rest() {
    for seed in 1..400 {
        let mut random = SeededRandom(u64::wrapping_mul(seed, 0x9E37_79B9_7F4A_7C15));
        let mut world = World::new(i32::try_from(1 + random.below(5)).expect("small"));
        for _ in 0..60 {
            world.fault(&mut random);
            world.step();
        }
        let mut idle_steps = 0;
        for _ in 0..200 {
            let plan = world.step();
            idle_steps = if plan.actions.is_empty() && plan.steps.is_empty() { idle_steps + 1 } else { 0 };
            if idle_steps == 3 {
                break;
            }
        }
        let last = plan(&wish(world.wish), &world.observation, at(world.now));
        assert_eq!(idle_steps, 3, "seed {seed} does not come to rest: {last:?}\n{}", world.history.join("\n"));
        assert!(world.formed <= 1, "seed {seed} formed {} times", world.formed);
        assert_eq!(last.size, world.wish, "seed {seed}");
        assert_eq!(
            world.observation.nodes().count(),
            usize::try_from(world.wish).expect("small"),
            "seed {seed}: {:?}",
            world.observation.view
        );
    }
}
