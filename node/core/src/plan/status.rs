//! How stores and nodes look to those who asked for them.

use super::{
    action::Plan, departures::unnamed, guard::guard, observation::ClusterObservation, wait_reason::WaitReason,
};
use crate::{
    catalogue::{Catalogue, GroupPhase, ReplicaState, StoreState},
    ids::{GroupId, NodeId, ReplicaId, StoreId},
};

/// A store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreStatus {
    /// Node of its leader.
    pub leader: Option<NodeId>,
    /// Its term.
    pub term: u64,
    /// Replica, node, votes, leads, caught up.
    pub members: Vec<(ReplicaId, NodeId, bool, bool, bool)>,
    /// A leader is known and a majority answers.
    pub quorum: bool,
    /// As many caught-up voters as declared, and nothing in flight.
    pub fully_replicated: bool,
    /// Why it is not where it should be; empty when it is.
    pub waiting_for: String,
    /// The reason of it; `None` when it is.
    pub reason: Option<WaitReason>,
}

/// Looks at one store.
#[must_use]
pub fn store(c: &Catalogue, o: &ClusterObservation, plan: &Plan, id: StoreId) -> Option<StoreStatus> {
    let store = c.stores.get(&id)?;
    let group = c.groups.get(&store.group)?;
    let seen = o.groups.get(&store.group);
    let waiting = plan.waiting.iter().find(|w| w.store == Some(id));
    let mut members = Vec::new();
    if let Some(seen) = seen {
        let voters = seen.voters();
        for (replica, node) in &seen.hosts {
            // Close is enough to be shown: the guards ask for more.
            let close = o.close(store.group, *replica);
            members.push((*replica, *node, voters.contains(replica), *replica == seen.leader, close));
        }
    }
    let voters = members.iter().filter(|m| m.2).count();
    let all_close = members.iter().filter(|m| m.2).all(|m| m.4);
    let quiet = group.replicas.values().all(|r| r.state == ReplicaState::Active) && group.phase == GroupPhase::Formed;
    let quorum = seen.is_some_and(|s| s.quorum);
    let full = voters == store.replicas as usize && all_close && quiet && seen.is_some_and(|s| !s.joint());
    let fully_replicated = quorum && full && store.state == StoreState::Active;
    let (reason, waiting_for) = match waiting {
        Some(w) => (Some(w.reason), w.sentence.clone()),
        None if store.state == StoreState::Active && quorum && !full => {
            (Some(WaitReason::CatchingUp), "replicas catch up".into())
        }
        None => (None, String::new()),
    };
    Some(StoreStatus {
        leader: seen.map(|s| s.leader_node),
        term: seen.map_or(0, |s| s.term),
        members,
        quorum,
        fully_replicated,
        waiting_for,
        reason,
    })
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// Groups whose membership, observed or recorded, names it; 0 is the system group.
    pub named_by: Vec<GroupId>,
    /// Every group that it hosts has caught up there.
    pub caught_up: bool,
    /// What forbids to take it away for a while; empty for nothing.
    pub blocked_by: String,
    /// What its departure waits for; empty when it is not leaving.
    pub waiting_for: String,
    /// Groups it hosts.
    pub groups: u32,
    /// Groups it leads.
    pub leaders: u32,
}

/// Looks at one node.
#[must_use]
pub fn node(c: &Catalogue, o: &ClusterObservation, plan: &Plan, id: NodeId) -> NodeStatus {
    let mut named_by: Vec<GroupId> =
        o.groups.iter().filter(|(_, s)| s.hosts.values().any(|n| *n == id)).map(|(g, _)| *g).collect();
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
