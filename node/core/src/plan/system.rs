//! What the system group and the nodes themselves need. In the system group the replica id is the node id.

use super::{
    action::{Action, Plan},
    observation::ClusterObservation,
    wait_reason::WaitReason,
};
use crate::{
    catalogue::{Catalogue, Group, Kind, NodeState, Replica, ReplicaState, system_voters},
    ids::{GroupId, NodeId, ReplicaId},
};
use std::collections::{BTreeMap, BTreeSet};

fn replica(node: NodeId) -> ReplicaId {
    ReplicaId::new(node.get())
}

/// Learners for new nodes, promotion to the right number of voters, and the way out for nodes that leave.
pub(super) fn plan(c: &Catalogue, o: &ClusterObservation, plan: &mut Plan) {
    let Some(seen) = o.groups.get(&GroupId::SYSTEM) else { return };
    let change = |voters: BTreeSet<ReplicaId>, learners: BTreeMap<ReplicaId, NodeId>| Action::ChangeMembership {
        group: GroupId::SYSTEM,
        leader_node: seen.leader_node,
        leader: seen.leader,
        expected: seen.membership,
        voters,
        learners,
    };
    if let Some(last) = seen.configs.last().filter(|_| seen.joint()) {
        let stay = seen.hosts.iter().filter(|(r, _)| !last.contains(r) && !seen.configs[0].contains(r));
        plan.actions.push(change(last.clone(), stay.map(|(r, n)| (*r, *n)).collect()));
        return;
    }
    let voters = seen.voters();
    let members: BTreeSet<NodeId> = c.members().collect();
    // A drained node stays in the group until its last data is gone: it must hear of what it is to remove.
    let leaving: BTreeSet<NodeId> = c
        .nodes
        .iter()
        .filter(|(id, n)| match n.state {
            NodeState::Member => false,
            NodeState::Draining => holds_nothing(c, **id) || given_up(c, o, **id),
            // The voters never fall in a replacement: a lost voter stays until another node can take its vote.
            NodeState::Replacing { .. } => {
                unnamed(c, **id) && (!voters.contains(&replica(**id)) || members.len() >= voters.len())
            }
            NodeState::Removed { .. } => true,
        })
        .map(|(id, _)| *id)
        .collect();
    // Whoever is to stay a learner is named in every change, or it would leave the group.
    let learners = |voters: &BTreeSet<ReplicaId>| -> BTreeMap<ReplicaId, NodeId> {
        let stay = seen.hosts.iter().filter(|(r, n)| !voters.contains(r) && !leaving.contains(n));
        stay.map(|(r, n)| (*r, *n)).collect()
    };
    let present: BTreeSet<NodeId> = c
        .nodes
        .iter()
        .filter(|(id, n)| !matches!(n.state, NodeState::Removed { .. }) && !leaving.contains(id))
        .map(|(id, _)| *id)
        .collect();
    // A node that is drained right after it came must still hear of what was placed on it, so it learns too.
    let replacing = |n: &NodeId| matches!(c.nodes[n].state, NodeState::Replacing { .. });
    let new: BTreeMap<ReplicaId, NodeId> = present
        .iter()
        .map(|n| (replica(*n), *n))
        .filter(|(r, n)| !seen.hosts.contains_key(r) && !replacing(n))
        .collect();
    if !new.is_empty() {
        let mut all = learners(&voters);
        all.extend(new);
        plan.actions.push(change(voters, all));
        return;
    }
    let wanted = wanted_voters(o, &members, &present, &voters, seen.leader);
    let gone = seen.hosts.values().any(|n| leaving.contains(n));
    if wanted == voters && !gone {
        return;
    }
    if wanted.iter().any(|v| !voters.contains(v) && !o.caught_up(GroupId::SYSTEM, *v)) {
        return;
    }
    let sure = wanted.iter().filter(|v| o.close(GroupId::SYSTEM, **v)).count();
    if sure * 2 <= wanted.len() {
        return;
    }
    if wanted.contains(&seen.leader) {
        let stay = learners(&wanted);
        plan.actions.push(change(wanted, stay));
        return;
    }
    let to = wanted.iter().find(|v| voters.contains(v) && **v != seen.leader && o.caught_up(GroupId::SYSTEM, **v));
    match to {
        Some(to) => plan.actions.push(Action::Transfer {
            group: GroupId::SYSTEM,
            leader_node: seen.leader_node,
            leader: seen.leader,
            to: *to,
        }),
        None => {
            let mut both = wanted;
            both.insert(seen.leader);
            if both != voters {
                let stay = learners(&both);
                plan.actions.push(change(both, stay));
            }
        }
    }
}

