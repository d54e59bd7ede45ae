//! Observations: what the nodes of a cluster have reported to the coordinator, and since when.

use crate::{
    catalogue::{Catalogue, NodeState},
    ids::{Digest, DiskId, GroupId, NodeId, ReplicaId},
};
use std::collections::{BTreeMap, BTreeSet};

/// Log id of a membership: term, leader, index.
pub type LogPoint = (u64, u64, u64);

/// How long a replica must stay close to its leader before it counts as caught up, microseconds.
pub(super) const CAUGHT_UP_US: u64 = 1_000_000;
/// What was committed this long ago must be in the log of a replica that is close, microseconds. A distance in time
/// holds at any load, and finds a replica that stands still in a group that has seen few entries.
pub(super) const CLOSE_US: u64 = 250_000;

/// How long a node must not answer before its drain goes on without it, microseconds: longer than a restart takes.
pub(super) const SILENT_US: u64 = 60_000_000;

/// A replica, as its node reports it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplicaObservation {
    /// True while the replica leads.
    pub leads: bool,
    /// Term of the replica.
    pub term: u64,
    /// Index after its last log entry.
    pub log_end: u64,
    /// Applied index.
    pub applied: u64,
    /// Digest at `applied`.
    pub digest: Digest,
    /// Digests at the last indexes at which every replica takes one.
    pub marks: Vec<(u64, Digest)>,
    /// Why the replica no longer runs; `None` while it runs.
    pub stopped: Option<String>,
}

/// A group, as its leader reports it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupObservation {
    /// Replica that leads.
    pub leader: ReplicaId,
    /// Node of the leader.
    pub leader_node: NodeId,
    /// Term of the leader.
    pub term: u64,
    /// Log id of the membership.
    pub membership: Option<LogPoint>,
    /// One set of voters, or two while a change is going on.
    pub configs: Vec<BTreeSet<ReplicaId>>,
    /// Voters and learners, each with its node.
    pub hosts: BTreeMap<ReplicaId, NodeId>,
    /// Index up to which each replica's log matches the leader's.
    pub matched: BTreeMap<ReplicaId, u64>,
    /// Committed index.
    pub committed: u64,
    /// True if a majority of the voters has answered the leader lately.
    pub quorum: bool,
}

impl GroupObservation {
    /// Voters, in either set.
    #[must_use]
    pub fn voters(&self) -> BTreeSet<ReplicaId> {
        self.configs.iter().flatten().copied().collect()
    }
    /// True while a change of the voters is in flight.
    pub(super) fn joint(&self) -> bool {
        self.configs.len() > 1
    }
    /// Members that do not vote.
    pub(super) fn learners(&self) -> BTreeSet<ReplicaId> {
        let voters = self.voters();
        self.hosts.keys().copied().filter(|r| !voters.contains(r)).collect()
    }
}

/// How far a group had committed at two moments that are at least `CLOSE_US` apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitMark {
    /// Time of the later moment.
    pub since_us: u64,
    /// Committed index at the later moment.
    pub committed: u64,
    /// Committed index at the earlier moment: what a close replica must have.
    pub before: u64,
}

impl CommitMark {
    /// The mark of a group that was not observed before: nothing older is known, so all that is committed counts.
    pub(super) fn first(now_us: u64, committed: u64) -> Self {
        Self { since_us: now_us, committed, before: committed }
    }

    pub(super) fn next(self, now_us: u64, committed: u64) -> Self {
        if now_us.saturating_sub(self.since_us) < CLOSE_US {
            return self;
        }
        Self { since_us: now_us, committed, before: self.committed }
    }
}

/// A node, as it reports itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeObservation {
    /// True if the node answered the last poll.
    pub reachable: bool,
    /// The disk that answers at this node's name, if it is another one.
    pub other_disk: Option<DiskId>,
    /// Replicas that the node runs.
    pub replicas: BTreeMap<(GroupId, ReplicaId), ReplicaObservation>,
    /// Replicas that the node has removed for ever.
    pub deleted: BTreeSet<(GroupId, ReplicaId)>,
    /// Replicas that the node has fenced: they never run again, and their data is kept.
    pub fenced: BTreeSet<(GroupId, ReplicaId)>,
}

