//! What the store groups need.

use super::{
    action::{Action, Plan},
    observation::{ClusterObservation, GroupObservation},
    wait_reason::WaitReason,
};
use crate::{
    catalogue::{Catalogue, Group, GroupPhase, Kind, NodeState, Replica, ReplicaState, StoreState},
    ids::{GroupId, NodeId, ReplicaId},
};
use std::collections::{BTreeMap, BTreeSet};

/// Steps for one group.
pub(super) fn plan(c: &Catalogue, o: &ClusterObservation, id: GroupId, group: &Group, plan: &mut Plan) {
    drop_leaving(c, o, id, group, plan);
    let Some(store) = c.stores.get(&group.store) else { return };
    if store.state == StoreState::Removing {
        if !group.replicas.is_empty() {
            let sentence = format!("{} nodes still remove their data", group.replicas.len());
            plan.wait(Some(group.store), None, WaitReason::Removing, sentence);
        }
        return;
    }
    for (replica, r) in group.replicas.iter().filter(|(r, x)| fenced(o, id, **r, x)) {
        let sentence = format!("replica {replica} on node {} is fenced; a new one takes its place", r.node);
        plan.wait(Some(group.store), Some(r.node), WaitReason::ReplicaInconsistent, sentence);
    }
    let Some(seen) = o.groups.get(&id) else {
        plan.wait(Some(group.store), None, WaitReason::NoLeader, leaderless(o, group));
        return;
    };
    if !seen.quorum {
        plan.wait(Some(group.store), None, WaitReason::NoQuorum, "no majority of the voters answers".into());
        return;
    }
    if group.phase != GroupPhase::Formed {
        plan.propose(Kind::GroupFormed(id));
    }
    if retire_tombstoned(o, id, group, plan) {
        return;
    }
    let stays = |n: NodeId| c.nodes.get(&n).is_some_and(|n| n.state == NodeState::Member);
    let Some(to) = target(c, o, id, group, seen, store.replicas as usize, &stays) else {
        let sentence = format!("{} replicas need as many nodes that take replicas", store.replicas);
        let leaving = group.nodes().find(|n| c.nodes.get(n).is_some_and(|n| n.state == NodeState::Draining));
        let reason = if leaving.is_some() { WaitReason::ScaleDownBlocked } else { WaitReason::NotEnoughNodes };
        plan.wait(Some(group.store), leaving, reason, sentence);
        // What never runs again is replaced all the same: until there are nodes enough, those that leave keep what they
        // have.
        let keeps = |n: NodeId| stays(n) || c.nodes.get(&n).is_some_and(|n| n.state == NodeState::Draining);
        match target(c, o, id, group, seen, store.replicas as usize, &keeps).filter(|_| lacks(o, id, group, seen)) {
            Some(to) => place(c, o, id, group, seen, &to, plan),
            None => finish_joint(id, group, seen, plan),
        }
        return;
    };
    place(c, o, id, group, seen, &to, plan);
}

/// Why a group has no leader, as far as the nodes tell.
fn leaderless(o: &ClusterObservation, group: &Group) -> String {
    let silent: Vec<String> = group.nodes().filter(|n| !o.reachable(*n)).map(|n| n.to_string()).collect();
    let first = match &group.phase {
        GroupPhase::Creating { initializer, .. } => group.replicas.get(initializer).map(|r| r.node),
        GroupPhase::Formed => None,
    };
    match first {
        Some(node) if !o.reachable(node) && group.replicas.len() > 1 => {
            format!("node {node}, which forms the group, does not answer; another one does it in its place")
        }
        Some(node) if !o.reachable(node) => format!("node {node}, which forms the group, does not answer"),
        Some(_) => "the group is being formed".to_owned(),
        None if silent.is_empty() => "the group has no leader".to_owned(),
        None => format!("the group has no leader; no answer from node {}", silent.join(", ")),
    }
}

/// A replica that never runs again, while the catalogue still counts on it.
fn fenced(o: &ClusterObservation, id: GroupId, replica: ReplicaId, r: &Replica) -> bool {
    r.state != ReplicaState::Leaving && o.fenced(id, replica, r.node)
}

