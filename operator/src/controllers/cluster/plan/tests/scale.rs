//! Growing and shrinking a Cluster.

use super::*;

#[test]
fn growing_takes_one_pod_at_a_time_and_waits_for_the_last_one() {
    let observation = rest(3);
    let first = plan(&wish(5), &observation, at(1000));
    assert_eq!((first.size, first.shrinks), (4, false));
    assert_eq!(first.actions, [Action::RecordNodes(4)]);
    let mut observation = rest(3);
    observation.recorded = identity(true, 4);
    let waiting = plan(&wish(5), &observation, at(1000));
    assert_eq!(waiting.size, 4);
    assert!(waiting.actions.is_empty());
}

#[test]
fn shrinking_drains_proves_and_only_then_removes() {
    let mut observation = rest(3);
    let draining = plan(&wish(2), &observation, at(1000));
    assert_eq!((draining.size, draining.shrinks), (3, false));
    assert_eq!(draining.actions, [Action::Drain { node_id: 3, pod: "main-2".to_owned(), needs_grant: true }]);
    // Drained, but a group still names the node: no removal yet.
    view(&mut observation).nodes[2] = node(2, NodeState::Drained);
    assert_eq!(plan(&wish(2), &observation, at(1000)).size, 3);
    view(&mut observation).nodes[2].named_by_groups.clear();
    let removed = plan(&wish(2), &observation, at(1000));
    assert_eq!((removed.size, removed.shrinks), (2, true));
    assert_eq!(removed.actions, [Action::RecordNodes(2)]);
}

#[test]
fn a_scale_down_that_does_not_fit_is_held_and_names_the_stores() {
    let mut observation = rest(3);
    view(&mut observation).stores = vec![
        store("orders", 3, StoreState::Active),
        store("old", 3, StoreState::Retained),
        store("small", 1, StoreState::Active),
        store("going", 3, StoreState::Removing),
    ];
    view(&mut observation).stores[1].declared_by.clear();
    observation.stores = ["orders", "small"]
        .map(|name| StoreObservation {
            uid: format!("uid-{name}"),
            name: name.to_owned(),
            replicas: if name == "orders" { 3 } else { 1 },
        })
        .into();
    let held = plan(&wish(1), &observation, at(1000));
    let (reason, message) = held.stalled.expect("stalled");
    assert_eq!(reason, Reason::ScaleDownBlocked);
    assert!(message.contains("orders") && message.contains("old (3 replicas, retained)"), "{message}");
    assert!(!message.contains("small") && !message.contains("going"), "{message}");
    assert!(held.actions.is_empty());
}

#[test]
fn a_reverted_scale_down_takes_the_drain_back() {
    let mut observation = rest(3);
    view(&mut observation).nodes[2] = node(2, NodeState::Draining);
    let plan = plan(&wish(3), &observation, at(1000));
    assert_eq!(plan.actions, [Action::CancelDrain { node_id: 3, pod: "main-2".to_owned() }]);
}

#[test]
fn a_stateful_set_that_somebody_scaled_is_put_right() {
    for (replicas, size) in [(0, 3), (1, 3), (4, 3), (5, 4)] {
        let mut observation = rest(3);
        observation.set = Some(SetObservation { replicas, revision: Some("new".to_owned()) });
        let put_right = plan(&wish(3), &observation, at(1000));
        assert_eq!((put_right.size, put_right.shrinks), (size, size < replicas), "{replicas}");
        assert!(put_right.actions.is_empty(), "the record stays: {put_right:?}");
    }
    // If a node has joined meanwhile, the node is drained first. Without a view nothing is taken away.
    let mut joined = rest(4);
    joined.recorded = identity(true, 3);
    let drained = plan(&wish(3), &joined, at(1000));
    assert_eq!((drained.size, drained.shrinks), (4, false));
    assert!(matches!(&drained.actions[..], [Action::Drain { node_id: 4, .. }]), "{drained:?}");
    joined.view = None;
    let unobserved = plan(&wish(3), &joined, at(1000));
    assert_eq!((unobserved.size, unobserved.shrinks), (4, false));
}