/// The whole cluster, as the coordinator observes it: the input of the planner beside the catalogue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterObservation {
    /// Time of the observation by the coordinator's clock, Unix time in microseconds.
    pub now_us: u64,
    /// The coordinator's node.
    pub coordinator: NodeId,
    /// Nodes of the catalogue.
    pub nodes: BTreeMap<NodeId, NodeObservation>,
    /// Groups that have a leader, the system group among them.
    pub groups: BTreeMap<GroupId, GroupObservation>,
    /// Since when each replica has been close to its leader without a break.
    pub close_since_us: BTreeMap<(GroupId, ReplicaId), u64>,
    /// Committed indexes of each group a little earlier.
    pub marks: BTreeMap<GroupId, CommitMark>,
    /// Since when each unreachable node has not answered, as far as this coordinator knows.
    pub silent_since_us: BTreeMap<NodeId, u64>,
    /// When this coordinator first observed that a replica of the group is fenced on the node. A new coordinator begins
    /// anew.
    pub fenced_since_us: BTreeMap<(GroupId, NodeId), u64>,
}

impl ClusterObservation {
    /// The node answers and says that the replica runs there. What is not known counts as no.
    pub(super) fn runs(&self, node: NodeId, group: GroupId, replica: ReplicaId) -> bool {
        let node = self.nodes.get(&node).filter(|n| n.reachable);
        node.and_then(|n| n.replicas.get(&(group, replica))).is_some_and(|r| r.stopped.is_none())
    }

    /// The replica has been close to its leader for long enough.
    #[must_use]
    pub fn caught_up(&self, group: GroupId, replica: ReplicaId) -> bool {
        let since = self.close_since_us.get(&(group, replica));
        since.is_some_and(|s| self.now_us.saturating_sub(*s) >= CAUGHT_UP_US)
    }

    /// The replica is close to its leader now.
    pub(super) fn close(&self, group: GroupId, replica: ReplicaId) -> bool {
        self.close_since_us.contains_key(&(group, replica))
    }

    /// The node answered the last poll.
    pub(super) fn reachable(&self, node: NodeId) -> bool {
        self.nodes.get(&node).is_some_and(|n| n.reachable)
    }

    /// The node has not answered for so long that what leaves it need not wait for it.
    pub(super) fn silent(&self, node: NodeId) -> bool {
        let since = self.silent_since_us.get(&node);
        since.is_some_and(|s| self.now_us.saturating_sub(*s) >= SILENT_US)
    }

    /// The node says that it has removed the replica for ever.
    pub(super) fn tombstoned(&self, group: GroupId, replica: ReplicaId, node: NodeId) -> bool {
        self.nodes.get(&node).is_some_and(|n| n.reachable && n.deleted.contains(&(group, replica)))
    }

    /// The node has fenced the replica.
    pub(super) fn fenced(&self, group: GroupId, replica: ReplicaId, node: NodeId) -> bool {
        self.nodes.get(&node).is_some_and(|n| n.fenced.contains(&(group, replica)))
    }

    /// A replica of the group was fenced on the node a short time ago.
    pub(super) fn fenced_lately(&self, group: GroupId, node: NodeId) -> bool {
        self.fenced_since_us.contains_key(&(group, node))
    }

    /// The node has removed the replica, or there is no such node any more.
    pub(super) fn gone(&self, catalogue: &Catalogue, group: GroupId, replica: ReplicaId, node: NodeId) -> bool {
        match catalogue.nodes.get(&node).map(|n| n.state) {
            None | Some(NodeState::Removed { .. }) => true,
            Some(NodeState::Member | NodeState::Draining | NodeState::Replacing { .. }) => {
                self.tombstoned(group, replica, node)
            }
        }
    }
}