/// Who votes: members that do so stay, the reachable and the lowest come first. A node that is on its way out but cannot go
/// yet keeps its vote if no member can take it: a drain that is blocked must not cost the group a voter.
fn wanted_voters(
    o: &ClusterObservation,
    members: &BTreeSet<NodeId>,
    present: &BTreeSet<NodeId>,
    voters: &BTreeSet<ReplicaId>,
    leader: ReplicaId,
) -> BTreeSet<ReplicaId> {
    let mut ranked: Vec<(u8, NodeId)> = present
        .iter()
        .filter(|n| members.contains(n) || voters.contains(&replica(**n)))
        .map(|n| {
            let rank = match (voters.contains(&replica(*n)), o.reachable(*n)) {
                _ if !members.contains(n) => 4,
                (true, _) if replica(*n) == leader => 0,
                (true, true) => 1,
                (true, false) => 2,
                (false, true) => 3,
                (false, false) => 5,
            };
            (rank, *n)
        })
        .collect();
    ranked.sort_unstable();
    // A node that does not answer is no reason to shrink, but none is promoted before it is caught up.
    let number = system_voters(ranked.len());
    ranked.into_iter().take(number).map(|(_, n)| replica(n)).collect()
}

/// No store group names the node.
#[must_use]
pub fn unnamed(c: &Catalogue, node: NodeId) -> bool {
    !c.groups.values().any(|g| g.replicas.values().any(|r| r.node == node && r.state != ReplicaState::Leaving))
}

/// No store group names the node, and none has data there that is still to be removed.
fn holds_nothing(c: &Catalogue, node: NodeId) -> bool {
    !c.groups.values().any(|g| g.replicas.values().any(|r| r.node == node))
}

/// The node is silent and every store has moved away from it: its drain does not wait for what only it could remove.
fn given_up(c: &Catalogue, o: &ClusterObservation, node: NodeId) -> bool {
    o.silent(node) && unnamed(c, node)
}

/// Nodes that no group names any more leave the catalogue. A drained node that has never said that its data is gone leaves
/// by force: the data stays under the names of replicas that are never used again, and its disk can only come back as a new
/// node. Until then nothing of it is dropped from the catalogue, so a node that answers in time, or whose drain is taken
/// back, removes its old data before it gets new.
pub(super) fn departures(c: &Catalogue, o: &ClusterObservation, plan: &mut Plan) {
    let Some(seen) = o.groups.get(&GroupId::SYSTEM) else { return };
    // The catalogue takes one at a time.
    let mut replacing = c.nodes.values().any(|n| matches!(n.state, NodeState::Replacing { .. }));
    for (id, node) in &c.nodes {
        let named = seen.hosts.values().any(|n| n == id) || seen.joint();
        match node.state {
            NodeState::Draining if holds_nothing(c, *id) && !named => plan.propose(Kind::Drained(*id)),
            NodeState::Draining if given_up(c, o, *id) && !named && !replacing => {
                plan.propose(Kind::Replace { old: *id, new: None });
                replacing = true;
            }
            NodeState::Replacing { .. } if unnamed(c, *id) && !named => plan.propose(Kind::Replaced(*id)),
            NodeState::Draining if !o.reachable(*id) => {
                let sentence = format!("the node does not answer; {}", remaining(c, *id));
                plan.wait(None, Some(*id), WaitReason::Draining, sentence);
            }
            NodeState::Draining => plan.wait(None, Some(*id), WaitReason::Draining, remaining(c, *id)),
            NodeState::Replacing { .. } => plan.wait(None, Some(*id), WaitReason::Replacing, remaining(c, *id)),
            NodeState::Member | NodeState::Removed { .. } => {}
        }
    }
}

/// What still holds a node that is leaving: a store by name, or the system group.
fn remaining(c: &Catalogue, node: NodeId) -> String {
    let on = |r: &&Replica| r.node == node;
    let named = |g: &&Group| g.replicas.values().filter(on).any(|r| r.state != ReplicaState::Leaving);
    let store =
        |g: &Group| c.stores.get(&g.store).map_or_else(|| "a store".to_owned(), |s| format!("store {}", s.name));
    let naming = c.groups.values().filter(named).count();
    if let Some(first) = c.groups.values().find(named) {
        let others = if naming > 1 { format!(" and {} others have", naming - 1) } else { " has".to_owned() };
        return format!("{}{others} a replica on the node", store(first));
    }
    match c.groups.values().find(|g| g.replicas.values().any(|r| on(&r))) {
        Some(group) => format!("the node removes its data of {}", store(group)),
        None => "the system group still names the node".to_owned(),
    }
}
