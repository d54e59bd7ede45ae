//! Observations: the latest reports of all nodes to the coordinator, and timers that span several reports.
//!
//! The rules of the planner depend on three properties:
//! - *close*: the replica runs, the digest does not contradict the majority, and the log matches the leader's up to an
//!   index that was committed at least [`CLOSE_US`] ago.
//! - *caught up*: the replica has been close for [`CAUGHT_UP_US`] without a break.
//! - *silent*: the node has not answered for [`SILENT_US`].

use super::{clocks::ClockReading, wait_reason::WaitReason};
use crate::{
    catalogue::{Catalogue, Grant, NodeState, Rules},
    ids::{Digest, DiskId, GroupId, NodeId, ReplicaId, StoreId},
    stream::Settings,
};
use std::collections::{BTreeMap, BTreeSet};

/// Log id of a membership entry: term, leader, index.
pub type LogPoint = (u64, u64, u64);

/// Shortest time a replica must stay close to the leader to count as caught up, microseconds.
pub(super) const CAUGHT_UP_US: u64 = 1_000_000;
/// Lag in time allowed to a close replica, microseconds: entries committed earlier must be in the replica's log.
///
/// A limit in time, unlike a limit in entries, suits any load, and also detects a stalled replica in a group with
/// very few entries.
pub(super) const CLOSE_US: u64 = 250_000;

/// Silence after which the drain of a node continues without the node, microseconds; longer than a restart takes.
pub(super) const SILENT_US: u64 = 60_000_000;

/// Origin of a replica's state: the latest install of another replica's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lineage {
    /// Replica whose state was installed.
    pub source: ReplicaId,
    /// Index of the last log entry applied to the installed state.
    pub index: u64,
}

/// State of a replica, as reported by the replica's node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplicaObservation {
    /// True if the replica leads the group.
    pub leads: bool,
    /// Term of the replica.
    pub term: u64,
    /// Index after the last log entry.
    pub log_end: u64,
    /// Index of the last applied log entry.
    pub applied: u64,
    /// Digest at `applied`.
    pub digest: Digest,
    /// Digests at recent common indexes, with the indexes. All replicas of a group record digests at the same indexes.
    pub marks: Vec<(u64, Digest)>,
    /// Origin of the state; `None` for a replica that applied the whole log itself.
    pub copied_from: Option<Lineage>,
    /// Reason why the replica no longer runs; `None` while the replica runs.
    pub stopped: Option<String>,
}

/// State of a group, as reported by the leader.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupObservation {
    /// Leader of the group.
    pub leader: ReplicaId,
    /// Node of the leader.
    pub leader_node: NodeId,
    /// Term of the leader.
    pub term: u64,
    /// Log id of the effective membership entry: the latest entry in the leader's log, committed or not.
    pub membership: Option<LogPoint>,
    /// One set of voters, or two (old, new) while the membership is joint.
    pub configs: Vec<BTreeSet<ReplicaId>>,
    /// Voters and learners, each with its node.
    pub hosts: BTreeMap<ReplicaId, NodeId>,
    /// Index up to which each replica's log matches the leader's.
    pub matched: BTreeMap<ReplicaId, u64>,
    /// Index of the last committed log entry.
    pub committed: u64,
    /// True if a majority of the voters has recently answered the leader.
    pub quorum: bool,
    /// Settings of the store, as applied by the leader.
    pub settings: Settings,
    /// Rules in force in the log of the store, as applied by the leader; 0 if the leader does not report rules.
    pub rules: u32,
    /// Time of the last append of the store, Unix time in microseconds; 0 without an append.
    pub recorded_us: u64,
}

impl GroupObservation {
    /// Voters of the group; of a joint membership, the voters of both sets.
    #[must_use]
    pub fn voters(&self) -> BTreeSet<ReplicaId> {
        self.configs.iter().flatten().copied().collect()
    }
    /// True if the membership is joint: a change of the voters has begun and is not finished.
    pub(super) fn joint(&self) -> bool {
        self.configs.len() > 1
    }
    /// True if the membership is committed. Until then, a new leader may restore the membership before, so a replica
    /// that the membership does not name may still be needed.
    ///
    /// The first membership has index 0 and is committed together with the first entry of the first leader, because a
    /// leader commits only entries of its own term. A committed index of 0 also stands for nothing committed.
    pub(super) fn membership_committed(&self) -> bool {
        self.membership.is_some_and(|(_, _, index)| self.committed >= index.max(1))
    }
    /// True while a change of the membership is in progress: the membership is joint or not committed. No replica may
    /// be removed, and no node taken down or forgotten, on the strength of such a membership.
    pub(super) fn changing(&self) -> bool {
        self.joint() || !self.membership_committed()
    }
    /// Members without a vote.
    pub(super) fn learners(&self) -> BTreeSet<ReplicaId> {
        let voters = self.voters();
        self.hosts.keys().copied().filter(|r| !voters.contains(r)).collect()
    }
}

