//! Rules of the catalogue and of the stores: raises the rules once the binaries of all nodes know newer rules.
//!
//! The decision is a single command of the catalogue, which also names the rules that every store must follow. The rules of
//! each store are then raised by a command of the store's own log, also those of a store that is created later.
//!
//! A node that does not answer holds the decision up, because the version of its binary is not known. Once the rules are
//! raised, older binaries no longer run.

use super::{
    action::{Action, Plan},
    observation::ClusterObservation,
};
use crate::{
    catalogue::{Catalogue, Group, GroupPhase, Kind, Rules, StoreState},
    ids::{GroupId, NodeId},
};

/// A node whose binary does not know the newest rules of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldUpBy {
    /// Node that holds newer rules up.
    pub node: NodeId,
    /// Newest rules known to the binary; `None` for a node that does not answer.
    pub knows: Option<Rules>,
}

/// Rules known to the binaries of the nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Support {
    /// Rules to put in force: the newest rules that all nodes know, and never older rules than the rules in force. The rules
    /// in force while a node does not answer.
    pub raised: Rules,
    /// Nodes that do not know the newest rules of any node, by id; empty if all nodes know the same rules.
    pub held_up_by: Vec<HeldUpBy>,
}

/// Compares the rules known to all nodes of the catalogue, except removed nodes.
#[must_use]
pub fn support(c: &Catalogue, o: &ClusterObservation) -> Support {
    let nodes: Vec<HeldUpBy> = c
        .present()
        .map(|node| HeldUpBy { node, knows: o.nodes.get(&node).filter(|n| n.reachable).and_then(|n| n.rules) })
        .collect();
    let newest = nodes.iter().filter_map(|n| n.knows).fold(c.rules, Rules::max);
    let every = nodes.iter().map(|n| n.knows).try_fold(newest, |every, knows| Some(every.min(knows?)));
    let lacks = |n: &HeldUpBy| n.knows.is_none_or(|knows| knows.min(newest) != newest);
    Support {
        raised: every.map_or(c.rules, |every| every.max(c.rules)),
        held_up_by: nodes.into_iter().filter(lacks).collect(),
    }
}

/// Plans the decision if the policy permits.
pub(super) fn decide(c: &Catalogue, o: &ClusterObservation, plan: &mut Plan) {
    if o.raise_rules {
        let raised = support(c, o).raised;
        if raised != c.rules {
            plan.propose(Kind::RaiseRules(raised));
        }
    }
}

/// Brings a formed store up to the decided rules.
pub(super) fn plan(c: &Catalogue, o: &ClusterObservation, id: GroupId, group: &Group, plan: &mut Plan) {
    let alive = c.stores.get(&group.store).is_some_and(|s| s.state != StoreState::Removing);
    let Some(observed) = o.groups.get(&id).filter(|g| g.quorum && alive) else { return };
    if group.phase == GroupPhase::Formed && observed.rules.max(Rules::FIRST.stores) < c.rules.stores {
        plan.actions.push(Action::RaiseRules {
            group: id,
            leader_node: observed.leader_node,
            leader: observed.leader,
            rules: c.rules.stores,
        });
    }
}
