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

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A command for the catalogue.
    Propose(Kind),
    /// Change who votes and who learns, if the membership is still `expected`.
    ChangeMembership {
        /// The group.
        group: GroupId,
        /// Node of its leader.
        leader_node: NodeId,
        /// Its leader.
        leader: ReplicaId,
        /// Log id of the membership that this was decided from.
        expected: Option<LogPoint>,
        /// All voters afterwards.
        voters: BTreeSet<ReplicaId>,
        /// All learners afterwards, and where they live.
        learners: BTreeMap<ReplicaId, NodeId>,
    },
    /// Hand leadership to another caught-up voter.
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

/// A replica that must serve no more: its state contradicts what a majority of the voters has. The evidence goes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The group.
    pub group: GroupId,
    /// The replica.
    pub replica: ReplicaId,
    /// Where it lives.
    pub node: NodeId,
    /// All of them have applied up to here.
    pub index: u64,
    /// What the replica has there.
    pub digest: Digest,
    /// What the majority has there.
    pub majority: Digest,
}

/// Something that is not as it should be, and what it waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The store, if it is about one.
    pub store: Option<StoreId>,
    /// The node, if it is about one.
    pub node: Option<NodeId>,
    /// The reason, as conditions name it.
    pub reason: WaitReason,
    /// One sentence.
    pub sentence: String,
}

/// The outcome of one pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What to do now, in order.
    pub actions: Vec<Action>,
    /// Replicas to be fenced, at most one of a group. They count as not caught up already.
    pub fences: Vec<Fence>,
    /// What stands still, and why.
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
