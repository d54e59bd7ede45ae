//! The coordinator's view: the observation and the plan as messages for the operator and the command line.

use super::reports::Reports;
use crate::{disk_space::Space, member::member::Member};
use std::sync::Arc;
use taffrail_core::{
    catalogue::{Catalogue, NodeState, Store, StoreState},
    ids::{GroupId, NodeId, StoreId},
    plan::{
        ClusterObservation, Plan, WaitReason,
        clocks::{ClockProblem, ClockSubject},
        status,
    },
};
use taffrail_proto::{admin, v1};

/// Maximum number of problems in a cluster status.
const PROBLEMS_MAX: usize = 20;
/// Reason of a problem about clocks.
const CLOCK_SKEW: &str = "ClockSkew";

/// Returns true while the cluster is not settled although the plan may be empty: a replica has not been caught up for
/// long enough, or a group has no observed leader.
#[must_use]
pub fn settling(catalogue: &Catalogue, observed: &ClusterObservation) -> bool {
    let groups = std::iter::once(&GroupId::SYSTEM).chain(catalogue.groups.keys());
    let mut seen = groups.filter_map(|id| observed.groups.get(id).map(|g| (id, g)));
    let unsettled = seen.any(|(id, g)| g.hosts.keys().any(|r| !observed.caught_up(*id, *r)));
    unsettled || catalogue.groups.len() + 1 > observed.groups.len()
}

/// Publishes the view, and wakes the watchers of the member if the view differs from the previous view.
pub fn publish(
    member: &Member,
    catalogue: &Catalogue,
    observed: &ClusterObservation,
    plan: &Plan,
    reports: &Reports,
    clocks: &[ClockProblem],
) {
    let new = Arc::new(cluster(member, catalogue, observed, plan, reports, clocks));
    let changed = member.view.send_if_modified(|old| {
        let differs = old.as_ref().is_none_or(|o| **o != *new);
        *old = Some(new);
        differs
    });
    if changed {
        member.changed();
    }
}

fn cluster(
    member: &Member,
    c: &Catalogue,
    o: &ClusterObservation,
    plan: &Plan,
    reports: &Reports,
    clocks: &[ClockProblem],
) -> admin::ClusterView {
    let nodes: Vec<admin::NodeView> = c
        .nodes
        .keys()
        .filter(|id| !matches!(c.nodes[id].state, NodeState::Removed { .. }))
        .map(|id| node(c, o, plan, reports, *id))
        .collect();
    let system = o.groups.get(&GroupId::SYSTEM);
    let status = v1::ClusterStatus {
        cluster_id: member.cluster().to_string(),
        coordinator_node_id: Some(member.node().get()),
        term: system.map(|s| s.term),
        nodes: nodes.iter().filter_map(|n| n.node.clone()).collect(),
        store_count: u32::try_from(c.stores.values().filter(|s| s.state == StoreState::Active).count())
            .unwrap_or(u32::MAX),
        answered_by_node_id: member.node().get(),
        problems: problems(plan, clocks),
    };
    let grants = c.live_grant(o.now_us).map(|g| admin::Grant {
        node_id: g.node.get(),
        holder: g.holder.clone(),
        // The remaining time would change the view with every pass. The view shows the grant without the time.
        expires_in_ms: 0,
    });
    let replacements = c.nodes.iter().filter_map(|(id, n)| match n.state {
        NodeState::Replacing { by } => Some(admin::ReplacementView {
            old_node_id: id.get(),
            new_node_id: by.map_or(0, NodeId::get),
            waiting_for: plan
                .waiting
                .iter()
                .find(|w| w.node == Some(*id))
                .map(|w| w.sentence.clone())
                .unwrap_or_default(),
        }),
        NodeState::Member | NodeState::Draining | NodeState::Removed { .. } => None,
    });
    admin::ClusterView {
        status: Some(status),
        nodes,
        stores: c.stores.keys().filter_map(|id| store(c, o, plan, *id)).collect(),
        grants: grants.into_iter().collect(),
        replacements: replacements.collect(),
    }
}

/// Returns the free bytes of a disk as shown to clients, rounded down to a hundredth of the disk: exact bytes would change
/// the view with every pass.
#[must_use]
pub fn shown_free_bytes(space: Space) -> u64 {
    let step = (space.total_bytes / 100).max(1);
    space.free_bytes / step * step
}

/// Returns the problems of the cluster, at most [`PROBLEMS_MAX`]: clocks, recorded times, then waiting changes.
fn problems(plan: &Plan, clocks: &[ClockProblem]) -> Vec<v1::Problem> {
    let waiting = plan.waiting.iter().map(|w| v1::Problem {
        reason: w.reason.to_string(),
        message: w.sentence.clone(),
        kind: v1::ProblemKind::Waiting.into(),
        node_id: w.node.map(NodeId::get),
    });
    clocks.iter().map(clock_problem).chain(waiting).take(PROBLEMS_MAX).collect()
}

