//! The coordinator's planner: from the catalogue and what was observed to what is to be done next. Pure and
//! level-triggered: any pass may be the first after a crash, a half-done step is a normal input, and when everything is
//! as it should be there is nothing to do.

mod divergence;
pub mod grants;
pub mod groups;
pub mod guard;
pub mod observation;
pub mod status;
pub mod system;

pub use guard::{Blocked, guard};
pub use observation::{ClusterObservation, CommitMark, GroupObservation, NodeObservation, ReplicaObservation};

use crate::{
    catalogue::{Catalogue, Kind},
    ids::{Digest, GroupId, NodeId, ReplicaId, StoreId},
};
use std::collections::{BTreeMap, BTreeSet};

/// A log id as the planner compares it: term, leader, index.
pub type LogPoint = (u64, u64, u64);

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
    /// A stable reason, as conditions use them.
    pub reason: &'static str,
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
    fn propose(&mut self, kind: Kind) {
        self.actions.push(Action::Propose(kind));
    }
    fn wait(&mut self, store: Option<StoreId>, node: Option<NodeId>, reason: &'static str, sentence: String) {
        self.waiting.push(Waiting { store, node, reason, sentence });
    }
}

/// Decides the next steps. At most one membership change per group is ever in flight: a group gets none while its
/// membership is joint or its last change was not observed yet.
#[must_use]
pub fn plan(catalogue: &Catalogue, observed: &ClusterObservation) -> Plan {
    let mut plan = Plan::default();
    system::plan(catalogue, observed, &mut plan);
    for (id, group) in &catalogue.groups {
        groups::plan(catalogue, observed, *id, group, &mut plan);
    }
    groups::stores(catalogue, &mut plan);
    system::departures(catalogue, observed, &mut plan);
    divergence::plan(catalogue, observed, &mut plan);
    grants::plan(catalogue, observed, &mut plan);
    if plan.actions.is_empty() && catalogue.live_grant(observed.now_us).is_none() {
        groups::balance(catalogue, observed, &mut plan);
    }
    plan
}

#[cfg(test)]
mod tests;