/// Committed index of a group at two moments, at least a quarter of a second (`CLOSE_US`) apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitMark {
    /// Time of the later moment.
    pub since_us: u64,
    /// Committed index at the later moment.
    pub committed: u64,
    /// Committed index at the earlier moment. The log of a close replica matches the leader's up to this index.
    pub before: u64,
}

impl CommitMark {
    /// Creates the record of a newly observed group. Without an older index, close means having every committed entry.
    pub(super) fn first(now_us: u64, committed: u64) -> Self {
        Self { since_us: now_us, committed, before: committed }
    }

    /// Moves both moments forward, unless the later moment is less than `CLOSE_US` ago.
    pub(super) fn next(self, now_us: u64, committed: u64) -> Self {
        if now_us.saturating_sub(self.since_us) < CLOSE_US {
            return self;
        }
        Self { since_us: now_us, committed, before: self.committed }
    }
}

/// State of a node, as reported by the node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeObservation {
    /// True if the node answered the last poll.
    pub reachable: bool,
    /// Newest rules known to the binary of the node; `None` while the node does not answer.
    pub rules: Option<Rules>,
    /// Clock of the node at the last poll; `None` without an answer that names the time.
    pub clock: Option<ClockReading>,
    /// True if the disk of the node is nearly full: the node refuses appends as leader.
    pub storage_low: bool,
    /// Free bytes on the disk of the node; 0 if unknown.
    pub free_bytes: u64,
    /// Foreign disk that answers under this node's name.
    pub other_disk: Option<DiskId>,
    /// Replicas of the node, including stopped replicas.
    pub replicas: BTreeMap<(GroupId, ReplicaId), ReplicaObservation>,
    /// Tombstones of the node: replicas removed for good.
    pub deleted: BTreeSet<(GroupId, ReplicaId)>,
    /// Replicas fenced on the node. A fenced replica never runs again, and the data is kept.
    pub fenced: BTreeSet<(GroupId, ReplicaId)>,
    /// Replicas of the node that do not run, because their starts failed repeatedly. The node goes on trying.
    pub broken: BTreeSet<(GroupId, ReplicaId)>,
}

/// Cause for which a replica is replaced by a new replica, while the node of the replica may answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// The replica is fenced and never runs again.
    Fenced,
    /// The replica fails at every start.
    Broken,
}

impl Loss {
    /// State of the replica, as a word of a sentence.
    pub(super) fn state(self) -> &'static str {
        match self {
            Self::Fenced => "fenced",
            Self::Broken => "broken",
        }
    }

    /// Reason for the conditions of the store.
    pub(super) fn reason(self) -> WaitReason {
        match self {
            Self::Fenced => WaitReason::ReplicaInconsistent,
            Self::Broken => WaitReason::ReplicaBroken,
        }
    }
}

/// Contradiction between replicas that reached different states after applying the same log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contradiction {
    /// Lowest index at which replicas were seen to disagree.
    pub index: u64,
    /// Time of the first observation of the contradiction.
    pub since_us: u64,
    /// Time of the last observation of the contradiction. Replicas are comparable only at indexes that they have in
    /// common, so an observation without the contradiction proves nothing.
    pub seen_us: u64,
}

/// Disruption grant, as observed by a coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedGrant {
    /// The grant.
    pub grant: Grant,
    /// Time of the first observation of the grant.
    pub since_us: u64,
    /// Time for which the grant was still valid at the first observation, microseconds.
    pub remaining_us: u64,
}

/// Observed state of the whole cluster; the input of the planner beside the catalogue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterObservation {
    /// Time of the observation by the coordinator's clock, Unix time in microseconds.
    pub now_us: u64,
    /// The coordinator's node.
    pub coordinator: NodeId,
    /// True if the coordinator raises the rules as soon as every node of the cluster knows newer rules; false if an operator
    /// finishes each upgrade.
    pub raise_rules: bool,
    /// Observations of the nodes in the catalogue.
    pub nodes: BTreeMap<NodeId, NodeObservation>,
    /// Groups with a leader, including the system group.
    pub groups: BTreeMap<GroupId, GroupObservation>,
    /// Replicas that are close to their leaders, each with the start of the unbroken time of being close.
    pub close_since_us: BTreeMap<(GroupId, ReplicaId), u64>,
    /// Groups with a report that differs from the observation before, of any replica, tombstone, fence or broken replica;
    /// `None` if any group may differ. [`settle`](Self::settle) resets the set when another node answers than before.
    pub changed: Option<BTreeSet<GroupId>>,
    /// Groups whose replicas report different digests at the same index, found by [`settle`](Self::settle); `None` before.
    pub disagreeing: Option<BTreeSet<GroupId>>,
    /// Earlier committed indexes of each group, the measure for close replicas.
    pub marks: BTreeMap<GroupId, CommitMark>,
    /// Time of this coordinator's first unanswered poll of each unreachable node.
    pub silent_since_us: BTreeMap<NodeId, u64>,
    /// Time of this coordinator's first observation of a fenced replica, by group and node; kept for an hour. Unknown
    /// to a new coordinator.
    pub fenced_since_us: BTreeMap<(GroupId, NodeId), u64>,
    /// Replica that this coordinator first observed as broken, by store and node, with the time of the observation; kept
    /// for an hour. Unknown to a new coordinator.
    pub broken_since_us: BTreeMap<(StoreId, NodeId), ((GroupId, ReplicaId), u64)>,
    /// The disruption grant, and since when this coordinator has observed the grant.
    pub grant: Option<ObservedGrant>,
    /// Groups whose replicas contradict each other while no majority decides which of them are right.
    pub contradictions: BTreeMap<GroupId, Contradiction>,
    /// Confirmed lineages: these replicas have agreed with a majority of independent voters since the install, and count
    /// as independent witnesses. Unknown to a new coordinator.
    pub confirmed: BTreeMap<(GroupId, ReplicaId), Lineage>,
}

