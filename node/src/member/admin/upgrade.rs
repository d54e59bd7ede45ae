//! Finishes an upgrade on demand: decides the newest rules that all nodes know, and waits until the stores follow.

use super::{cluster_view, propose::propose};
use crate::{
    coordinator::{observe, reports::Reports},
    member::member::Member,
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use taffrail_core::{
    catalogue::{Catalogue, CatalogueOutcome, Kind, Rules, StoreState},
    ids::GroupId,
    plan::{
        ClusterObservation,
        rules::{self, HeldUpBy},
    },
};
use taffrail_proto::admin as pb;
use tokio::time::Instant;
use tonic::Status;

/// Longest wait for the stores. The caller repeats the call while stores are left.
const WAIT: Duration = Duration::from_secs(5);

/// Catalogue and observation at the same time.
struct Moment {
    catalogue: Arc<Catalogue>,
    observed: ClusterObservation,
}

impl Moment {
    async fn now(member: &Arc<Member>) -> Self {
        let mut reports = Reports::default();
        observe::poll(member, &mut reports).await;
        let catalogue = member.applied();
        let observed = observe::observed(member, &catalogue, &reports);
        Self { catalogue, observed }
    }

    /// Returns the rules in force by group; `None` for a group without a leader.
    fn rules(&self) -> BTreeMap<GroupId, Option<u32>> {
        let c = &self.catalogue;
        let of = |id: &GroupId| self.observed.groups.get(id).map(|g| g.rules.max(Rules::FIRST.stores));
        let alive = c.stores.values().filter(|s| s.state != StoreState::Removing).map(|s| s.group);
        let mut all: BTreeMap<GroupId, Option<u32>> = alive.map(|id| (id, of(&id))).collect();
        all.insert(GroupId::SYSTEM, Some(c.rules.catalogue));
        all
    }

    /// Returns true if a group may still have to be raised.
    fn left(&self) -> bool {
        let target = self.catalogue.rules.stores;
        self.rules().iter().any(|(id, rules)| *id != GroupId::SYSTEM && rules.is_none_or(|rules| rules < target))
    }
}

/// Raises the rules as far as the binaries of all nodes permit.
///
/// # Errors
/// The catalogue does not take the command, or this node is not the coordinator any more.
pub(super) async fn finalize(member: &Arc<Member>) -> Result<pb::FinalizeUpgradeResponse, Status> {
    let end = Instant::now() + WAIT;
    let first = Moment::now(member).await;
    let support = rules::support(&first.catalogue, &first.observed);
    if support.raised != first.catalogue.rules {
        let outcome = propose(member, Kind::RaiseRules(support.raised)).await?;
        if let CatalogueOutcome::Refused(why) = outcome {
            return Err(super::propose::refused(&why));
        }
    }
    let mut last = Moment::now(member).await;
    while last.left() && Instant::now() < end {
        // A pass of the coordinator raises the rules of the stores.
        cluster_view::fresh(member).await?;
        last = Moment::now(member).await;
    }
    Ok(response(&first, &last, &support.held_up_by))
}

fn response(first: &Moment, last: &Moment, held_up_by: &[HeldUpBy]) -> pb::FinalizeUpgradeResponse {
    let (before, after) = (first.rules(), last.rules());
    let groups = after.iter().map(|(id, after)| {
        let store = last.catalogue.groups.get(id).and_then(|g| last.catalogue.stores.get(&g.store));
        pb::GroupRules {
            group_id: id.get(),
            namespace: store.map(|s| s.name.namespace().to_owned()).unwrap_or_default(),
            name: store.map(|s| s.name.name().to_owned()).unwrap_or_default(),
            before: before.get(id).copied().flatten(),
            after: *after,
        }
    });
    let held_up_by: Vec<pb::UpgradeHeldUp> = held_up_by.iter().map(|h| held_up(&first.catalogue, *h)).collect();
    pb::FinalizeUpgradeResponse { done: held_up_by.is_empty() && !last.left(), groups: groups.collect(), held_up_by }
}

fn held_up(c: &Catalogue, held_up: HeldUpBy) -> pb::UpgradeHeldUp {
    let node = c.nodes.get(&held_up.node);
    pb::UpgradeHeldUp {
        node_id: held_up.node.get(),
        name: node.map(|n| n.name.clone()).unwrap_or_default(),
        version: node.map(|n| n.version.clone()).unwrap_or_default(),
        known_catalogue_rules: held_up.knows.map(|rules| rules.catalogue),
        known_store_rules: held_up.knows.map(|rules| rules.stores),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::member::test_node::{Node, declare, registration};
    use taffrail_core::{ids::NodeId, plan::NodeObservation};

    #[tokio::test]
    async fn the_answer_shows_the_rules_of_each_group_before_and_after_and_who_holds_them_up() {
        let dir = tempfile::tempdir().unwrap();
        let node = Node::start(dir.path()).await;
        node.form(registration()).await;
        declare(&node, "orders").await;
        let catalogue = node.member.applied();
        let group = catalogue.stores.values().next().map(|s| s.group).unwrap();
        let moment = |rules: Option<u32>, target: u32| {
            let catalogue = Catalogue { rules: Rules { catalogue: 1, stores: target }, ..Catalogue::clone(&catalogue) };
            let mut observed = ClusterObservation::default();
            let seen = |rules| taffrail_core::plan::GroupObservation { rules, ..Default::default() };
            observed.groups.extend(rules.map(|rules| (group, seen(rules))));
            observed.nodes.insert(NodeId::new(1), NodeObservation::default());
            Moment { catalogue: Arc::new(catalogue), observed }
        };
        let (first, last) = (moment(Some(1), 1), moment(Some(2), 2));
        let done = response(&first, &last, &[]);
        let of_group = |r: &pb::FinalizeUpgradeResponse, id: GroupId| {
            r.groups.iter().find(|g| g.group_id == id.get()).map(|g| (g.name.clone(), g.before, g.after)).unwrap()
        };
        assert_eq!(of_group(&done, group), ("orders".to_owned(), Some(1), Some(2)));
        assert_eq!(of_group(&done, GroupId::SYSTEM), (String::new(), Some(1), Some(1)));
        assert!(done.done);
        assert!(!response(&first, &moment(Some(1), 2), &[]).done, "a store is left");
        assert!(!response(&first, &moment(None, 2), &[]).done, "a store without a leader is left");

        let support = rules::support(&first.catalogue, &first.observed);
        let held = response(&first, &last, &support.held_up_by);
        assert!(!held.done);
        let [by] = held.held_up_by.as_slice() else { panic!("{held:?}") };
        assert_eq!((by.node_id, by.name.as_str(), by.known_store_rules), (1, "main-0", None));
        node.end().await;
    }
}
