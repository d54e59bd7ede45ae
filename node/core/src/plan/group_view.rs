//! One store group as the planner sees it.

use super::{
    action::{Action, Plan},
    observation::{ClusterObservation, GroupObservation},
    wait_reason::WaitReason,
};
use crate::{
    catalogue::{Catalogue, Group, Replica, ReplicaState},
    ids::{GroupId, NodeId, ReplicaId},
};
use std::collections::{BTreeMap, BTreeSet};

/// A store group that has a leader: its record in the catalogue and its observation.
#[derive(Clone, Copy)]
pub(super) struct GroupView<'a> {
    pub(super) catalogue: &'a Catalogue,
    pub(super) cluster: &'a ClusterObservation,
    pub(super) id: GroupId,
    pub(super) record: &'a Group,
    pub(super) observed: &'a GroupObservation,
}

impl GroupView<'_> {
    /// The catalogue counts on the replica, which is fenced and never runs again.
    pub(super) fn fenced(&self, replica: ReplicaId, record: &Replica) -> bool {
        fenced(self.cluster, self.id, replica, record)
    }

    /// The node has not removed an earlier replica of the group yet.
    pub(super) fn still_leaves(&self, node: NodeId) -> bool {
        self.record.replicas.values().any(|r| r.node == node && r.state == ReplicaState::Leaving)
    }

    pub(super) fn caught_up(&self, replica: ReplicaId) -> bool {
        self.cluster.caught_up(self.id, replica)
    }

    /// More than half of `replicas` are close to the leader.
    pub(super) fn majority_close(&self, replicas: &BTreeSet<ReplicaId>) -> bool {
        replicas.iter().filter(|r| self.cluster.close(self.id, **r)).count() * 2 > replicas.len()
    }

    pub(super) fn change(&self, voters: BTreeSet<ReplicaId>, learners: BTreeMap<ReplicaId, NodeId>) -> Action {
        Action::change_membership(self.id, self.observed, voters, learners)
    }

    /// Adds to the plan what the group's store waits for.
    pub(super) fn wait(&self, plan: &mut Plan, reason: WaitReason, sentence: impl Into<String>) {
        plan.wait(Some(self.record.store), None, reason, sentence.into());
    }
}

/// The catalogue counts on the replica, which is fenced and never runs again.
pub(super) fn fenced(o: &ClusterObservation, group: GroupId, replica: ReplicaId, record: &Replica) -> bool {
    record.state != ReplicaState::Leaving && o.fenced(group, replica, record.node)
}