/// A voter never runs again, since it is fenced or the catalogue has given it up; or the catalogue does not know yet that
/// the one in its place votes.
fn lacks(o: &ClusterObservation, id: GroupId, group: &Group, seen: &GroupObservation) -> bool {
    let runs = |replica: &ReplicaId| {
        let r = group.replicas.get(replica).filter(|r| r.state == ReplicaState::Active);
        r.is_some_and(|r| !fenced(o, id, *replica, r))
    };
    !seen.voters().iter().all(runs)
}

/// The nodes that are to vote: of those that stay those that have a voter, then those that have a replica, then the emptiest
/// of all members. A node whose replica is fenced counts as one that has none yet. `None`: not enough nodes.
fn target(
    c: &Catalogue,
    o: &ClusterObservation,
    id: GroupId,
    group: &Group,
    seen: &GroupObservation,
    wanted: usize,
    stays: &dyn Fn(NodeId) -> bool,
) -> Option<BTreeSet<NodeId>> {
    let voters = seen.voters();
    let mut ranked: Vec<(u8, NodeId)> = Vec::new();
    for (replica, r) in &group.replicas {
        if r.state == ReplicaState::Leaving || !stays(r.node) || fenced(o, id, *replica, r) {
            continue;
        }
        // Of too many, those that are not reachable go first, and the leader goes last. One that learns beside as many
        // voters as are wanted takes the place of a voter that was fenced or lost. Another coordinator does not know that
        // while the voter's node is away, and must not turn back.
        let rank = match (voters.contains(replica), o.reachable(r.node)) {
            (true, true) if *replica == seen.leader => 0,
            (true, true) => 1,
            (false, true) => 2,
            (true, false) => 3,
            (false, false) => 6,
        };
        ranked.push((rank, r.node));
    }
    let has: BTreeSet<NodeId> = ranked.iter().map(|(_, n)| *n).collect();
    let successor = group.nodes().find_map(|n| match c.nodes.get(&n).map(|n| n.state) {
        Some(NodeState::Replacing { by }) => by,
        _ => None,
    });
    let fresh = c.by_load().into_iter().filter(|n| !has.contains(n));
    let rank = |n: NodeId| {
        if !o.reachable(n) {
            // A replica there would never catch up: only if there is no other node.
            7
        } else if still_leaves(group, n) || group.on(n).is_some() {
            // What is there must go first.
            5
        } else if Some(n) == successor {
            3
        } else {
            4
        }
    };
    let fresh: Vec<(u8, NodeId)> = fresh.map(|n| (rank(n), n)).collect();
    // The order of the emptiest first is kept within a rank: the sort is stable.
    ranked.sort_unstable();
    ranked.extend(fresh);
    ranked.sort_by_key(|(rank, _)| *rank);
    let target: BTreeSet<NodeId> = ranked.into_iter().take(wanted).map(|(_, n)| n).collect();
    (target.len() == wanted).then_some(target)
}

/// The node has not removed an earlier replica of the group yet.
fn still_leaves(group: &Group, node: NodeId) -> bool {
    group.replicas.values().any(|r| r.node == node && r.state == ReplicaState::Leaving)
}

