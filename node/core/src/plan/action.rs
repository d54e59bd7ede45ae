//! Outcome of a pass: actions to carry out, replicas to fence, and deviations that wait.

use super::{
    observation::{GroupObservation, LogPoint},
    wait_reason::WaitReason,
};
use crate::{
    catalogue::Kind,
    ids::{Digest, GroupId, NodeId, ReplicaId, StoreId},
    stream::Settings,
};
use std::collections::{BTreeMap, BTreeSet};

/// A step of the coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Proposes a command to the catalogue.
    Propose(Kind),
    /// Changes the voters and learners of a group, provided that the membership is still `expected`.
    ChangeMembership {
        /// Group to change.
        group: GroupId,
        /// Node of the leader.
        leader_node: NodeId,
        /// Leader of the group.
        leader: ReplicaId,
        /// Log id of the membership behind the decision.
        expected: Option<LogPoint>,
        /// All voters after the change.
        voters: BTreeSet<ReplicaId>,
        /// All learners after the change, each with its node.
        learners: BTreeMap<ReplicaId, NodeId>,
    },
    /// Proposes settings to the log of a store.
    Settings {
        /// Group of the store.
        group: GroupId,
        /// Node of the leader.
        leader_node: NodeId,
        /// Leader of the group.
        leader: ReplicaId,
        /// Settings to put in force.
        settings: Settings,
    },
    /// Proposes newer rules to the log of a store.
    RaiseRules {
        /// Group of the store.
        group: GroupId,
        /// Node of the leader.
        leader_node: NodeId,
        /// Leader of the group.
        leader: ReplicaId,
        /// Number of the rules to put in force.
        rules: u32,
    },
    /// Hands leadership of a group over to another caught-up voter.
    Transfer {
        /// Group whose leader moves.
        group: GroupId,
        /// Node of the present leader.
        leader_node: NodeId,
        /// Present leader of the group.
        leader: ReplicaId,
        /// Next leader of the group.
        to: ReplicaId,
    },
}

impl Action {
    /// Returns the group of the action; `None` for a command of the catalogue.
    pub(super) const fn group(&self) -> Option<GroupId> {
        match self {
            Self::Propose(_) => None,
            Self::ChangeMembership { group, .. }
            | Self::Settings { group, .. }
            | Self::RaiseRules { group, .. }
            | Self::Transfer { group, .. } => Some(*group),
        }
    }

    /// Creates a change of an observed group to the given voters and learners.
    pub(super) fn change_membership(
        group: GroupId,
        observed: &GroupObservation,
        voters: BTreeSet<ReplicaId>,
        learners: BTreeMap<ReplicaId, NodeId>,
    ) -> Self {
        Self::ChangeMembership {
            group,
            leader_node: observed.leader_node,
            leader: observed.leader,
            expected: observed.membership,
            voters,
            learners,
        }
    }

    /// Creates a transfer of the leadership of an observed group.
    pub(super) fn transfer(group: GroupId, observed: &GroupObservation, to: ReplicaId) -> Self {
        Self::Transfer { group, leader_node: observed.leader_node, leader: observed.leader, to }
    }
}

/// A replica that must stop serving, because its state contradicts a majority of the voters, and the evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// Group of the replica.
    pub group: GroupId,
    /// Replica to fence.
    pub replica: ReplicaId,
    /// Node of the replica.
    pub node: NodeId,
    /// Index applied by both the replica and the majority.
    pub index: u64,
    /// Digest of the replica at `index`.
    pub digest: Digest,
    /// Digest of the majority at `index`.
    pub majority: Digest,
}

/// A deviation from the declared state that this pass cannot end, and the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Deviating store; `None` if the deviation concerns no store.
    pub store: Option<StoreId>,
    /// Deviating node; `None` if the deviation concerns no node.
    pub node: Option<NodeId>,
    /// Reason in the form for conditions and programs.
    pub reason: WaitReason,
    /// Cause of the wait, as a sentence for people.
    pub sentence: String,
}

/// Outcome of a pass of the planner.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Actions to carry out now, in order.
    pub actions: Vec<Action>,
    /// Replicas to fence, at most one per group. A divergent replica does not count as caught up even before the fence.
    pub fences: Vec<Fence>,
    /// Deviations beyond the reach of this pass.
    pub waiting: Vec<Waiting>,
}

impl Plan {
    /// Returns the number of actions, fences and deviations together.
    pub(super) fn len(&self) -> usize {
        self.actions.len() + self.fences.len() + self.waiting.len()
    }

    pub(super) fn propose(&mut self, kind: Kind) {
        self.actions.push(Action::Propose(kind));
    }

    /// Records a deviation of a store, a node or both.
    pub(super) fn wait(&mut self, store: Option<StoreId>, node: Option<NodeId>, reason: WaitReason, sentence: String) {
        self.waiting.push(Waiting { store, node, reason, sentence });
    }
}
