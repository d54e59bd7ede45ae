//! Record and observation of a store group, as a common input of the rules for store groups.

use super::{
    action::{Action, Plan},
    observation::{ClusterObservation, GroupObservation, Loss},
    wait_reason::WaitReason,
};
use crate::{
    catalogue::{Catalogue, Group, Replica, ReplicaState},
    ids::{GroupId, NodeId, ReplicaId},
};
use std::collections::{BTreeMap, BTreeSet};

/// A store group with a leader: the record in the catalogue and the observation.
#[derive(Clone, Copy)]
pub(super) struct GroupView<'a> {
    pub(super) catalogue: &'a Catalogue,
    pub(super) cluster: &'a ClusterObservation,
    /// Members by number of replicas, fewest first.
    pub(super) by_load: &'a [NodeId],
    pub(super) id: GroupId,
    pub(super) record: &'a Group,
    pub(super) observed: &'a GroupObservation,
}

impl GroupView<'_> {
    /// True if the replica is fenced or broken and the catalogue has not retired the replica yet.
    pub(super) fn lost(&self, replica: ReplicaId, record: &Replica) -> bool {
        loss(self.cluster, self.id, replica, record).is_some()
    }

    /// True if the node has yet to remove an earlier replica of the group.
    pub(super) fn still_leaves(&self, node: NodeId) -> bool {
        self.record.replicas.values().any(|r| r.node == node && r.state == ReplicaState::Leaving)
    }

    /// True if the node has a fenced replica of the group.
    pub(super) fn has_fenced(&self, node: NodeId) -> bool {
        self.record.replicas.iter().any(|(id, r)| r.node == node && self.cluster.fenced(self.id, *id, node))
    }

    pub(super) fn caught_up(&self, replica: ReplicaId) -> bool {
        self.cluster.caught_up(self.id, replica)
    }

    /// True if more than half of `replicas` are close to the leader.
    pub(super) fn majority_close(&self, replicas: &BTreeSet<ReplicaId>) -> bool {
        replicas.iter().filter(|r| self.cluster.close(self.id, **r)).count() * 2 > replicas.len()
    }

    pub(super) fn change(&self, voters: BTreeSet<ReplicaId>, learners: BTreeMap<ReplicaId, NodeId>) -> Action {
        Action::change_membership(self.id, self.observed, voters, learners)
    }

    /// Records in the plan why the group's store is not in the declared state.
    pub(super) fn wait(&self, plan: &mut Plan, reason: WaitReason, sentence: impl Into<String>) {
        plan.wait(Some(self.record.store), None, reason, sentence.into());
    }
}

/// Returns the loss of a replica that the catalogue has not retired yet: the replica is fenced or broken.
pub(super) fn loss(o: &ClusterObservation, group: GroupId, replica: ReplicaId, record: &Replica) -> Option<Loss> {
    if record.state == ReplicaState::Leaving { None } else { o.loss(group, replica, record.node) }
}

/// True if the replica is fenced and no longer part of the group. The node of the replica keeps the data until a person
/// frees the replica.
pub(super) fn kept_until_freed(o: &ClusterObservation, group: GroupId, replica: ReplicaId, record: &Replica) -> bool {
    record.state == ReplicaState::Leaving && o.fenced(group, replica, record.node)
}