/// One step from where the group is to where it is to be: replicas exist, learn, vote; others stop voting, then leave.
fn place(
    c: &Catalogue,
    o: &ClusterObservation,
    id: GroupId,
    group: &Group,
    seen: &GroupObservation,
    target: &BTreeSet<NodeId>,
    plan: &mut Plan,
) {
    if seen.joint() {
        finish_joint(id, group, seen, plan);
        return;
    }
    let voters = seen.voters();
    let mut wanted: BTreeSet<ReplicaId> = BTreeSet::new();
    for node in target {
        match group.on(*node) {
            Some(replica) if o.fenced(id, replica, *node) => retire_fenced(o, id, group, seen, replica, *node, plan),
            Some(replica) => {
                wanted.insert(replica);
            }
            // Both lifetimes would have the same keys: the old data goes before the new comes.
            None if still_leaves(group, *node) => {
                let sentence = format!("node {node} still removes its former replica");
                plan.wait(Some(group.store), None, WaitReason::Growing, sentence);
            }
            None => plan.propose(Kind::AddReplica { group: id, node: *node }),
        }
    }
    for replica in wanted.iter().filter(|r| voters.contains(r)) {
        if group.replicas.get(replica).is_some_and(|r| r.state == ReplicaState::Joining) {
            plan.propose(Kind::ReplicaActive { group: id, replica: *replica });
        }
    }
    if wanted.len() < target.len() {
        plan.wait(Some(group.store), None, WaitReason::Growing, "replicas are being added".into());
        return;
    }
    if voters == wanted {
        retire(id, group, seen, &wanted, plan);
        return;
    }
    let change = |voters: BTreeSet<ReplicaId>, learners: BTreeMap<ReplicaId, NodeId>| Action::ChangeMembership {
        group: id,
        leader_node: seen.leader_node,
        leader: seen.leader,
        expected: seen.membership,
        voters,
        learners,
    };
    // Everyone who is to learn is named, those who do so already too: whoever is not named leaves.
    let learners: BTreeMap<ReplicaId, NodeId> = wanted
        .iter()
        .filter(|r| !voters.contains(r))
        .filter_map(|r| group.replicas.get(r).map(|x| (*r, x.node)))
        .collect();
    if learners.keys().any(|r| !seen.hosts.contains_key(r)) {
        plan.actions.push(change(voters, learners));
        plan.wait(Some(group.store), None, WaitReason::Growing, "new replicas begin to learn".into());
        return;
    }
    let behind: Vec<ReplicaId> =
        wanted.iter().copied().filter(|r| !voters.contains(r) && !o.caught_up(id, *r)).collect();
    if let Some(replica) = behind.first() {
        let node = seen.hosts.get(replica).map_or(0, |n| n.get());
        plan.wait(Some(group.store), None, WaitReason::Growing, format!("the replica on node {node} catches up"));
        return;
    }
    // The new voters that are caught up must make a majority by themselves, and so must the old ones that answer.
    let sure = wanted.iter().filter(|r| o.close(id, **r)).count();
    if sure * 2 <= wanted.len() {
        plan.wait(Some(group.store), None, WaitReason::NoQuorum, "too few replicas are caught up for a change".into());
        return;
    }
    if !wanted.contains(&seen.leader) {
        transfer(c, o, id, seen, &wanted, plan);
        return;
    }
    plan.actions.push(change(wanted, BTreeMap::new()));
    plan.wait(Some(group.store), None, WaitReason::Changing, "the voters change".into());
}

/// A change that its leader left half done: the newer set wins; it is the one that names replicas of the catalogue.
fn finish_joint(id: GroupId, group: &Group, seen: &GroupObservation, plan: &mut Plan) {
    let Some(last) = seen.configs.last().filter(|_| seen.joint()) else { return };
    plan.actions.push(Action::ChangeMembership {
        group: id,
        leader_node: seen.leader_node,
        leader: seen.leader,
        expected: seen.membership,
        voters: last.clone(),
        learners: BTreeMap::new(),
    });
    plan.wait(Some(group.store), None, WaitReason::Changing, "a change of the voters is being finished".into());
}

/// The leader is to leave: somebody who stays and is caught up leads first.
fn transfer(
    c: &Catalogue,
    o: &ClusterObservation,
    id: GroupId,
    seen: &GroupObservation,
    stay: &BTreeSet<ReplicaId>,
    plan: &mut Plan,
) {
    let voters = seen.voters();
    let to = stay.iter().find(|r| voters.contains(r) && **r != seen.leader && o.caught_up(id, **r));
    match to {
        Some(to) => plan.actions.push(Action::Transfer {
            group: id,
            leader_node: seen.leader_node,
            leader: seen.leader,
            to: *to,
        }),
        // Nobody who stays votes yet (one voter moves): let the new ones vote beside the leader first.
        None => {
            let mut both = stay.clone();
            both.insert(seen.leader);
            if both != voters {
                plan.actions.push(Action::ChangeMembership {
                    group: id,
                    leader_node: seen.leader_node,
                    leader: seen.leader,
                    expected: seen.membership,
                    voters: both,
                    learners: BTreeMap::new(),
                });
            }
        }
    }
    let store = c.groups.get(&id).map(|g| g.store);
    plan.wait(store, None, WaitReason::Changing, "the leader moves to a replica that stays".into());
}