impl ClusterObservation {
    /// True if the node answers and reports the replica as running. A missing report counts as not running.
    pub(super) fn runs(&self, node: NodeId, group: GroupId, replica: ReplicaId) -> bool {
        let node = self.nodes.get(&node).filter(|n| n.reachable);
        node.and_then(|n| n.replicas.get(&(group, replica))).is_some_and(|r| r.stopped.is_none())
    }

    /// True if the replica has been close to the leader for at least a second (`CAUGHT_UP_US`).
    #[must_use]
    pub fn caught_up(&self, group: GroupId, replica: ReplicaId) -> bool {
        let since = self.close_since_us.get(&(group, replica));
        since.is_some_and(|s| self.now_us.saturating_sub(*s) >= CAUGHT_UP_US)
    }

    /// True if the replica is close to the leader now.
    pub(super) fn close(&self, group: GroupId, replica: ReplicaId) -> bool {
        self.close_since_us.contains_key(&(group, replica))
    }

    /// True if the node answered the last poll.
    pub(super) fn reachable(&self, node: NodeId) -> bool {
        self.nodes.get(&node).is_some_and(|n| n.reachable)
    }

    /// True if the node has not answered for [`SILENT_US`]. The drain of a silent node does not wait for the node.
    pub(super) fn silent(&self, node: NodeId) -> bool {
        let since = self.silent_since_us.get(&node);
        since.is_some_and(|s| self.now_us.saturating_sub(*s) >= SILENT_US)
    }

    /// True if the node does not answer and may merely restart: the silence is shorter than [`SILENT_US`], or a live
    /// disruption grant allows the node to be down.
    pub(super) fn may_restart(&self, catalogue: &Catalogue, node: NodeId) -> bool {
        let granted = || catalogue.live_grant(self.now_us).is_some_and(|g| g.node == node);
        !self.reachable(node) && (!self.silent(node) || granted())
    }

    /// True if the node answers and has a tombstone for the replica.
    pub(super) fn tombstoned(&self, group: GroupId, replica: ReplicaId, node: NodeId) -> bool {
        self.nodes.get(&node).is_some_and(|n| n.reachable && n.deleted.contains(&(group, replica)))
    }

    /// True if the node has fenced the replica.
    pub(super) fn fenced(&self, group: GroupId, replica: ReplicaId, node: NodeId) -> bool {
        self.nodes.get(&node).is_some_and(|n| n.fenced.contains(&(group, replica)))
    }

    /// True if the replica is broken and must be replaced like a lost replica.
    ///
    /// A later replica of the same store does not count for an hour: if the node or its binary is the cause, each new
    /// replica breaks as well, and each replacement copies the whole store or forms the group again.
    fn broken(&self, group: GroupId, replica: ReplicaId, node: NodeId) -> bool {
        let reported = self.nodes.get(&node).is_some_and(|n| n.broken.contains(&(group, replica)));
        let mut first = self.broken_since_us.iter().filter(|((_, on), _)| *on == node).map(|(_, (first, _))| *first);
        reported && first.any(|first| first == (group, replica))
    }

    /// True if a replica of the store broke on the node within the last hour.
    pub(super) fn broken_lately(&self, store: StoreId, node: NodeId) -> bool {
        self.broken_since_us.contains_key(&(store, node))
    }

    /// Returns the cause for which the replica must be replaced although the node may answer; `None` for a replica
    /// that need not be replaced.
    pub(super) fn loss(&self, group: GroupId, replica: ReplicaId, node: NodeId) -> Option<Loss> {
        if self.fenced(group, replica, node) {
            return Some(Loss::Fenced);
        }
        self.broken(group, replica, node).then_some(Loss::Broken)
    }

    /// True if a replica of the group was fenced on the node within the last hour.
    pub(super) fn fenced_lately(&self, group: GroupId, node: NodeId) -> bool {
        self.fenced_since_us.contains_key(&(group, node))
    }

    /// True if the replica's data is gone: the node has removed the replica, or the node itself has been removed.
    pub(super) fn gone(&self, catalogue: &Catalogue, group: GroupId, replica: ReplicaId, node: NodeId) -> bool {
        match catalogue.nodes.get(&node).map(|n| n.state) {
            None | Some(NodeState::Removed { .. }) => true,
            Some(NodeState::Member | NodeState::Draining | NodeState::Replacing { .. }) => {
                self.tombstoned(group, replica, node)
            }
        }
    }
}