fn clock_problem(problem: &ClockProblem) -> v1::Problem {
    let (kind, node) = match problem.subject {
        ClockSubject::Node(node) => (v1::ProblemKind::ClockDiffers, Some(node.get())),
        ClockSubject::Store(_) => (v1::ProblemKind::StoreAhead, None),
    };
    let message = problem.sentence.clone();
    v1::Problem { reason: CLOCK_SKEW.to_owned(), message, kind: kind.into(), node_id: node }
}

/// Returns the state of a node as shown to clients. A node being replaced is shown as a member.
#[must_use]
pub fn node_state(state: NodeState) -> v1::NodeState {
    match state {
        NodeState::Member | NodeState::Replacing { .. } => v1::NodeState::Member,
        NodeState::Draining => v1::NodeState::Draining,
        NodeState::Removed { forced: false } => v1::NodeState::Drained,
        NodeState::Removed { forced: true } => v1::NodeState::Removed,
    }
}

/// Returns the state of a store as shown to clients. An active store whose group is not formed is shown as creating.
#[must_use]
pub fn store_state(c: &Catalogue, id: StoreId) -> v1::StoreState {
    use taffrail_core::catalogue::GroupPhase;
    let Some(store) = c.stores.get(&id) else { return v1::StoreState::Unspecified };
    match store.state {
        StoreState::Retained { .. } => v1::StoreState::Retained,
        StoreState::Removing => v1::StoreState::Removing,
        StoreState::Active => match c.groups.get(&store.group).map(|g| &g.phase) {
            Some(GroupPhase::Formed) => v1::StoreState::Active,
            Some(GroupPhase::Creating { .. }) | None => v1::StoreState::Creating,
        },
    }
}

/// Returns the owner of the settings of a store.
pub fn store_manager(store: &Store) -> v1::StoreManager {
    if store.is_declared() { v1::StoreManager::EventStore } else { v1::StoreManager::Api }
}

fn node(c: &Catalogue, o: &ClusterObservation, plan: &Plan, reports: &Reports, id: NodeId) -> admin::NodeView {
    let record = &c.nodes[&id];
    let seen = status::node(c, o, plan, id);
    let system = o.groups.get(&GroupId::SYSTEM);
    let report = reports.get(id).map(|r| &r.node);
    let disk = report.and_then(|r| Some(Space { total_bytes: r.disk_total_bytes?, free_bytes: r.disk_free_bytes? }));
    let voter = system.is_some_and(|s| s.voters().iter().any(|r| r.get() == id.get()));
    admin::NodeView {
        node: Some(v1::Node {
            node_id: id.get(),
            disk_id: record.disk.to_string(),
            name: record.name.clone(),
            state: node_state(record.state).into(),
            system_voter: voter,
            reachable: report.is_some(),
            group_count: seen.groups,
            leader_count: Some(seen.leaders),
            version: record.version.clone(),
            peer_address: record.address.clone(),
            // The answering node adds the address: the coordinator's plan does not depend on the address.
            client_address: String::new(),
            disk_total_bytes: disk.map(|space| space.total_bytes),
            disk_free_bytes: disk.map(shown_free_bytes),
            storage_low: report.is_some_and(|r| r.storage_low),
        }),
        named_by_groups: seen.named_by.iter().map(|g| g.get()).collect(),
        caught_up: seen.caught_up,
        disruption_blocked_by: seen.blocked_by,
        waiting_for: seen.waiting_for,
    }
}

fn store(c: &Catalogue, o: &ClusterObservation, plan: &Plan, id: StoreId) -> Option<admin::StoreView> {
    let record = c.stores.get(&id)?;
    let seen = status::store(c, o, plan, id)?;
    let members = seen.members.iter().map(|m| v1::Replica {
        replica_id: m.replica.get(),
        node_id: m.node.get(),
        voter: Some(m.voter),
        leader: Some(m.leader),
        caught_up: Some(m.caught_up),
    });
    Some(admin::StoreView {
        store: Some(v1::Store {
            id: id.to_string(),
            namespace: record.name.namespace().to_owned(),
            name: record.name.name().to_owned(),
            state: store_state(c, id).into(),
            replicas: record.replicas,
            leader_node_id: seen.leader.map(NodeId::get),
            term: Some(seen.term).filter(|term| *term > 0),
            members: members.collect(),
            managed_by: store_manager(record).into(),
            // Counters would change the view with every event. The view has only fields that a decision depends on.
            ..v1::Store::default()
        }),
        quorum: seen.quorum,
        fully_replicated: seen.fully_replicated,
        waiting_for: seen.waiting_for,
        reason: seen.reason.map(WaitReason::name).unwrap_or_default().to_owned(),
        declared_by: record.declared_by.clone(),
        retained_at_us: match record.state {
            StoreState::Retained { at_us } => i64::try_from(at_us).unwrap_or(i64::MAX),
            StoreState::Active | StoreState::Removing => 0,
        },
    })
}

#[cfg(test)]
mod tests;
