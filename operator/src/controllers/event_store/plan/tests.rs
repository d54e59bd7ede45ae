//! Decision tables for an EventStore.

use super::*;

fn wish(policy: DeletionPolicy) -> Wish {
    Wish { replicas: 3, store_id: None, policy, has_finalizer: true, paused: false }
}

fn observation(cluster: ClusterObservation, store: Option<(StoreState, u32)>) -> Observation {
    Observation {
        cluster,
        nodes: BTreeMap::new(),
        store: store.map(|(state, replicas)| StoreView {
            store: Some(Store { id: "s".to_owned(), state: state.into(), replicas, ..Store::default() }),
            ..StoreView::default()
        }),
    }
}

#[test]
fn a_store_is_declared_until_the_view_shows_it_as_asked_for() {
    let cases = [
        (observation(ClusterObservation::Missing, None), Next::NoCluster),
        (observation(ClusterObservation::Unformed, None), Next::Wait),
        (observation(ClusterObservation::Unreachable, Some((StoreState::Active, 1))), Next::Wait),
        (observation(ClusterObservation::Known, None), Next::Declare),
        (observation(ClusterObservation::Known, Some((StoreState::Active, 1))), Next::Declare),
        (observation(ClusterObservation::Known, Some((StoreState::Retained, 3))), Next::Declare),
        (observation(ClusterObservation::Known, Some((StoreState::Creating, 3))), Next::Nothing),
        (observation(ClusterObservation::Known, Some((StoreState::Active, 3))), Next::Nothing),
    ];
    for (observation, next) in cases {
        assert_eq!(plan(&wish(DeletionPolicy::Retain), &observation).next, next, "{observation:?}");
    }
    let mut adopting = wish(DeletionPolicy::Retain);
    adopting.store_id = Some("other".to_owned());
    let active = observation(ClusterObservation::Known, Some((StoreState::Active, 3)));
    assert_eq!(plan(&adopting, &active).next, Next::Declare);
}

#[test]
fn only_deletion_that_must_act_holds_the_object() {
    let known = observation(ClusterObservation::Known, None);
    assert!(plan(&wish(DeletionPolicy::Delete), &known).needs_finalizer);
    assert!(!plan(&wish(DeletionPolicy::Retain), &known).needs_finalizer);
}

#[test]
fn a_pause_holds_every_deletion_but_that_of_the_namespace() {
    for policy in [DeletionPolicy::Retain, DeletionPolicy::Delete] {
        let paused = Wish { paused: true, ..wish(policy) };
        for cluster in [ClusterObservation::Unformed, ClusterObservation::Unreachable, ClusterObservation::Known] {
            assert_eq!(cleanup(&paused, cluster, false), Cleanup::Held);
            // The namespace ends in any case.
            assert_eq!(cleanup(&paused, cluster, true), Cleanup::Release);
        }
        let known = observation(ClusterObservation::Known, None);
        assert_eq!(plan(&paused, &known), Plan { paused: true, ..plan(&wish(policy), &known) });
    }
}

#[test]
fn an_object_goes_only_when_a_view_names_no_store_of_it_any_more() {
    let store = |id: &str, uid: &str, state: StoreState| StoreView {
        store: Some(Store { id: id.to_owned(), state: state.into(), ..Store::default() }),
        declared_by: uid.to_owned(),
        ..StoreView::default()
    };
    let view = |stores| ClusterView { stores, ..ClusterView::default() };
    let id = |view: &ClusterView, mode| store_to_close(view, "u", mode).map(|store| store.id.clone());
    let others = view(vec![store("x", "other", StoreState::Active)]);
    for state in [StoreState::Creating, StoreState::Active, StoreState::Removing, StoreState::Retained] {
        let view = view(vec![store("x", "other", StoreState::Active), store("a", "u", state)]);
        assert_eq!(id(&view, CloseMode::Delete).as_deref(), Some("a"), "{state:?}");
        let lives = matches!(state, StoreState::Creating | StoreState::Active);
        assert_eq!(id(&view, CloseMode::Retain).is_some(), lives, "{state:?}");
    }
    assert_eq!(id(&others, CloseMode::Delete), None);
}

#[test]
fn cleanup_never_hangs_on_what_is_gone_and_never_deletes_under_retain() {
    let delete = wish(DeletionPolicy::Delete);
    assert_eq!(cleanup(&delete, ClusterObservation::Missing, false), Cleanup::Release);
    assert_eq!(cleanup(&delete, ClusterObservation::Unformed, false), Cleanup::Release);
    assert_eq!(cleanup(&delete, ClusterObservation::Known, true), Cleanup::Release);
    assert_eq!(cleanup(&delete, ClusterObservation::Unreachable, false), Cleanup::Wait);
    assert_eq!(cleanup(&delete, ClusterObservation::Known, false), Cleanup::Ask(CloseMode::Delete));
    assert_eq!(
        cleanup(&wish(DeletionPolicy::Retain), ClusterObservation::Known, false),
        Cleanup::Ask(CloseMode::Retain)
    );
}