/// Voters are as wanted: whoever else there is leaves the membership, then the catalogue.
fn retire(id: GroupId, group: &Group, seen: &GroupObservation, wanted: &BTreeSet<ReplicaId>, plan: &mut Plan) {
    if !seen.learners().is_empty() {
        plan.actions.push(Action::ChangeMembership {
            group: id,
            leader_node: seen.leader_node,
            leader: seen.leader,
            expected: seen.membership,
            voters: wanted.clone(),
            learners: BTreeMap::new(),
        });
        plan.wait(Some(group.store), None, WaitReason::Changing, "replicas that no longer vote leave the group".into());
        return;
    }
    for (replica, r) in &group.replicas {
        if !wanted.contains(replica) && r.state != ReplicaState::Leaving {
            plan.propose(Kind::RetireReplica { group: id, replica: *replica });
        }
    }
}

/// A replica that its node has removed for ever while the catalogue still counts on it: it never comes back under its id,
/// so it leaves the catalogue at once, although the membership still names it. A new one then takes its place in one
/// change, on the same node if there is no other, and the number of voters does not fall.
fn retire_tombstoned(o: &ClusterObservation, id: GroupId, group: &Group, plan: &mut Plan) -> bool {
    let tombstoned =
        |(replica, r): &(&ReplicaId, &Replica)| r.state != ReplicaState::Leaving && o.tombstoned(id, **replica, r.node);
    let mut any = false;
    for (replica, r) in group.replicas.iter().filter(tombstoned) {
        plan.propose(Kind::RetireReplica { group: id, replica: *replica });
        let sentence = format!("node {} has removed its replica; a new one takes its place", r.node);
        plan.wait(Some(group.store), None, WaitReason::Growing, sentence);
        any = true;
    }
    any
}

/// There is no other node for the replica that takes its place, so the fenced data goes first. It contradicts the
/// majority, which must be whole without it.
fn retire_fenced(
    o: &ClusterObservation,
    id: GroupId,
    group: &Group,
    seen: &GroupObservation,
    replica: ReplicaId,
    node: NodeId,
    plan: &mut Plan,
) {
    let voters = seen.voters();
    let whole = voters.iter().filter(|v| o.close(id, **v)).count();
    if whole * 2 > voters.len() {
        plan.propose(Kind::RetireReplica { group: id, replica });
    } else {
        let sentence = format!("too few replicas are caught up to remove the fenced one on node {node}");
        plan.wait(Some(group.store), None, WaitReason::NoQuorum, sentence);
    }
}

fn drop_leaving(c: &Catalogue, o: &ClusterObservation, id: GroupId, group: &Group, plan: &mut Plan) {
    for (replica, r) in &group.replicas {
        if r.state == ReplicaState::Leaving && o.gone(c, id, *replica, r.node) {
            plan.propose(Kind::DropReplica { group: id, replica: *replica });
        }
    }
}

/// Stores whose last replica is gone.
pub(super) fn stores(c: &Catalogue, plan: &mut Plan) {
    for (id, store) in &c.stores {
        let empty = c.groups.get(&store.group).is_none_or(|g| g.replicas.is_empty());
        if store.state == StoreState::Removing && empty {
            plan.propose(Kind::StoreGone(*id));
        }
    }
}

/// One leader moves from the node that leads most to the one that leads least, if that evens out. Quiet when even.
pub(super) fn balance(c: &Catalogue, o: &ClusterObservation, plan: &mut Plan) {
    let mut load: BTreeMap<NodeId, usize> = c.members().filter(|n| o.reachable(*n)).map(|n| (n, 0)).collect();
    let led = |id: &GroupId| o.groups.get(id);
    for seen in c.groups.keys().filter_map(led) {
        if let Some(n) = load.get_mut(&seen.leader_node) {
            *n += 1;
        }
    }
    for (id, seen) in c.groups.keys().filter_map(|id| led(id).map(|s| (id, s))) {
        let Some(from) = load.get(&seen.leader_node).copied() else { continue };
        if seen.joint() || !seen.voters().iter().all(|v| o.caught_up(*id, *v)) {
            continue;
        }
        let best = seen
            .voters()
            .into_iter()
            .filter(|v| *v != seen.leader)
            .filter_map(|v| seen.hosts.get(&v).and_then(|n| load.get(n)).map(|n| (*n, v)))
            .min();
        // Two apart is even: a move would only swap them.
        if let Some((to_load, to)) = best
            && to_load + 2 < from
        {
            plan.actions.push(Action::Transfer { group: *id, leader_node: seen.leader_node, leader: seen.leader, to });
            return;
        }
    }
}
