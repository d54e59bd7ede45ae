//! Status of stores and nodes, for the operator and the command line.

use super::{
    action::Plan,
    departures::unnamed,
    group_view::kept_until_freed,
    guard::guard,
    observation::{ClusterObservation, GroupObservation},
    wait_reason::WaitReason,
};
use crate::{
    catalogue::{Catalogue, GroupPhase, Replica, ReplicaState, StoreState},
    ids::{GroupId, NodeId, ReplicaId, StoreId},
};

/// Observed status of a store, compared with the declaration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreStatus {
    /// Node of the leader; `None` without a leader.
    pub leader: Option<NodeId>,
    /// Term of the leader; 0 without a leader.
    pub term: u64,
    /// Members of the store's group, by replica id.
    pub members: Vec<MemberStatus>,
    /// True if a leader is known and a majority of the voters answers the leader.
    pub quorum: bool,
    /// True if the group has the declared number of voters, all close to the leader, under a committed membership, and
    /// no change is in progress.
    pub fully_replicated: bool,
    /// Cause of the wait, as a sentence; empty if the store is in the declared state.
    pub waiting_for: String,
    /// Reason of the wait; `None` if the store is in the declared state.
    pub reason: Option<WaitReason>,
}

/// Status of one member of a store's group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    /// Id of the replica.
    pub replica: ReplicaId,
    /// Node of the replica.
    pub node: NodeId,
    /// True if the replica votes.
    pub voter: bool,
    /// True if the replica leads.
    pub leader: bool,
    /// True if the replica is close to the leader now. The disruption guard requires more than this:
    /// [`ClusterObservation::caught_up`] must be true.
    pub caught_up: bool,
}

/// Returns the status of a store; `None` if the catalogue does not contain the store.
#[must_use]
pub fn store(c: &Catalogue, o: &ClusterObservation, plan: &Plan, id: StoreId) -> Option<StoreStatus> {
    let store = c.stores.get(&id)?;
    let group = c.groups.get(&store.group)?;
    let observed = o.groups.get(&store.group);
    let members = members(o, store.group);
    let mut voters = members.iter().filter(|m| m.voter);
    let full = voters.clone().count() == store.replicas as usize && voters.all(|m| m.caught_up);
    // A fenced replica that has left the group changes nothing any more, whenever a person frees its data.
    let unsettled =
        |(id, r): (&ReplicaId, &Replica)| r.state != ReplicaState::Active && !kept_until_freed(o, store.group, *id, r);
    let changing = group.replicas.iter().any(unsettled)
        || group.phase != GroupPhase::Formed
        || observed.is_none_or(|s| s.changing());
    let settled = full && !changing;
    let quorum = observed.is_some_and(|s| s.quorum);
    let active = store.state == StoreState::Active;
    let (reason, waiting_for) = match plan.waiting.iter().find(|w| w.store == Some(id)) {
        Some(w) => (Some(w.reason), w.sentence.clone()),
        None if active && quorum && !settled => (Some(WaitReason::CatchingUp), "replicas catch up".into()),
        None => (None, String::new()),
    };
    Some(StoreStatus {
        leader: observed.map(|s| s.leader_node),
        term: observed.map_or(0, |s| s.term),
        members,
        quorum,
        fully_replicated: active && quorum && settled,
        waiting_for,
        reason,
    })
}

fn members(o: &ClusterObservation, group: GroupId) -> Vec<MemberStatus> {
    let Some(observed) = o.groups.get(&group) else { return Vec::new() };
    let voters = observed.voters();
    let status = |(replica, node): (&ReplicaId, &NodeId)| MemberStatus {
        replica: *replica,
        node: *node,
        voter: voters.contains(replica),
        leader: *replica == observed.leader,
        caught_up: o.close(group, *replica),
    };
    observed.hosts.iter().map(status).collect()
}

/// Observed status of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// Groups whose membership, observed or recorded, names the node; 0 is the system group.
    pub named_by: Vec<GroupId>,
    /// True if the node answers and its replica of every group in `named_by` is caught up.
    pub caught_up: bool,
    /// Reason why the node must not be taken down temporarily; empty if the node may be taken down.
    pub blocked_by: String,
    /// Cause of the wait of the node, for example of its drain; empty if the planner waits for nothing on the node.
    pub waiting_for: String,
    /// Number of groups in `named_by`.
    pub groups: u32,
    /// Number of groups whose leader is on the node.
    pub leaders: u32,
}

/// True if the membership before the latest may name the node: the latest membership is not committed, and the catalogue
/// still has the node as a part of the group.
fn may_name(c: &Catalogue, group: GroupId, observed: &GroupObservation, node: NodeId) -> bool {
    let part = || match c.groups.get(&group) {
        Some(record) => record.replicas.values().any(|r| r.node == node),
        None => group == GroupId::SYSTEM && c.present().any(|n| n == node),
    };
    !observed.membership_committed() && part()
}

/// Returns the status of a node.
#[must_use]
pub fn node(c: &Catalogue, o: &ClusterObservation, plan: &Plan, id: NodeId) -> NodeStatus {
    let mut named_by: Vec<GroupId> = o
        .groups
        .iter()
        .filter(|(g, s)| s.hosts.values().any(|n| *n == id) || may_name(c, **g, s, id))
        .map(|(g, _)| *g)
        .collect();
    if !unnamed(c, id) {
        let recorded = c.groups.iter().filter(|(_, g)| g.nodes().any(|n| n == id)).map(|(g, _)| *g);
        named_by.extend(recorded);
    }
    named_by.sort_unstable();
    named_by.dedup();
    let caught_up = named_by
        .iter()
        .all(|g| o.groups.get(g).is_some_and(|s| s.hosts.iter().any(|(r, n)| *n == id && o.caught_up(*g, *r))));
    let leads = o.groups.values().filter(|s| s.leader_node == id).count();
    NodeStatus {
        caught_up: caught_up && o.reachable(id),
        blocked_by: guard(c, o, id).err().map(|b| b.sentence).unwrap_or_default(),
        waiting_for: plan.waiting.iter().find(|w| w.node == Some(id)).map(|w| w.sentence.clone()).unwrap_or_default(),
        groups: u32::try_from(named_by.len()).unwrap_or(u32::MAX),
        leaders: u32::try_from(leads).unwrap_or(u32::MAX),
        named_by,
    }
}
