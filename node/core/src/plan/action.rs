//! The outcome of a pass: steps to carry out, replicas to fence, and what waits.

use super::{
    observation::{GroupObservation, LogPoint},
    wait_reason::WaitReason,
};
use crate::{
    catalogue::Kind,
    ids::{Digest, GroupId, NodeId, ReplicaId, StoreId},
};
use std::collections::{BTreeMap, BTreeSet};

/// One step of the coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Propose a command for the catalogue.
    Propose(Kind),
    /// Change the voters and learners of a group, if its membership is still `expected`.
    ChangeMembership {
        /// The group.
        group: GroupId,
        /// Node of the leader.
        leader_node: NodeId,
        /// Leader of the group.
        leader: ReplicaId,
        /// Log id of the membership that the change was decided from.
        expected: Option<LogPoint>,
        /// All voters afterwards.
        voters: BTreeSet<ReplicaId>,
        /// All learners afterwards, each with its node.
        learners: BTreeMap<ReplicaId, NodeId>,
    },
    /// Hand leadership over to another caught-up voter.
    Transfer {
        /// The group.
        group: GroupId,
        /// Node of its leader.
        leader_node: NodeId,
        /// Its leader.
        leader: ReplicaId,
        /// The next leader.
        to: ReplicaId,
    },
}

impl Action {
    /// A change of an observed group to these voters and learners.
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

    /// A transfer of the leadership of an observed group.
    pub(super) fn transfer(group: GroupId, observed: &GroupObservation, to: ReplicaId) -> Self {
        Self::Transfer { group, leader_node: observed.leader_node, leader: observed.leader, to }
    }
}

/// A replica that must serve no more, since its state contradicts the state of a majority of the voters, with the
/// evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The group.
    pub group: GroupId,
    /// The replica.
    pub replica: ReplicaId,
    /// Node of the replica.
    pub node: NodeId,
    /// Index that the replica and the majority have applied.
    pub index: u64,
    /// Digest of the replica at `index`.
    pub digest: Digest,
    /// Digest of the majority at `index`.
    pub majority: Digest,
}

/// A deviation from what is declared, and what it waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Store that deviates; `None` if no store does.
    pub store: Option<StoreId>,
    /// Node that deviates; `None` if no node does.
    pub node: Option<NodeId>,
    /// The reason, as conditions name it.
    pub reason: WaitReason,
    /// What the store or node waits for, in one sentence.
    pub sentence: String,
}

/// Outcome of one pass of the planner.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Steps to take now, in order.
    pub actions: Vec<Action>,
    /// Replicas to fence, at most one of a group. They count as not caught up already.
    pub fences: Vec<Fence>,
    /// Deviations that wait, and for what.
    pub waiting: Vec<Waiting>,
}

impl Plan {
    pub(super) fn propose(&mut self, kind: Kind) {
        self.actions.push(Action::Propose(kind));
    }

    pub(super) fn wait(&mut self, store: Option<StoreId>, node: Option<NodeId>, reason: WaitReason, sentence: String) {
        self.waiting.push(Waiting { store, node, reason, sentence });
    }
}
