//! Conditions and steps of an EventStore for views of the store.

use super::*;
use std::collections::BTreeMap;
use taffrail_crds::conditions::ConditionStatus;
use taffrail_proto::v1::Replica;

fn store() -> EventStore {
    let spec = serde_json::json!({ "clusterRef": { "name": "main" }, "replicas": 3 });
    EventStore::new("orders", serde_json::from_value(spec).expect("a valid spec"))
}

/// A store with a leader and three voters, of which a coordinator says `reason` and `waiting_for`.
fn status_of(fully_replicated: bool, reason: &str, waiting_for: &str) -> EventStoreStatus {
    let member = |n| Replica { node_id: n, voter: Some(true), ..Replica::default() };
    let members = (1..=3).map(member).collect();
    let known =
        Store { replicas: 3, state: StoreState::Active.into(), leader_node_id: Some(1), members, ..Store::default() };
    let view = StoreView {
        store: Some(known),
        quorum: true,
        fully_replicated,
        reason: reason.to_owned(),
        waiting_for: waiting_for.to_owned(),
        ..StoreView::default()
    };
    let observation = Observation { cluster: ClusterObservation::Known, nodes: BTreeMap::new(), store: Some(view) };
    let plan = Plan { needs_finalizer: false, next: Next::Nothing, paused: false };
    status(&store(), &observation, plan, &Outcome::default(), "cluster.local", Timestamp::UNIX_EPOCH)
}

fn condition<'a>(status: &'a EventStoreStatus, type_: &str) -> Option<(ConditionStatus, &'a str, &'a str)> {
    let found = status.conditions.iter().find(|c| c.type_ == type_)?;
    Some((found.status, &found.reason, &found.message))
}

#[test]
fn a_fenced_replica_whose_data_waits_for_a_person_degrades_a_whole_store() {
    let sentence = "replica 5 of group 3 on node 2 is fenced and has left the group";
    let kept = status_of(true, "ReplicaInconsistent", sentence);
    assert_eq!(condition(&kept, "FullyReplicated").map(|c| c.0), Some(ConditionStatus::True));
    let (state, reason, message) = condition(&kept, "Degraded").expect("the condition");
    assert_eq!((state, reason), (ConditionStatus::True, "ReplicaInconsistent"));
    assert!(message.contains(sentence), "{message}");
    assert!(kept.plan.is_empty(), "no step is under way: {:?}", kept.plan);

    let whole = status_of(true, "", "");
    assert_ne!(condition(&whole, "Degraded").map(|c| c.0), Some(ConditionStatus::True));
}
