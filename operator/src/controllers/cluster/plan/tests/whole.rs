//! Invariants of a plan as a whole.

use super::*;

#[test]
fn a_cluster_at_rest_needs_nothing() {
    for n in [1, 2, 3, 5] {
        let plan = plan(&wish(n), &rest(n), at(1000));
        assert_eq!((plan.actions, plan.steps, plan.stalled, plan.changing, plan.size), (vec![], vec![], None, None, n));
    }
}

#[test]
fn stores_whose_object_is_gone_are_retained_and_others_left_alone() {
    let mut observation = rest(3);
    view(&mut observation).stores = vec![
        store("gone", 3, StoreState::Active),
        store("here", 3, StoreState::Active),
        store("kept", 3, StoreState::Retained),
        store("leaving", 3, StoreState::Removing),
        store("by-hand", 3, StoreState::Active),
    ];
    view(&mut observation).stores[4].declared_by.clear();
    observation.stores = vec![StoreObservation { uid: "uid-here".to_owned(), name: "here".to_owned(), replicas: 3 }];
    let plan = plan(&wish(3), &observation, at(1000));
    assert!(matches!(&plan.actions[..], [Action::Retain { name, .. }] if name == "gone"), "{plan:?}");
}

#[test]
fn a_paused_cluster_is_only_looked_at() {
    let mut observation = rest(3);
    outdated(&mut observation, &[0]);
    for replicas in [1, 3, 5] {
        let mut wish = wish(replicas);
        wish.paused = true;
        let plan = plan(&wish, &observation, at(1000));
        assert_eq!((plan.actions.len(), plan.size, plan.shrinks), (0, 3, false));
        assert_eq!(plan.changing, None, "nothing is being changed");
        assert!(!plan.steps.is_empty() && plan.steps.iter().all(|step| step.waiting_for.is_some()), "{plan:?}");
    }
}
